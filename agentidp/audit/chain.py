"""How the events of a chain are hashed. Whoever has the events can verify them with this and nothing else.

An event is a JSON object. ``contentHash`` is the SHA-256 of its ``before``, ``after`` and ``salt``; ``hash`` is that of
all its other members but ``hash`` itself, so of ``contentHash`` and ``previousHash`` too. What is hashed is the JSON of
RFC 8785: the members in order of their names, no white space, UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

CONTENT = ("before", "after", "salt")
"""What can be erased from an event."""

NO_HASH = "0" * 64
"""The ``previousHash`` of the first event."""


def content_hash(event: dict[str, Any]) -> str:
    """The ``contentHash`` that the event must have."""
    return _sha256({name: event[name] for name in CONTENT})


def event_hash(event: dict[str, Any]) -> str:
    """The ``hash`` that the event must have."""
    return _sha256({name: value for name, value in event.items() if name not in (*CONTENT, "hash")})


def _sha256(value: dict[str, Any]) -> str:
    _refuse_fractions(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_fractions(value: Any) -> None:
    """PostgreSQL, Python and RFC 8785 do not agree on how a fraction is written."""
    if isinstance(value, float):
        raise TypeError("an event of the audit trail contains whole numbers only: record a fraction as text")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_fractions(inner)
