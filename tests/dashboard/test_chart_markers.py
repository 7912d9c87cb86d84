"""Deployments and holidays in the chart of tokens."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from agentidp.dashboard.charts import place_markers
from agentidp.registry.markers import add_marker
from tests.dashboard.conftest import Page, Read
from tests.factories import NOON, Agent

FIRST, LAST = date(2026, 4, 9), date(2026, 4, 15)


def marker(starts: datetime, hours: float, agent_id: UUID | None = None) -> Any:
    """Return a marker like the rows of the statement."""
    ends = starts + timedelta(hours=hours)
    return SimpleNamespace(
        kind="deployment", starts_at=starts, ends_at=ends, agent_id=agent_id, note=None, marker_id=uuid4()
    )


@pytest.mark.parametrize(
    ("starts", "hours", "place"),
    [
        (datetime(2026, 4, 9, tzinfo=UTC), 0, (0, 10)),
        (datetime(2026, 4, 9, tzinfo=UTC), 24, (0, 10)),
        (datetime(2026, 4, 9, tzinfo=UTC), 24.1, (0, 20)),
        (datetime(2026, 4, 8, 23, tzinfo=UTC), 1, None),
        (datetime(2026, 4, 8, 23, tzinfo=UTC), 1.1, (0, 10)),
        (datetime(2026, 4, 15, 23, tzinfo=UTC), 99, (60, 10)),
        (datetime(2026, 4, 16, tzinfo=UTC), 0, None),
        (datetime(2026, 1, 1, tzinfo=UTC), 9000, (0, 70)),
    ],
)
def test_the_days_of_a_marker(starts: datetime, hours: float, place: tuple[int, int] | None) -> None:
    markers = place_markers([marker(starts, hours)], FIRST, LAST)
    assert [(drawn.x, drawn.width) for drawn in markers] == ([] if place is None else [place])


def test_an_agents_chart_has_its_own_and_those_of_every_agent() -> None:
    agent_id, other_id = uuid4(), uuid4()
    markers = [marker(NOON, 0, chart_agent) for chart_agent in (agent_id, other_id, None)]
    assert [len(place_markers(markers, FIRST, LAST, agents)) for agents in (None, {agent_id})] == [3, 2]


def test_the_pages_show_the_markers(read: Read, acme: Agent) -> None:
    other = acme.colleague("other")
    acme.count(NOON, tokens=12)
    with acme.database.transaction() as opened:
        for kind, days_ago, note, of in (
            ("deployment", 1, "<b>v2</b>", acme.agent_id),
            ("holiday", 4, "Easter", None),
            ("deployment", 30, "too early", None),
        ):
            starts_at = NOON - timedelta(days=days_ago)
            add_marker(opened, kind=kind, starts_at=starts_at, ends_at=None, agent_id=of, note=note)

    def marked(page: Page) -> str:
        return page.words.partition("Marked: ")[2]

    page = read("?days=7")
    assert marked(page).startswith(
        "holiday Sat 11 Apr to Sun 12 Apr (Easter) \N{MULTIPLICATION X} deployment Tue 14 Apr (<b>v2</b>) "
    )
    assert {
        path["class"]: path["d"] for path in page.all("path") if path.get("class") in ("deployment", "holiday")
    } == {
        "holiday": "M20 0h20v100h-20z",
        "deployment": "M55-12v112",
    }
    assert "<b>v2</b>" in marked(read(f"/agents/{acme.agent_id}?days=7"))
    page = read(f"/agents/{other.agent_id}?days=7")
    assert marked(page).startswith("holiday")
    assert "v2" not in page.text
