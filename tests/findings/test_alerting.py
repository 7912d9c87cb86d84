"""A finding alerts once when it is opened, escalates and is resolved, and is not opened while it is muted."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentidp.findings import Found, findings_query
from agentidp.findings.alerting import Alert, alerts_of
from agentidp.findings.finding import ORGANIZATION, Finding, KnownFinding, Severity
from agentidp.findings.identity import MAX_MISSES, reconcile
from agentidp.findings.store import store_evaluation
from agentidp.services import Services
from tests.factories import NOON, Clock, a_finding, database_of, make_agent, make_alert_target, make_organization

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

    def unmute(self, kind: str, subject: str) -> None:
        """End a mute by hand."""
        database_of(self.services, self.organization_id).fetch_durably(
            "finding_state/unmute", kind=kind, subject=subject
        )

    def alerts(self) -> list[tuple[str, str]]:
        """The change and the finding of what is in the outbox, the oldest first."""
        return [(row.change, str(row.finding_id)) for row in self.deliveries()]

    def deliveries(self) -> list[Any]:
        """The rows of the outbox, the oldest first."""
        rows = database_of(self.services, self.organization_id).fetch("alerts/list_deliveries", limit=100)
        return rows[::-1]


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


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_still_goes_on_when_the_mute_ends_is_opened_then(watched: Watched, by_hand: bool) -> None:
    watched.mute("spike", ORGANIZATION)
    begins = watched.clock() - timedelta(hours=1)
    for severity in (Severity.warning, Severity.critical):
        watched.evaluate(spike(watched, begins=begins, severity=severity))
    assert watched.alerts() == []
    if by_hand:
        watched.unmute("spike", ORGANIZATION)
    else:
        watched.clock.advance(days=1)
    for _ in range(3):
        watched.evaluate(spike(watched, begins=begins, severity=Severity.critical))
    assert [change for change, _ in watched.alerts()] == ["opened"]
    for _ in range(MAX_MISSES):
        watched.evaluate()
    assert [change for change, _ in watched.alerts()] == ["opened", "resolved"]


@pytest.mark.parametrize("end", ["unmuted", "muted for longer", "expired and muted again"])
def test_what_was_never_reported_is_not_resolved(watched: Watched, end: str) -> None:
    watched.mute("spike", ORGANIZATION)
    watched.evaluate(spike(watched))
    if end == "expired and muted again":
        watched.clock.advance(days=2)
    if end == "unmuted":
        # It is missing already, so nobody is alerted that it continues.
        watched.evaluate()
        watched.unmute("spike", ORGANIZATION)
    else:
        watched.mute("spike", ORGANIZATION)
    for _ in range(MAX_MISSES):
        watched.evaluate()
    assert watched.alerts() == []


def test_what_escalated_while_it_was_muted_escalates_when_the_mute_ends(watched: Watched) -> None:
    begins = watched.clock() - timedelta(hours=1)
    watched.evaluate(spike(watched, begins=begins))
    watched.mute("spike", ORGANIZATION)
    watched.evaluate(spike(watched, begins=begins, severity=Severity.critical))
    watched.unmute("spike", ORGANIZATION)
    for _ in range(2):
        watched.evaluate(spike(watched, begins=begins, severity=Severity.critical))
    assert [change for change, _ in watched.alerts()] == ["opened", "escalated"]


def test_an_agents_finding_is_muted_with_those_of_every_agent(watched: Watched) -> None:
    one = make_agent(watched.services, watched.organization_id).agent_id
    watched.mute("spike", ORGANIZATION)
    watched.evaluate(spike(watched, agent_id=one, agent_name="one"))
    watched.unmute("spike", ORGANIZATION)
    watched.mute("spike", str(one))
    watched.evaluate(spike(watched, agent_id=one, agent_name="one"))
    assert watched.alerts() == []


def test_a_mute_of_another_kind_does_not_matter(watched: Watched) -> None:
    watched.mute("silence", ORGANIZATION)
    watched.evaluate(spike(watched))
    assert [change for change, _ in watched.alerts()] == ["opened"]


def test_who_waits_for_the_kind_that_a_finding_turns_to_is_alerted_once(watched: Watched) -> None:
    for kind in ("silence", "rejections"):
        make_alert_target(watched.services, watched.organization_id, name=kind, kinds=[kind])

    def evaluate(*kinds: str, severity: Severity = Severity.warning) -> list[tuple[str, str]]:
        """What is sent to whom that waits for one kind, if these are found one after the other."""
        before = len(watched.deliveries())
        for kind in kinds:
            also = ("silence", "rejections")
            watched.evaluate(spike(watched, kind=kind, also_seen_as=also, severity=severity))
        return sorted((row.target_name, row.change) for row in watched.deliveries()[before:])

    assert evaluate("silence", "silence") == [("on-call", "opened"), ("silence", "opened")]
    assert evaluate("rejections") == [("rejections", "opened")]
    # Neither what turns back and forth nor what stays is sent again.
    assert evaluate("silence", "rejections", "rejections") == []
    everybody = ["on-call", "rejections", "silence"]
    assert evaluate("silence", severity=Severity.critical) == [(name, "escalated") for name in everybody]
    assert evaluate("rejections", "silence") == []
    before = len(watched.deliveries())
    for _ in range(MAX_MISSES):
        watched.evaluate()
    assert sorted((row.target_name, row.change) for row in watched.deliveries()[before:]) == [
        (name, "resolved") for name in everybody
    ]
    # It begins again: then it is opened for each once more.
    assert evaluate("silence") == [("on-call", "opened"), ("silence", "opened")]
    assert evaluate("rejections") == [("rejections", "opened")]


def test_a_finding_that_has_become_less_urgent_is_opened_with_the_severity_that_others_know(watched: Watched) -> None:
    make_alert_target(watched.services, watched.organization_id, name="rejections", kinds=["rejections"])
    watched.evaluate(spike(watched, severity=Severity.critical))
    watched.evaluate(spike(watched, kind="rejections", also_seen_as=("spike",), severity=Severity.warning))
    last = watched.deliveries()[-1]
    assert (last.target_name, last.change) == ("rejections", "opened")
    with database_of(watched.services, watched.organization_id).transaction() as opened:
        payloads = opened.fetch("alerts/next_delivery", target_id=last.target_id)
    assert [row.payload["severity"] for row in payloads] == ["critical"]


def test_what_turns_to_a_muted_kind_alerts_nobody(watched: Watched) -> None:
    make_alert_target(watched.services, watched.organization_id, name="rejections", kinds=["rejections"])
    watched.mute("rejections", ORGANIZATION)
    watched.evaluate(spike(watched))
    for _ in range(2):
        watched.evaluate(spike(watched, kind="rejections", also_seen_as=("spike",)))
    assert [change for change, _ in watched.alerts()] == ["opened"]


LOOKS = st.lists(st.tuples(st.sampled_from([None, *Severity]), st.booleans()), min_size=1, max_size=60)


@settings(deadline=None, max_examples=200)
@given(LOOKS)
def test_whatever_is_muted_each_finding_is_opened_before_it_escalates_and_is_resolved_once(
    looks: list[tuple[Severity | None, bool]],
) -> None:
    """An agent's finding is found with a severity or not at all, and is muted meanwhile or not."""
    stored: dict[UUID, KnownFinding] = {}
    sent: list[Alert] = []
    for number, (severity, is_muted) in enumerate(looks, 1):
        at = NOON + number * MINUTES
        found = [a_finding(at, begins=NOON, severity=severity)] if severity else []
        result = reconcile([*stored.values()], found, at, not_computed=(), new_id=lambda: UUID(int=1))
        findings, alerts = alerts_of(result.findings, {("spike", ORGANIZATION)} if is_muted else set())
        stored |= {one.finding_id: one for one in findings}
        for alert in alerts:
            assert not is_muted or alert.change == "resolved"
            if alert.change == "resolved":
                assert alert.severity == sent[-1].severity
            sent.append(alert)
        for one in findings:
            # What goes on and may be known is known, with its severity.
            is_known = one.announced is not None and one.announced >= one.severity
            assert is_muted or not one.is_ongoing or one.misses or is_known
    assert re.fullmatch("(oe{0,2}r)*(oe{0,2})?", "".join(alert.change[0] for alert in sent))
