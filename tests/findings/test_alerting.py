"""A finding alerts once when it is opened, escalates and is resolved, and not while it is muted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agentidp.findings import Found, findings_query
from agentidp.findings.finding import Finding, Severity
from agentidp.findings.identity import MAX_MISSES, ORGANIZATION
from agentidp.findings.store import store_evaluation
from agentidp.services import Services
from tests.factories import Clock, a_finding, database_of, make_alert_target, make_organization

MINUTES = timedelta(minutes=5)


class Watched:
    """An organization whose findings are evaluated every five minutes, with one target for all severities."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self.services, self.clock = services, clock
        self.organization_id = make_organization(services)
        make_alert_target(services, self.organization_id)

    def evaluate(self, *found: Finding) -> None:
        """Store an evaluation that has found these, five minutes after the one before."""
        self.clock.advance(minutes=5)
        database = database_of(self.services, self.organization_id)
        with database.transaction() as opened:
            store_evaluation(opened, Found([*found]), findings_query(database.at, self.services.settings))

    def mute(self, kind: str, subject: str) -> None:
        """Mute for a day."""
        until = self.clock() + timedelta(days=1)
        database_of(self.services, self.organization_id).fetch_durably(
            "finding_state/mute", kind=kind, subject=subject, until=until, muted_by="x", note=None
        )

    def alerts(self) -> list[tuple[str, str]]:
        """The change and the finding of what is in the outbox, the oldest first."""
        rows = database_of(self.services, self.organization_id).fetch("alerts/list_deliveries", limit=100)
        return [(row.change, str(row.finding_id)) for row in reversed(rows)]


@pytest.fixture
def watched(services: Services, clock: Clock) -> Watched:
    """Of a test's own."""
    return Watched(services, clock)


def spike(watched: Watched, **changes: Any) -> Finding:
    """A spike that is going on."""
    return a_finding(watched.clock() + MINUTES, **changes)


def test_each_change_alerts_once(watched: Watched) -> None:
    for severity in (Severity.warning, Severity.warning, Severity.critical, Severity.warning, Severity.critical):
        watched.evaluate(spike(watched, severity=severity))
    assert [change for change, _ in watched.alerts()] == ["opened", "escalated"]
    for _ in range(MAX_MISSES + 2):
        watched.evaluate()
    assert [change for change, _ in watched.alerts()] == ["opened", "escalated", "resolved"]
    assert len({finding_id for _, finding_id in watched.alerts()}) == 1


def test_what_was_over_when_it_was_first_seen_alerts_nobody(watched: Watched) -> None:
    ended = watched.clock() - timedelta(days=1)
    watched.evaluate(a_finding(ended))
    assert watched.alerts() == []


def test_what_is_muted_alerts_nobody(watched: Watched) -> None:
    watched.mute("spike", ORGANIZATION)
    watched.evaluate(spike(watched))
    assert watched.alerts() == []
    watched.clock.advance(days=3)
    watched.evaluate(spike(watched))
    assert [change for change, _ in watched.alerts()] == ["opened"]


def test_what_was_reported_before_it_was_muted_is_resolved(watched: Watched) -> None:
    watched.evaluate(spike(watched))
    watched.clock.advance(minutes=1)
    watched.mute("spike", ORGANIZATION)
    watched.evaluate(spike(watched, severity=Severity.critical))
    assert [change for change, _ in watched.alerts()] == ["opened"]
    for _ in range(MAX_MISSES):
        watched.evaluate()
    [(_, opened), (last, resolved)] = watched.alerts()
    assert (last, resolved) == ("resolved", opened)


@pytest.mark.parametrize("expires", [False, True])
def test_what_began_again_while_it_was_muted_is_resolved_once(watched: Watched, expires: bool) -> None:
    watched.evaluate(spike(watched))
    for _ in range(MAX_MISSES):
        watched.evaluate()
    watched.clock.advance(minutes=1)
    watched.mute("spike", ORGANIZATION)
    watched.evaluate(spike(watched))
    if expires:
        watched.clock.advance(days=1)
    for _ in range(MAX_MISSES):
        watched.evaluate()
    assert [change for change, _ in watched.alerts()] == ["opened", "resolved"]


def test_what_escalated_after_the_mute_in_which_it_began_is_resolved(watched: Watched) -> None:
    watched.mute("spike", ORGANIZATION)
    watched.evaluate(spike(watched))
    watched.clock.advance(days=1)
    watched.evaluate(spike(watched, begins=watched.clock() - timedelta(days=2), severity=Severity.critical))
    for _ in range(MAX_MISSES):
        watched.evaluate()
    assert [change for change, _ in watched.alerts()] == ["escalated", "resolved"]


def test_what_was_never_reported_is_not_resolved(watched: Watched) -> None:
    watched.mute("spike", ORGANIZATION)
    watched.evaluate(spike(watched))
    watched.clock.advance(minutes=1)
    # To mute it for longer does not change when that began.
    watched.mute("spike", ORGANIZATION)
    for _ in range(MAX_MISSES):
        watched.evaluate()
    assert watched.alerts() == []


def test_a_mute_of_another_kind_does_not_matter(watched: Watched) -> None:
    watched.mute("silence", ORGANIZATION)
    watched.evaluate(spike(watched))
    assert [change for change, _ in watched.alerts()] == ["opened"]
