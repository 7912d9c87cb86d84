"""The ``sub`` of a token whose resource server has a template for it.

A cloud that trusts this issuer decides by ``sub``. So a subject is the same as long as the agent exists, and no other
agent of any organization has it: it contains the agent's id, and no other id than that and its organization's. What can
change or be used again, such as a name, is not in it.
"""

from __future__ import annotations

import re
from uuid import UUID

MAX_SUBJECT_LENGTH = 127
"""Characters. Google Cloud takes no longer ones."""

MAX_TEMPLATE_LENGTH = MAX_SUBJECT_LENGTH - (36 - len("{agentId}")) - (40 - len("{organizationId}"))
"""Characters: a template has each placeholder once at most."""

LITERAL = "A-Za-z0-9._~:/@|=+,-"
"""The characters of a template, as in a regular expression."""

_TEXT = f"[{LITERAL}]*"
TEMPLATE = rf"{_TEXT}(?:\{{organizationId\}}{_TEXT}\{{agentId\}}|\{{agentId\}}(?:{_TEXT}\{{organizationId\}})?){_TEXT}"
"""A regular expression."""

_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def subject_of(template: str, organization_id: str, agent_id: UUID) -> str:
    """What a template says of an agent."""
    return template.replace("{agentId}", str(agent_id)).replace("{organizationId}", organization_id)


def rule_broken_by(template: str) -> str | None:
    """What is wrong with a template, or ``None``."""
    if "{agentId}" not in template:
        return "must have {agentId}, because no two agents may have the same subject"
    if not re.fullmatch(TEMPLATE, template):
        return "may have {agentId} and {organizationId} once each, letters, digits and ._~:/@|=+,-"
    if _ID.search(template):
        return "must not have an id: it could be the subject of another agent"
    if len(template) > MAX_TEMPLATE_LENGTH:
        return f"must have at most {MAX_TEMPLATE_LENGTH} characters"
    return None
