"""The name of an agent that is created at first sight, from the claims of a token."""

from __future__ import annotations

import re
from typing import Any

from agentidp.federation.rule import member_of, selector_of
from agentidp.http.schemas import MAX_NAME
from agentidp.http.text import in_one_line

MAX_NAME_TEMPLATE = 200
"""Maximum characters of a template for names."""

_CLAIM = re.compile(r"\{([^{}]+)\}")


def name_from(template: str, claims: dict[str, Any]) -> str | None:
    """Replace each ``{claim}`` of the template by the claim, which is named as in a rule.

    A claim can be any text, and people read the name. So characters that a name must not contain
    (:mod:`agentidp.http.text`) become blanks, and a name that is too long is cut.

    :returns: ``None`` if a claim is missing or neither a string nor a whole number, or if nothing is left.
    """
    values = {name: member_of(claims, name) for name in _CLAIM.findall(template)}
    if any(type(value) not in (str, int) for value in values.values()):
        return None
    text = _CLAIM.sub(lambda claim: str(values[claim[1]]), template)
    return in_one_line(text)[:MAX_NAME].rstrip() or None


def other_name(name: str, issuer: str, subject: str) -> str:
    """The name of a subject if another agent has *name*: with the beginning of the digest of issuer and subject, which
    no other subject has.
    """
    suffix = f" {selector_of(issuer, subject).hex()[:8]}"
    return name[: MAX_NAME - len(suffix)].rstrip() + suffix
