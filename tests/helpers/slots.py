"""The slots of counters."""

from __future__ import annotations

SLOTS = 16
