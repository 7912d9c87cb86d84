"""Agents that are dormant are suspended after a notice, if their organization has set that."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.findings import build_findings_query
from agentidp.findings.store import evaluate
from agentidp.findings.suspension import find_suspension_time, suspend_dormant
from agentidp.findings.thresholds import SUSPENSION_NOTICE_DAYS
from agentidp.registry.agents import update_agent
from agentidp.registry.organizations import MIN_DORMANCY, update_organization
from agentidp.services import Services
from tests.conftest import Cast
from tests.dashboard.conftest import Page, with_session
from tests.factories import NOON, PATIENCE, Agent, Clock, make_agent
from tests.findings.conftest import Fleet

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
NOTICE = SUSPENSION_NOTICE_DAYS * DAY


def row(**changes: Any) -> Any:
    """An agent that was registered at noon and has done nothing since. Its organization suspends after 120 days."""
    values = {
        "created_at": NOON,
        "updated_at": NOON,
        "last_used_at": None,
        "suspend_after_days": 120,
        "suspends_at": None,
    }
    return SimpleNamespace(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "days", "expected"),
    [
        ({}, 106, 120),
        ({}, 105.9, None),
        # Two weeks from the announcement on, however late that is.
        ({}, 110, 124),
        ({}, 800, 814),
        # What was announced stays.
        ({"suspends_at": NOON + 120 * DAY}, 119, 120),
        ({"suspends_at": NOON + 120 * DAY}, 121, 120),
        # Whoever has been active or was changed since has its whole time again.
        ({"last_used_at": NOON + 50 * DAY, "suspends_at": NOON + 120 * DAY}, 119, None),
        ({"updated_at": NOON + 110 * DAY, "suspends_at": NOON + 120 * DAY}, 119, None),
        ({"updated_at": NOON + 50 * DAY}, 156, 170),
        ({"suspend_after_days": None}, 800, None),
    ],
)
def test_is_announced_two_weeks_before(changes: dict[str, Any], days: float, expected: int | None) -> None:
    assert find_suspension_time(row(**changes), NOON + days * DAY) == (
        None if expected is None else NOON + expected * DAY
    )


class Policy(Fleet):
    """An organization that lets dormant agents be suspended, and its agent."""

    def __init__(self, services: Services, reader: Agent, client: FlaskClient) -> None:
        super().__init__(services, reader, client)
        self.translator = make_agent(services, self.organization_id, "translator")

    def set(self, days: int | None) -> None:
        """Set the days as ``PATCH /api/v1/organization`` does."""
        with self.database.transaction() as opened:
            update_organization(opened, {"suspend_dormant_after_days": days})

    def change(self, **values: Any) -> None:
        """Change the agent as ``PATCH /api/v1/agents/{agentId}`` does."""
        with self.database.transaction() as opened:
            update_agent(opened, self.translator.agent_id, values)

    def look(self, at: datetime) -> str:
        """Evaluate at an instant as ``agentidp watch`` does, and return the status of the agent."""
        self.services.clock.now = at  # type: ignore[attr-defined]
        # The one who reads works.
        self.use(self.reader.credential_ids()[0], at)
        suspend_dormant(self.database)
        evaluate(self.database.run, self.database.transaction, build_findings_query(at, self.services.settings))
        return self.status()

    def status(self) -> str:
        [agent] = self.database.fetch("agents/get_agent", agent_id=self.translator.agent_id)
        return str(agent.status)

    def finding(self) -> Any:
        """Return the ongoing finding about the agent, or ``None``."""
        computed = self.findings("dormant_agent")
        return next((reported for reported in computed if reported["agentId"] == self.translator.client_id), None)

    def events(self) -> list[dict[str, Any]]:
        """Return the audit events about the agent, oldest first, without its registration."""
        filters = dict.fromkeys(("actor", "action", "since", "until")) | {"subject": self.translator.client_id}
        rows = self.database.fetch("audit/list_events", below=1000, limit=100, **filters)
        return [
            {"actor": row.actor_type, "action": row.action, "before": row.before, "after": row.after}
            for row in rows[::-1]
            if row.action != "agent.created"
        ]


@pytest.fixture
def policy(services: Services, cast: Cast, client: FlaskClient) -> Policy:
    """Acme's."""
    return Policy(services, cast.acme, client)


def test_is_announced_then_suspended_and_both_recorded(policy: Policy) -> None:
    policy.set(120)
    policy.look(NOON + 106 * DAY - SECOND)
    computed = policy.finding()
    assert (computed["severity"], "will be suspended" in computed["summary"]) == ("info", False)
    policy.look(NOON + 106 * DAY)
    computed = policy.finding()
    assert (computed["severity"], computed["summary"], computed["next"]) == (
        "warning",
        "translator has not asked for a token for 106 days: none of its credentials has been used since it was "
        "registered, at 12:00 UTC on Wednesday, 15 April 2026. It will be suspended at 12:00 UTC on Thursday, 13 "
        "August 2026, unless it requests a token before then.",
        "If it is needed, let it ask for a token, or change it. If nobody needs it, delete it.",
    )
    assert policy.look(NOON + 120 * DAY - SECOND) == "active"
    announced = {
        "actor": "system",
        "action": "agent.suspension_announced",
        "before": None,
        "after": {"suspendsAt": "2026-08-13T12:00:00.000000Z"},
    }
    assert policy.events() == [announced]
    assert policy.look(NOON + 120 * DAY) == "suspended"
    assert policy.finding() is None
    assert policy.events() == [
        announced,
        {
            "actor": "system",
            "action": "agent.changed",
            "before": {"status": "active", "dormantSince": None, "suspendDormantAfterDays": None},
            "after": {
                "status": "suspended",
                "dormantSince": "2026-04-15T12:00:00.000000Z",
                "suspendDormantAfterDays": 120,
            },
        },
    ]


def test_the_agent_says_when_it_will_be_suspended(policy: Policy) -> None:
    def says() -> list[str | None]:
        """The agent by itself, in the list, and on its page."""
        path = f"agents/{policy.translator.agent_id}"
        alone, listed = (policy.api.get(named_agent).json for named_agent in (path, "agents"))
        [in_list] = [reported for reported in listed["data"] if reported["name"] == "translator"]
        with_session(policy.client, policy.reader)
        page = Page(policy.client.get(f"/dashboard/{path}"))
        [shown] = re.findall(r"Will be suspended (.*?), because it is dormant", page.text) or [None]
        return [alone["suspendsAt"], in_list["suspendsAt"], shown]

    policy.set(120)
    policy.look(NOON + 106 * DAY)
    announced = "2026-08-13T12:00:00.000000Z"
    assert says() == [announced, announced, "Thu 13 Aug, 12:00 UTC"]
    policy.change(owner="Team A")
    assert says() == [None, None, None]


def test_a_shorter_time_than_that_of_the_finding_is_announced_as_well(policy: Policy) -> None:
    policy.set(MIN_DORMANCY)
    at = NOON + MIN_DORMANCY * DAY - NOTICE
    policy.look(at - SECOND)
    assert policy.finding() is None
    policy.look(at)
    computed = policy.finding()
    assert (computed["severity"], computed["observed"]["value"]) == (
        "warning",
        MIN_DORMANCY - SUSPENSION_NOTICE_DAYS,
    )


@pytest.mark.parametrize(
    "happens",
    [
        lambda policy: policy.use(policy.translator.credential_ids()[0], NOON + 115 * DAY),
        lambda policy: policy.change(description="is needed in autumn"),
        lambda policy: policy.set(121),
    ],
)
def test_a_token_a_change_and_another_setting_take_the_announcement_back(
    policy: Policy, clock: Clock, happens: Callable[[Policy], object]
) -> None:
    policy.set(120)
    policy.look(NOON + 110 * DAY)
    clock.now = NOON + 115 * DAY
    happens(policy)
    policy.look(NOON + 115 * DAY)
    # The time of the first announcement.
    assert policy.look(NOON + 124 * DAY) == "active"


def test_nobody_is_suspended_whose_announcement_was_not_reported(policy: Policy, clock: Clock) -> None:
    policy.set(120)
    for days in (106, 120, 121):
        # No findings are evaluated.
        clock.now = NOON + days * DAY
        suspend_dormant(policy.database)
    assert policy.status() == "active"
    policy.look(NOON + 122 * DAY)
    assert policy.look(NOON + 123 * DAY) == "suspended"


def test_waits_for_a_token_that_is_being_issued(policy: Policy, clock: Clock) -> None:
    policy.set(120)
    policy.look(NOON + 106 * DAY)
    clock.now = NOON + 120 * DAY
    suspending = threading.Thread(target=suspend_dormant, args=(policy.database,))
    with policy.database.transaction() as opened:
        # What the issuing function does.
        opened.fetch("quotas/share_quotas")
        suspending.start()
        suspending.join(0.5)
        assert suspending.is_alive()
        opened._connection.execute("update credentials set last_used_at = %s", [clock.now])
    suspending.join(PATIENCE)
    assert policy.status() == "active"


def test_another_organizations_agents_stay(policy: Policy, outsiders: Fleet) -> None:
    theirs = outsiders.registered("theirs", NOON)
    policy.set(120)
    for days in (106, 120):
        policy.look(NOON + days * DAY)
        suspend_dormant(outsiders.database)
    assert policy.status() == "suspended"
    [agent] = outsiders.database.fetch("agents/get_agent", agent_id=theirs)
    assert agent.status == "active"
