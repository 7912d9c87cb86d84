"""How the pages write the dates and times of findings."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from agentidp.dashboard.filters import dated, named, window
from agentidp.findings.store import KnownFinding
from tests.factories import NOON, a_finding

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("sentence", "written"),
    [
        ("exceed the budget on 2026-04-26.", "exceed the budget on Sun 26 Apr."),
        ("on Monday 2025-11-24 14:00-15:00 UTC.", "on Mon 24 Nov 2025 14:00-15:00 UTC."),
        ("since 20:00 UTC on Saturday, 11 April 2026, 4 days", "since 20:00 UTC on Sat 11 Apr, 4 days"),
        ("of 12,345 2026 tokens", "of 12,345 2026 tokens"),
        ("job-2026-04-26 and 2026-04-26-job", "job-2026-04-26 and 2026-04-26-job"),
        ("2026-02-30 and 31 Smarch 2026", "2026-02-30 and 31 Smarch 2026"),
    ],
)
def test_dates_have_one_format(sentence: str, written: str) -> None:
    assert dated(sentence, NOON) == written


def test_an_agents_name_stays_as_it_is() -> None:
    assert named("2026-04-26 since 2026-04-01", "2026-04-26", NOON) == "<bdi>2026-04-26</bdi> since Wed 1 Apr"


MIDNIGHT = NOON.replace(hour=0)
MONDAY, TODAY = '<time datetime="2026-04-13">Mon 13 Apr</time>', '<time datetime="2026-04-15">Wed 15 Apr</time>'
NINE = '<time datetime="2026-04-15T09:00Z">Wed 15 Apr, 09:00 UTC</time>'
TEN = '<time datetime="2026-04-15T10:00Z">10:00 UTC</time>'
FIRST_HOUR = '<time datetime="2026-04-13T00:00Z">Mon 13 Apr, 00:00 UTC</time>'
LATE = '<time datetime="2026-04-13T23:00Z">Mon 13 Apr, 23:00 UTC</time>'


@pytest.mark.parametrize(
    ("begins", "ends", "ended", "written"),
    [
        # It goes on, and was evaluated a minute before the page was made.
        (NOON - 3 * HOUR, NOON - MINUTE, False, f"since {NINE}"),
        (MIDNIGHT - 2 * DAY, NOON - MINUTE, False, f"since {FIRST_HOUR}"),
        # It goes on, though its window has ended; or it has ended.
        (NOON - 3 * HOUR, NOON - 2 * HOUR, False, f"{NINE} to {TEN}"),
        (NOON - 3 * HOUR, NOON - 2 * HOUR, True, f"{NINE} to {TEN}"),
        (MIDNIGHT - HOUR - DAY, NOON - 2 * HOUR, True, f"{LATE} to {TEN.replace('>10', '>Wed 15 Apr, 10')}"),
        (NOON - 3 * HOUR, NOON - MINUTE, True, f"{NINE} to {TEN.replace('10:00', '11:59')}"),
        # Whole days, and the whole of a month that is not over.
        (MIDNIGHT - 2 * DAY, MIDNIGHT + DAY, False, f"{MONDAY} to {TODAY}"),
        (MIDNIGHT - 2 * DAY, MIDNIGHT - DAY, True, MONDAY),
    ],
)
def test_the_time_that_a_finding_is_about(begins: datetime, ends: datetime, ended: bool, written: str) -> None:
    known = KnownFinding(
        finding=a_finding(NOON, begins=begins, ends=ends),
        finding_id=UUID(int=1),
        kind="spike",
        subject="organization",
        first_seen_at=begins,
        last_seen_at=NOON - MINUTE,
        ended_at=ends if ended else None,
        acknowledged_at=None,
        acknowledged_by=None,
        note=None,
        muted_until=None,
    )
    assert window(known, NOON) == written
