"""How the pages write dates in the sentences of findings."""

from __future__ import annotations

import pytest

from agentidp.dashboard.filters import dated, named
from tests.factories import NOON


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
