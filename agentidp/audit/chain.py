"""Computes the hashes of audit events, also of exported ones.

``contentHash`` is the SHA-256 of ``before``, ``after`` and ``salt``. ``hash`` is the SHA-256 of all other members,
including ``contentHash`` and ``previousHash``. The input of SHA-256 is JSON as specified by RFC 8785: members in order
of their names, no white space, UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

CONTENT = ("before", "after", "salt")
"""The members of an audit event that can be erased."""

NO_HASH = "0" * 64
"""The ``previousHash`` of the first event of a chain."""


def content_hash(event: dict[str, Any]) -> str:
    """Return the ``contentHash`` of an audit event: the SHA-256 of the members in :data:`CONTENT`, as hex."""
    return _sha256({name: event[name] for name in CONTENT})


def compute_event_hash(event: dict[str, Any]) -> str:
    """Return the ``hash`` of an audit event: the SHA-256 of all members but :data:`CONTENT` and ``hash``, as hex."""
    return _sha256({member: member_value for member, member_value in event.items() if member not in (*CONTENT, "hash")})


def _sha256(value: dict[str, Any]) -> str:
    _refuse_fractions(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_fractions(value: Any) -> None:
    """Refuse numbers with a fraction, because PostgreSQL, Python and RFC 8785 format them differently."""
    if isinstance(value, float):
        raise TypeError("an event of the audit trail contains whole numbers only: record a fraction as text")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_fractions(inner)
