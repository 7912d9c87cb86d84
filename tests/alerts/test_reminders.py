"""The reminders before a credential ends, as a webhook gets them: once each, also over restarts."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings import findings_query
from agentidp.findings.actions import act
from agentidp.findings.identity import Happening
from agentidp.findings.store import evaluate
from agentidp.registry.agents import add_agent
from agentidp.registry.credentials import add_credential, end_credential
from agentidp.server.watch import watch
from agentidp.services import Services
from tests.alerts.conftest import Outbox
from tests.alerts.receiver import Receiver
from tests.factories import NOON, Clock

pytestmark = pytest.mark.slow

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
ENDS = NOON + 400 * DAY
REMINDERS = [30, 14, 7, 1]


class Watched:
    """An organization with an agent of Ada's and its credential, which ends at ``ENDS``, and a target of hers."""

    def __init__(self, acme: Outbox, receiver: Receiver, clock: Clock) -> None:
        self.acme, self.receiver, self.clock = acme, receiver, clock
        acme.add_target(f"{receiver.url}/ada", owners=["Ada"], minimum_severity="warning")
        acme.add_target(f"{receiver.url}/grace", owners=["Grace"])
        with acme.services.database.of(acme.organization_id, NOON).transaction() as opened:
            agent = add_agent(opened, name="reader", description="", owner="Ada", scopes=[], most=10)
            row, _ = add_credential(opened, agent.agent_id, label="production", expires_at=ENDS)
        self.agent_id: UUID = agent.agent_id
        self.credential_id: UUID = row.credential_id

    @contextlib.contextmanager
    def started(self) -> Iterator[Services]:
        """A service that knows nothing but what is in the database."""
        services = Services.of(self.acme.services.settings, self.clock)
        try:
            yield services
        finally:
            services.close()

    def look(self, at: datetime) -> None:
        """Evaluate and send what is due at an instant, in a process of its own."""
        self.clock.now = at
        with self.started() as services:
            watch(services, threading.Event(), once=True)

    def received(self) -> list[dict[str, Any]]:
        """What has come since, about the credential."""
        bodies = [json.loads(one.body) for one in self.receiver.received if one.path == "/ada"]
        assert {one.path for one in self.receiver.received} <= {"/ada"}
        self.receiver.received.clear()
        return [body for body in bodies if body["data"]["kind"] == "expiring_credential"]

    def notices(self) -> list[tuple[str, str]]:
        """What has come since, in short."""
        return [(body["type"], body["data"]["severity"]) for body in self.received()]


@pytest.fixture
def watched(acme: Outbox, receiver: Receiver, clock: Clock) -> Watched:
    """See :class:`Watched`."""
    acme.services = replace(acme.services, settings=replace(acme.services.settings, watch_interval=60))
    return Watched(acme, receiver, clock)


def test_the_owner_gets_each_reminder_once_and_the_end(watched: Watched) -> None:
    got: dict[int, list[tuple[str, str]]] = {}
    for days in REMINDERS:
        due = ENDS - days * DAY
        watched.look(due - SECOND)
        assert watched.notices() == []
        watched.look(due)
        got[days] = watched.notices()
        for later in (SECOND, 5 * HOUR, 20 * HOUR):
            watched.look(due + later)
        assert watched.notices() == []
    assert got == {
        30: [("finding.opened", "warning")],
        14: [("finding.escalated", "warning")],
        7: [("finding.escalated", "warning")],
        1: [("finding.escalated", "critical")],
    }
    watched.look(ENDS + 3 * HOUR - SECOND)
    assert watched.notices() == []
    watched.look(ENDS + 3 * HOUR)
    [end] = watched.received()
    assert (end["type"], end["data"]["severity"]) == ("finding.resolved", "critical")
    assert end["data"]["description"].startswith('The credential "production" of reader ended at 12:00 UTC on')
    for days in (0.5, 1, 2, 9):
        watched.look(ENDS + days * DAY)
    assert watched.notices() == []


def test_a_reminder_names_the_owner_the_credential_and_what_is_left(watched: Watched) -> None:
    watched.look(ENDS - 14 * DAY)
    [body] = watched.received()
    data = body["data"]
    assert (data["owner"], data["agentId"], data["title"]) == (
        "Ada",
        str(watched.agent_id),
        "expiring credential: reader",
    )
    assert data["description"].startswith('The credential "production" of reader ends in 14 days, at 12:00 UTC on')


def test_a_time_without_evaluations_costs_no_more_than_the_reminders_in_it(watched: Watched) -> None:
    watched.look(ENDS - 20 * DAY)
    assert watched.notices() == [("finding.opened", "warning")]
    watched.look(ENDS - 6 * DAY)
    assert watched.notices() == [("finding.escalated", "warning")]


def test_one_that_ends_between_its_evaluation_and_the_sending_sends_after_the_restart(watched: Watched) -> None:
    for days in (30, 14):
        watched.clock.now = ENDS - days * DAY
        with watched.started() as services:
            database = services.database.of(watched.acme.organization_id, watched.clock.now)
            evaluate(database.run, database.transaction, findings_query(watched.clock.now, services.settings))
        assert watched.notices() == []
        # The second evaluation finds nothing new, and what is in the outbox is sent.
        watched.look(ENDS - days * DAY + HOUR)
        assert len(watched.notices()) == 1
        watched.look(ENDS - days * DAY + 2 * HOUR)
        assert watched.notices() == []


def test_of_a_credential_that_is_revoked_no_reminder_is_sent(watched: Watched) -> None:
    for days in (30, 14):
        watched.look(ENDS - days * DAY)
    assert len(watched.notices()) == 2
    with watched.acme.services.database.of(watched.acme.organization_id, ENDS - 10 * DAY).transaction() as opened:
        end_credential(opened, watched.agent_id, watched.credential_id)
    for days in (9, 8.5, 8):
        watched.look(ENDS - days * DAY)
    assert watched.notices() == [("finding.resolved", "warning")]
    for days in (7, 6, 1, 0.5, 0, -1):
        watched.look(ENDS - days * DAY)
    assert watched.notices() == []


def test_each_of_two_credentials_of_an_agent_has_its_reminders(watched: Watched) -> None:
    with watched.acme.services.database.of(watched.acme.organization_id, NOON).transaction() as opened:
        add_credential(opened, watched.agent_id, label="staging", expires_at=ENDS + DAY)
    received = []
    for hours in range(32 * 24, -48, -6):
        watched.look(ENDS - hours * HOUR)
        received += watched.received()
    words = [body["data"]["description"].split(",")[0] for body in received if body["type"] != "finding.resolved"]
    assert sorted(words) == sorted(
        f'The credential "{label}" of reader ends in {days} day{"s" if days > 1 else ""}'
        for label in ("production", "staging")
        for days in REMINDERS
    )
    assert len({body["data"]["findingId"] for body in received}) == 2
    assert [body["type"] for body in received].count("finding.resolved") == 2


def test_a_reminder_that_falls_into_a_mute_is_not_sent_and_the_next_one_is(watched: Watched) -> None:
    watched.look(ENDS - 30 * DAY)
    [opened_] = watched.received()
    with watched.acme.services.database.of(watched.acme.organization_id, ENDS - 20 * DAY).transaction() as opened:
        act(opened, UUID(opened_["data"]["findingId"]), Happening.muted, until=ENDS - 10 * DAY)
    for days in (14, 12, 9):
        watched.look(ENDS - days * DAY)
    assert watched.notices() == []
    watched.look(ENDS - 7 * DAY)
    assert watched.notices() == [("finding.escalated", "warning")]
