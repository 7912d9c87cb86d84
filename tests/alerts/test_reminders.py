"""The reminders before a credential ends, as a webhook gets them: once each, also over restarts."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings import build_findings_query
from agentidp.findings.store import evaluate
from agentidp.registry.agents import add_agent
from agentidp.registry.credentials import add_credential
from agentidp.server.watch import watch
from agentidp.services import Services
from tests.alerts.conftest import Acme
from tests.factories import NOON

pytestmark = pytest.mark.slow

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
ENDS = NOON + 400 * DAY


class Watched:
    """An organization with an agent of Ada's and its credential, which ends at ``ENDS``, and a target of hers."""

    def __init__(self, acme: Acme) -> None:
        self.acme, self.receiver, self.clock = acme, acme.receiver, acme.clock
        acme.add_target(f"{acme.receiver.url}/ada", owners=["Ada"], minimum_severity="warning")
        acme.add_target(f"{acme.receiver.url}/grace", owners=["Grace"])
        with acme.database.transaction() as opened:
            agent = add_agent(opened, name="reader", description="", owner="Ada", scopes=[], max_agents=10)
            row, _ = add_credential(opened, agent.agent_id, label="production", expires_at=ENDS)
        self.agent_id: UUID = agent.agent_id
        self.credential_id: UUID = row.credential_id

    def look(self, at: datetime) -> None:
        """Evaluate the findings and send due messages, with a service without memory of earlier evaluations."""
        self.clock.now = at
        with contextlib.closing(Services.of(self.acme.services.settings, self.clock)) as services:
            watch(services, threading.Event(), once=True)

    def received(self) -> list[dict[str, Any]]:
        """Return the new messages to Ada about the credential. Fail if Grace has received one."""
        assert set(self.receiver.paths) <= {"/ada"}
        bodies = [body for body in self.receiver.bodies if body["data"]["kind"] == "expiring_credential"]
        self.receiver.received.clear()
        return bodies

    def notices(self, *days: float) -> list[tuple[str, str]]:
        """Return the new messages to Ada in short, after an evaluation on each of these days before the expiry."""
        for left in days:
            self.look(ENDS - left * DAY)
        return [(body["type"], body["data"]["severity"]) for body in self.received()]


@pytest.fixture
def watched(acme: Acme) -> Watched:
    """See :class:`Watched`."""
    acme.services = replace(acme.services, settings=replace(acme.services.settings, watch_interval=60))
    return Watched(acme)


def test_one_that_ends_between_its_evaluation_and_the_sending_sends_after_the_restart(watched: Watched) -> None:
    for days in (30, 14):
        watched.clock.now = ENDS - days * DAY
        database = watched.acme.database
        evaluate(database.run, database.transaction, build_findings_query(database.at, watched.acme.services.settings))
        assert watched.notices() == []
        # The second evaluation finds nothing new, and what is in the outbox is sent.
        assert len(watched.notices(days - 0.05)) == 1
        assert watched.notices(days - 0.1) == []


def test_each_of_two_credentials_of_an_agent_has_its_reminders(watched: Watched) -> None:
    with watched.acme.database.transaction() as opened:
        add_credential(opened, watched.agent_id, label="staging", expires_at=ENDS + DAY)
    for days in (30, 29, 14, 13, 7, 6, 1, 0, -0.5, -1.5):
        watched.look(ENDS - days * DAY)
    received = watched.received()
    words = [body["data"]["description"].split(",")[0] for body in received if body["type"] != "finding.resolved"]
    assert sorted(words) == sorted(
        f'The credential "{label}" of reader ends in {days} day{"s" if days > 1 else ""}'
        for label in ("production", "staging")
        for days in (30, 14, 7, 1)
    )
    assert len({body["data"]["findingId"] for body in received}) == 2
    assert [body["type"] for body in received].count("finding.resolved") == 2
