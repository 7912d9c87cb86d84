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
    """A finding that was opened, unless *values* say otherwise."""
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
    """An organization with targets, and what was put into its outbox."""

    def __init__(self, services: Services, name: str = "Acme") -> None:
        self.services = replace(services, settings=replace(services.settings, alert_networks=LOOPBACK))
        self.organization_id = make_organization(services, name)

    @property
    def database(self) -> OrganizationDatabase:
        """The database as the organization sees it now."""
        return database_of(self.services, self.organization_id)

    def dispatcher(self, **settings: Any) -> contextlib.closing[Dispatcher]:
        """What sends, perhaps with other settings."""
        services = self.services
        return contextlib.closing(Dispatcher(replace(services.settings, **settings), services.database, services.clock))

    def add_agent(self, owner: str) -> UUID:
        """Register an agent of this owner; its id."""
        agent_id = make_agent(self.services, self.organization_id, f"agent of {owner}").agent_id
        self.change_owner(agent_id, owner)
        return agent_id

    def change_owner(self, agent_id: UUID, owner: str) -> None:
        """Give an agent to somebody."""
        with self.database.transaction() as opened:
            update_agent(opened, agent_id, {"owner": owner})

    def add_target(self, url: str, type_: str = "webhook", **values: Any) -> tuple[UUID, str | None]:
        """Add a target; its id, and the key of its webhooks."""
        with self.database.transaction() as opened:
            members = {"name": free_target_name(opened), "type": type_, "url": url, "minimumSeverity": "info"}
            new = NewAlertTargetSchema().load(members)
            row, secret = targets.add_target(opened, self.services.settings, new | values)
        return row.target_id, secret

    def put(self, *changes: StateChange, contributors: Collection[UUID] = ()) -> None:
        """Put changes into the outbox, as the evaluation of findings does."""
        with self.database.transaction() as opened:
            for state_change in changes:
                outbox.enqueue_alert(opened, state_change, contributors=contributors)

    def target(self, target_id: UUID) -> Any:
        """A target's row."""
        return self.database.fetch("alerts/get_target", target_id=target_id)[0]

    def change(self, target_id: UUID, **values: Any) -> None:
        """Change a target, as somebody of the organization does."""
        with self.database.transaction() as opened:
            targets.update_target(opened, self.services.settings, target_id, values)

    def events(self) -> list[Any]:
        """What the audit trail has of changed targets."""
        filters = dict.fromkeys(("actor", "subject", "since", "until")) | {"action": "alert_target.changed"}
        return self.database.fetch("audit/list_events", below=1000, limit=100, **filters)

    def deliveries(self) -> list[Any]:
        """The rows of the outbox, the oldest first."""
        return self.database.fetch("alerts/list_deliveries", limit=1000)[::-1]


class Acme(Outbox):
    """An organization whose targets can be on the loopback, a receiver there, and what sends."""

    sender: Dispatcher

    def __init__(self, services: Services, clock: Clock, receiver: Receiver) -> None:
        super().__init__(services)
        self.clock, self.receiver = clock, receiver

    def deliver(self, **later: float) -> int:
        """Send what is due now, or so much later."""
        self.clock.advance(**later)
        return self.sender.send_due_messages()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that accepts everything, unless the test says otherwise."""
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
