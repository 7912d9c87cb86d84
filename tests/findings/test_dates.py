"""How findings name days. Most of it is in what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from agentidp.findings.dates import instant_in_words


def test_an_instant_is_in_utc() -> None:
    at = datetime(2026, 4, 6, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert instant_in_words(at) == instant_in_words(at.astimezone(UTC)) == "23:30 UTC on Sunday, 5 April 2026"
