"""Encode the end of a page as ``nextCursor``, which a client sends back as ``cursor``."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from uuid import UUID

from agentidp.http.errors import ValidationError


def encode_cursor(created_at: datetime, object_id: UUID) -> str:
    """Return the ``nextCursor`` of a page whose last object has this creation time and this id."""
    cursor_text = f"{created_at.astimezone(UTC).isoformat()} {object_id}"
    return base64.urlsafe_b64encode(cursor_text.encode()).decode()


def decode_cursor(cursor: str | None) -> tuple[datetime | None, UUID | None]:
    """Return the creation time and the id in a cursor; two ``None`` for the first page, which has no cursor."""
    if cursor is None:
        return None, None
    try:
        created_at_text, object_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().split(" ")
        created_at = datetime.fromisoformat(created_at_text)
        if created_at.tzinfo is None:
            raise ValueError("a cursor of ours has a time zone")
        return created_at.astimezone(UTC), UUID(object_id)
    except (ValueError, OverflowError, binascii.Error):
        raise ValidationError(details={"cursor": ["must be the nextCursor of an earlier response"]}) from None
