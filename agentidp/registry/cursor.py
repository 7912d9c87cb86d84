"""Encode the end of a page of agents as ``nextCursor``, which a client sends back as ``cursor``."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from uuid import UUID

from agentidp.http.errors import ValidationError


def encode_cursor(created_at: datetime, agent_id: UUID) -> str:
    """Return the ``nextCursor`` of a page. It contains the last row's creation time and id, after which to continue."""
    text = f"{created_at.astimezone(UTC).isoformat()} {agent_id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode_cursor(cursor: str | None) -> tuple[datetime | None, UUID | None]:
    """Return the creation time and the id in a cursor, or two ``None`` for the first page, which has no cursor.

    :raises ValidationError: the string is not a cursor.
    """
    if cursor is None:
        return None, None
    try:
        created_at_text, agent_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().split(" ")
        agent_created_at = datetime.fromisoformat(created_at_text)
        if agent_created_at.tzinfo is None:
            raise ValueError("a cursor of ours has a time zone")
        return agent_created_at.astimezone(UTC), UUID(agent_id)
    except (ValueError, OverflowError, binascii.Error):
        raise ValidationError(details={"cursor": ["must be the nextCursor of an earlier response"]}) from None
