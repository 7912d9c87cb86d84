"""Targets on the loopback, state changes, and a dispatcher for a test's own database."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest

from agentidp.alerts import channels, outbox, targets
from agentidp.alerts.delivery import Dispatcher
from agentidp.alerts.state_change import StateChange
from agentidp.alerts.target_fields import NewAlertTargetSchema
from agentidp.db.organization import OrganizationDatabase
from agentidp.registry.agents import update_agent
from agentidp.services import Services
from tests.alerts.receiver import Receiver
from tests.factories import NOON, PATIENCE, Clock, database_of, free_target_name, make_agent, make_organization

LOOPBACK = (ip_network("127.0.0.0/8"),)


def change(at: datetime = NOON, **values: Any) -> StateChange:
    """Return the change of a finding that was opened. *values* replace members."""
    finding: dict[str, Any] = {
        "finding_id": uuid.uuid4(),
        "change": "opened",
        "kind": "spike",
        "severity": "critical",
        "subject": "nightly-report",
        "title": "nightly-report takes 40 times its usual tokens",
        "description": "1,200 tokens in an hour; 30 are typical.",
        "opened_at": at,
        "at": at,
    }
    return StateChange(**(finding | values))


class Outbox:
    """An organization with alert targets and an outbox."""

    def __init__(self, services: Services, name: str = "Acme") -> None:
        self.services = replace(services, settings=replace(services.settings, alert_networks=LOOPBACK))
        self.organization_id = make_organization(services, name)

    @property
    def database(self) -> OrganizationDatabase:
        """The database of the organization, at the present time."""
        return database_of(self.services, self.organization_id)

    def dispatcher(self, **settings: Any) -> contextlib.closing[Dispatcher]:
        """Return the dispatcher, which sends alerts. *settings* replace settings."""
        services = self.services
        return contextlib.closing(Dispatcher(replace(services.settings, **settings), services.database, services.clock))

    def add_agent(self, owner: str) -> UUID:
        """Register an agent with an owner, and return its id."""
        agent_id = make_agent(self.services, self.organization_id, f"agent of {owner}").agent_id
        self.change_owner(agent_id, owner)
        return agent_id

    def change_owner(self, agent_id: UUID, owner: str) -> None:
        """Change the owner of an agent."""
        with self.database.transaction() as opened:
            update_agent(opened, agent_id, {"owner": owner})

    def add_target(self, url: str, type_: str = "webhook", **values: Any) -> tuple[UUID, str | None]:
        """Add an alert target, and return its id and the key of its webhooks."""
        with self.database.transaction() as opened:
            members = {"name": free_target_name(opened), "type": type_, "url": url, "minimumSeverity": "info"}
            new = NewAlertTargetSchema().load(members)
            row, secret = targets.add_target(opened, self.services.settings, new | values)
        return row.target_id, secret

    def put(self, *changes: StateChange, contributors: Collection[UUID] = ()) -> None:
        """Put changes of findings into the outbox, as an evaluation does."""
        with self.database.transaction() as opened:
            for state_change in changes:
                outbox.enqueue_alert(opened, state_change, contributors=contributors)

    def target(self, target_id: UUID) -> Any:
        """Return the row of an alert target."""
        return self.database.fetch("alerts/get_target", target_id=target_id)[0]

    def change(self, target_id: UUID, **values: Any) -> None:
        """Change an alert target, as the API does."""
        with self.database.transaction() as opened:
            targets.update_target(opened, self.services.settings, target_id, values)

    def events(self) -> list[Any]:
        """Return the audit events about changed alert targets."""
        filters = dict.fromkeys(("actor", "subject", "since", "until")) | {"action": "alert_target.changed"}
        return self.database.fetch("audit/list_events", below=1000, limit=100, **filters)

    def deliveries(self) -> list[Any]:
        """Return the rows of the outbox, oldest first."""
        return self.database.fetch("alerts/list_deliveries", limit=1000)[::-1]


class Acme(Outbox):
    """An organization whose alert targets may be on the loopback, a receiver there, and the dispatcher that sends."""

    sender: Dispatcher

    def __init__(self, services: Services, clock: Clock, receiver: Receiver) -> None:
        super().__init__(services)
        self.clock, self.receiver = clock, receiver

    def deliver(self, **later: float) -> int:
        """Advance the clock by *later* (arguments of ``timedelta``), and send the messages that are due."""
        self.clock.advance(**later)
        return self.sender.send_due_messages()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that accepts every message, unless the test sets another status."""
    with Receiver() as running:
        yield running


@pytest.fixture
def acme(services: Services, clock: Clock, receiver: Receiver) -> Iterator[Acme]:
    """See :class:`Acme`."""
    made = Acme(services, clock, receiver)
    with made.dispatcher() as made.sender:
        yield made


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that responds once its ``go_on`` is set."""
    monkeypatch.setattr(channels, "TIMEOUT", PATIENCE)
    with Receiver() as running:
        running.before_response = lambda: running.go_on.wait(PATIENCE)
        yield running
