"""How findings name days."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from agentidp import demo
from agentidp.findings import KINDS
from agentidp.findings.dates import day_in_words, days_in_words, instant_in_words, number_of
from tests.findings.conftest import STORY_AT, Fleet, make_a_story

MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
IN_WORDS = re.compile(rf"(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, [1-9][0-9]? ({MONTHS}) [0-9]{{4}}(?![0-9])")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
OTHERWISE = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}|[0-9]/[0-9]|\b({MONTHS})\b|\b20[0-9]{{2}}\b")


def test_a_day_has_its_weekday_and_its_year() -> None:
    assert day_in_words(date(2026, 4, 5)) == "Sunday, 5 April 2026"
    assert days_in_words(date(2026, 4, 5), date(2026, 4, 5)) == "on Sunday, 5 April 2026"
    assert days_in_words(date(2025, 12, 31), date(2026, 1, 1)) == (
        "from Wednesday, 31 December 2025 to Thursday, 1 January 2026"
    )


def test_an_instant_is_in_utc() -> None:
    at = datetime(2026, 4, 6, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert instant_in_words(at) == instant_in_words(at.astimezone(UTC)) == "23:30 UTC on Sunday, 5 April 2026"


@pytest.mark.parametrize(("count", "text"), [(0, "0 tokens"), (1, "1 token"), (2, "2 tokens"), (1200, "1,200 tokens")])
def test_one_is_in_the_singular(count: int, text: str) -> None:
    assert number_of(count, "token") == text


@pytest.mark.slow
def test_the_texts_of_all_kinds_name_days_in_one_form(fleet: Fleet) -> None:
    make_a_story(fleet)
    fleet.services.clock.now = STORY_AT  # type: ignore[attr-defined]
    rotated = STORY_AT - timedelta(days=demo.ROTATED_AGO)
    body = {"kind": "deployment", "startsAt": f"{rotated:%Y-%m-%d}T08:00:00Z"}
    assert fleet.client.post("/api/v1/markers", json=body, headers=fleet.reader.bearer()).status_code == 201
    found = fleet.findings(days=90)
    assert {one["kind"] for one in found} == KINDS.keys()
    texts = [one[text] for one in found for text in ("summary", "causes", "next")]
    # A credential without a label is named by its id, which may look like a year and a month.
    texts = [ID.sub("", text) for text in texts]
    assert [text for text in texts if OTHERWISE.search(IN_WORDS.sub("", text))] == []
    assert len([text for text in texts if IN_WORDS.search(text)]) >= 5
    assert any("A deployment was marked at" in text for text in texts)
