"""Make the names of agents that provisioning rules create, from the claims of a token."""

from __future__ import annotations

import re
from typing import Any

from agentidp.federation.rule import read_claim, subject_selector
from agentidp.http.schemas import MAX_NAME
from agentidp.http.text import in_one_line

MAX_NAME_TEMPLATE = 200
"""Maximum number of characters of a template for agents' names."""

_CLAIM = re.compile(r"\{([^{}]+)\}")


def build_agent_name(template: str, claims: dict[str, Any]) -> str | None:
    """Return the agent's name that a template makes by replacing each ``{claim}`` by the claim's value.

    :returns: ``None`` if a claim is missing or neither a string nor a whole number, or if the name is empty.
    """
    claim_values = {claim_name: read_claim(claims, claim_name) for claim_name in _CLAIM.findall(template)}
    if any(type(claim_value) not in (str, int) for claim_value in claim_values.values()):
        return None
    agent_name = _CLAIM.sub(lambda claim: str(claim_values[claim[1]]), template)
    return in_one_line(agent_name)[:MAX_NAME].rstrip() or None


def add_subject_suffix(name: str, issuer: str, subject: str) -> str:
    """Return *name* with a suffix from the subject's digest, for use if another agent already has the name."""
    suffix = f" {subject_selector(issuer, subject).hex()[:8]}"
    return name[: MAX_NAME - len(suffix)].rstrip() + suffix
