"""What the texts of findings about a credential have in common."""

from __future__ import annotations

from typing import Any

from agentidp.findings.dates import instant_in_words


def called(row: Any) -> str:
    """The credential of a row for people: ``The credential "production" of crm-sync``; without a label, by its id."""
    name = f'"{row.label}"' if row.label else str(row.credential_id)
    return f"The credential {name} of {row.agent_name}"


def last_use(row: Any) -> str:
    """When it was last used, as the end of a sentence that begins with the credential."""
    if row.last_used_at is None:
        return f"has never been used since it was created, at {instant_in_words(row.created_at)}"
    return f"was last used at {instant_in_words(row.last_used_at)}"
