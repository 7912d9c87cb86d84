"""One incident is one entry: on findings made by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.finding import Contributor, Severity, StoredFinding
from agentidp.findings.incidents import group_into_incidents
from tests.factories import NOON, a_finding, known_finding

DAY = timedelta(days=1)


def about(kind: str, agent: int | None = 1, *named: int, ended: bool = False, **changes: Any) -> StoredFinding:
    """A finding about an agent, or about the whole, which names some."""
    agents = tuple(
        Contributor(agent_id=UUID(int=named_agent), agent_name=f"{named_agent}", count=named_agent)
        for named_agent in named
    )
    agent_id = UUID(int=agent) if agent else None
    values = {"kind": kind, "agent_id": agent_id, "agents": agents, "begins": NOON - 9 * DAY}
    return known_finding(a_finding(NOON, **values | changes), ended_at=NOON if ended else None)


BUDGET = about("budget", None, 1, 2)


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        *((BUDGET, about(kind)) for kind in ("dominance", "uncached_tokens", "spike", "weekend", "quota")),
        (BUDGET, about("spike", 2)),
        (BUDGET, about("quota", None, 1)),
        (about("quota", None, 1), about("dominance")),
        (about("spike", None, 1), about("dominance")),
        (about("dominance"), about("uncached_tokens")),
        (about("budget", None, 1, ended=True), about("dominance", ended=True)),
        (BUDGET, about("spike", begins=NOON - 20 * DAY, ends=NOON - 8 * DAY)),
    ],
)
def test_what_explains_the_whole_is_part_of_it(whole: StoredFinding, part: StoredFinding) -> None:
    [computed] = group_into_incidents([whole, part])
    assert computed.findings == (whole, part)


@pytest.mark.parametrize(
    ("reported", "other"),
    [
        (BUDGET, about("spike", 3)),
        (BUDGET, about("rejections")),
        (BUDGET, about("quota", None, 3, 1)),
        (about("budget", None), about("quota", None)),
        (BUDGET, about("dominance", ended=True)),
        (BUDGET, about("spike", begins=NOON - 20 * DAY, ends=NOON - 9 * DAY)),
        (BUDGET, about("spike", begins=NOON, ends=NOON + DAY)),
        # Neither is about the whole.
        (about("spike"), about("uncached_tokens")),
        (about("quota"), about("uncached_tokens")),
    ],
)
def test_any_other_is_not(reported: StoredFinding, other: StoredFinding) -> None:
    assert [named_agent.findings for named_agent in group_into_incidents([reported, other])] == [(reported,), (other,)]


def test_the_most_urgent_has_the_parts_and_stands_where_the_most_urgent_of_them_would() -> None:
    loop, other = about("spike", severity=Severity.critical), about("spike", 3)
    quota, dominance = about("quota", None, 1), about("dominance")
    first, second = group_into_incidents([loop, other, BUDGET, quota, dominance])
    assert (first.head, first.parts) == (BUDGET, (loop, quota, dominance))
    assert (first.severity, second.findings) == (Severity.critical, (other,))
