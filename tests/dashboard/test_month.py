"""The page of a month: the budget then and now, the tokens by owner and by agent, and what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.month import MAX_ROWS, find_budget_before
from agentidp.registry.markers import add_marker
from agentidp.services import Services
from tests.dashboard.conftest import Page, Read, number, with_session
from tests.dashboard.test_page_findings import store
from tests.factories import NOON, Agent, Api, Clock, a_finding

MARCH = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def fleet(signed_in: FlaskClient, acme: Agent) -> Api:
    """Two owners with tokens in February, in March and in April."""
    api = Api(signed_in, acme)
    for name, owner in (("maker", "Support"), ("seller", "Sales")):
        agent = acme.colleague(name)
        assert api.patch(f"agents/{agent.agent_id}", {"owner": owner}).status_code == 200
        for at, tokens in ((MARCH - timedelta(days=2), 10), (MARCH, 20), (MARCH + timedelta(days=30), 4), (NOON, 3)):
            agent.count(at, tokens=tokens + (name == "seller"))
    return api


def test_a_past_month_has_the_numbers_of_the_api_and_compares_equal_days(read: Read, fleet: Api) -> None:
    page = read("/month?month=2026-03")
    items = fleet.get("analytics/owners?month=2026-03").json["data"]
    rows = page.table("Tokens by owner")
    assert [(row[0], number(row[1])) for row in rows] == [(item["owner"], item["tokens"]) for item in items]
    # February has 28 days, and its usage begins on the 27th: the 31 March is left out.
    assert [row[3] for row in rows] == ["0 after 11: 100 % fewer", "0 after 10: 100 % fewer"]
    assert "Fri 27 Mar to Sat 28 Mar is compared with Fri 27 Feb to Sat 28 Feb, 2 complete days each." in page.words
    agents = fleet.get("analytics/agents?month=2026-03&include=name").json["data"]
    rows = page.table("Tokens by agent")
    assert [(row[0], number(row[1])) for row in rows] == [(item["agentName"], item["tokenCount"]) for item in agents]


def test_the_month_so_far_is_compared_up_to_the_last_complete_day(read: Read, fleet: Api) -> None:
    page = read("/month")
    assert "April 2026 so far" in page.words
    assert "Wed 1 Apr to Tue 14 Apr is compared with Sun 1 Mar to Sat 14 Mar, 14 complete days each." in page.words
    assert [row[1:] for row in page.table("Tokens by owner")] == [
        ["4", "57.1 %", "0 after 21: 100 % fewer"],
        ["3", "42.9 %", "0 after 20: 100 % fewer"],
    ]
    # Any other period leads to the month in which it ends.
    assert "March 2026" in read("/month?from=2026-03-02&to=2026-03-03").words


def test_the_rest_of_many_agents_is_one_row(read: Read, acme: Agent) -> None:
    for n in range(MAX_ROWS + 3):
        acme.colleague(f"agent {n}").count(NOON, tokens=1)
    rows = read("/month").table("Tokens by agent")
    assert (len(rows), rows[-1][:2]) == (MAX_ROWS + 1, ["all other agents", "3"])


def test_the_budget_of_a_month_is_what_the_trail_says_it_was(
    signed_in: FlaskClient, acme: Agent, clock: Clock, services: Services
) -> None:
    api = Api(signed_in, acme)

    def words(query: str) -> str:
        return Page(with_session(signed_in, acme).get(f"/dashboard/month{query}")).words

    acme.count(MARCH, tokens=150)
    assert "Budget not known: the audit trail does not reach back to March" in words("?month=2026-03")
    clock.now = MARCH + timedelta(days=3)
    assert api.patch("organization", {"monthlyTokenBudget": 100}).status_code == 200
    clock.now = NOON
    exceeded = "Budget Exceeded on Sun 1 Mar Budget at the end of March 100 Used 150.0 % Budget now 100"
    assert exceeded in words("?month=2026-03")
    assert api.patch("organization", {"monthlyTokenBudget": 300}).status_code == 200
    assert api.patch("organization", {"monthlyTokenBudget": None}).status_code == 200
    assert "Budget at the end of March 100 Used 150.0 %" in words("?month=2026-03")
    assert "Budget now none" in words("?month=2026-03")
    assert "The organization has no budget" in words("")
    assert api.patch("organization", {"monthlyTokenBudget": 200}).status_code == 200
    assert "Budget now 200 March would have used 75.0 %" in words("?month=2026-03")


def test_a_finding_knows_the_budget_of_a_month_before_the_trail(read: Read, acme: Agent, services: Services) -> None:
    acme.count(NOON - timedelta(days=20), tokens=1158)
    month = {"begins": MARCH, "ends": MARCH + timedelta(days=31), "observed": 1100, "expected": 1000}
    store(services, acme.organization_id, [a_finding(NOON, kind="budget", summary="Exceeded.", **month)])
    assert "Budget at the end of March 1,000 Used 115.8 %" in read("/month?month=2026-03").words


def test_changes_of_the_organization_say_what_the_budget_was() -> None:
    changes = [{"before": {"monthlyTokenBudget": 5}}, {"before": {"name": "x"}}, {"before": {"monthlyTokenBudget": 7}}]
    assert find_budget_before(changes, 9) == 7
    assert find_budget_before(changes[1:2], 9) == 9
    assert find_budget_before([{"before": {"monthlyTokenBudget": None}}], 9) is None
    # The content of an event was erased.
    assert find_budget_before([{"before": None}], 9) == 9


def test_says_what_happened_in_the_month(read: Read, acme: Agent, fleet: Api) -> None:
    with acme.database.transaction() as opened:
        for note, days_ago in (("v2", 1), ("in March", 20)):
            at = NOON - timedelta(days=days_ago)
            add_marker(opened, kind="deployment", starts_at=at, ends_at=None, agent_id=None, note=note)
    page = read("/month")
    assert "Tue 14 Apr: deployment (v2)" in page.words
    assert "in March" not in page.text
    changes = {row[0]: row[1] for row in page.table("Changes")}
    assert changes["An agent was changed, for example its name, scopes or status"] == "2"
    assert not any("marker" in change for change in changes)


def test_changes_need_the_scope_of_the_trail(client: FlaskClient, acme: Agent, worker: Agent) -> None:
    acme.count(NOON, tokens=1)
    page = Page(with_session(client, worker, scope="analytics:read").get("/dashboard/month"))
    assert "Tokens by agent" in page.words
    assert "Changes, most frequent" not in page.text
