"""A finding alerts once when it is opened, escalates and is resolved, and is not opened while it is muted."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentidp.findings import ComputedFindings, build_findings_query
from agentidp.findings.finding import ORGANIZATION, Contributor, Finding, Severity
from agentidp.findings.identity import MAX_MISSES
from agentidp.findings.store import store_evaluation
from agentidp.services import Services
from tests.alerts.conftest import Outbox
from tests.factories import NOON, Clock, a_finding
from tests.findings.conftest import GONE, History


@pytest.mark.parametrize(
    ("looks", "alerts"),
    [
        ("iwwcwc", ["opened info", "escalated warning", "escalated critical"]),
        (f"wcw{GONE}--", ["opened warning", "escalated critical", "resolved critical"]),
        # A muted one alerts nobody. What still goes on when the mute ends is opened then.
        ("WWW", []),
        (f"WCcc{GONE}", ["opened critical", "resolved critical"]),
        ("wCcc", ["opened warning", "escalated critical"]),
        # What was opened is resolved also while it is muted, once.
        (f"wC{GONE}".replace("-", "_"), ["opened warning", "resolved warning"]),
        (f"w{GONE}W{GONE}", ["opened warning", "resolved warning"]),
        (f"w{GONE}w{GONE}", ["opened warning", "resolved warning"] * 2),
        # A finding that was never opened is not resolved, and a finding that was missed is not opened.
        (f"W_{GONE}", []),
        ("W-w", ["opened warning"]),
    ],
)
def test_each_change_alerts_once(history: History, looks: str, alerts: list[str]) -> None:
    history.find(looks)
    assert [f"{reported.change} {reported.severity.name}" for reported in history.alerts] == alerts
    assert {reported.finding.finding_id for reported in history.alerts} <= {history.only.finding_id}


@pytest.mark.parametrize(
    ("kind", "subject", "is_muted"),
    [
        ("spike", ORGANIZATION, True),
        ("spike", str(UUID(int=1)), True),
        ("spike", str(UUID(int=2)), False),
        ("silence", ORGANIZATION, False),
    ],
)
def test_a_mute_is_of_a_kind_and_of_one_agent_or_of_all(
    history: History, kind: str, subject: str, is_muted: bool
) -> None:
    history.look(a_finding(NOON, agent_id=UUID(int=1)), muted=[(kind, subject)])
    assert bool(history.alerts) is not is_muted


@settings(deadline=None, max_examples=200)
@given(st.text("iwcIWC-_", min_size=1, max_size=60))
def test_whatever_is_muted_each_finding_is_opened_before_it_escalates_and_is_resolved_once(looks: str) -> None:
    history = History()
    for how in looks:
        alert_count = len(history.alerts)
        history.find(how)
        is_muted = how == "_" or how.isupper()
        assert not is_muted or all(reported.change == "resolved" for reported in history.alerts[alert_count:])
        for reported in history.stored.values():
            # An ongoing finding that is not muted was announced with its severity.
            is_announced = reported.announced is not None and reported.announced >= reported.severity
            assert is_muted or not reported.is_ongoing or reported.misses or is_announced
    changes = "".join(reported.change[0] for reported in history.alerts)
    assert re.fullmatch("(oe{0,2}r)*(oe{0,2})?", changes)


class Watched(Outbox):
    """An organization whose findings are evaluated every five minutes, with one target for all severities."""

    def __init__(self, services: Services, clock: Clock) -> None:
        super().__init__(services)
        self.clock = clock
        self.target_id, _ = self.add_target("https://hooks.example")

    def evaluate(self, *computed: Finding) -> None:
        """Store an evaluation with these findings, five minutes after the last."""
        self.clock.advance(minutes=5)
        with self.database.transaction() as opened:
            store_evaluation(
                opened, ComputedFindings([*computed]), build_findings_query(self.clock(), self.services.settings)
            )

    def spike(self, **changes: Any) -> Finding:
        """Return an ongoing spike."""
        return a_finding(self.clock() + timedelta(minutes=5), **changes)


@pytest.fixture
def watched(services: Services, clock: Clock) -> Watched:
    """An organization of this test alone."""
    return Watched(services, clock)


def test_alerts_are_put_into_the_outbox_unless_the_kind_is_muted(watched: Watched) -> None:
    muted = {
        "kind": "spike",
        "subject": ORGANIZATION,
        "until": NOON + timedelta(hours=1),
        "muted_by": "x",
        "note": None,
    }
    watched.database.fetch_durably("finding_state/mute", **muted)
    watched.evaluate(watched.spike())
    assert watched.deliveries() == []
    watched.clock.advance(hours=1)
    begins = watched.clock()
    watched.evaluate(watched.spike(begins=begins))
    watched.evaluate(watched.spike(begins=begins, severity=Severity.critical))
    for _ in range(MAX_MISSES):
        watched.evaluate()
    assert [row.change for row in watched.deliveries()] == ["opened", "escalated", "resolved"]
    assert len({row.finding_id for row in watched.deliveries()}) == 1


@pytest.mark.parametrize(
    ("about", "subject"),
    [
        ({"agent_id": UUID(int=1), "agent_name": "one"}, "one"),
        ({"agents": (Contributor(agent_id=UUID(int=1), agent_name="one", count=3),)}, "organization"),
    ],
)
def test_an_alert_says_what_the_finding_says(watched: Watched, about: dict[str, Any], subject: str) -> None:
    watched.evaluate(watched.spike(kind="uncached_tokens", **about))
    with watched.database.transaction() as opened:
        [row] = opened.fetch("alerts/next_delivery", target_id=watched.target_id)
    payload = row.payload
    assert (payload["change"], payload["severity"], payload["subject"]) == ("opened", "warning", subject)
    assert payload["title"] == f"tokens not reused: {subject}"
    assert payload["description"] == (
        "The organization was issued 900 tokens in an hour; typically it is 100. A test. See whether it passes."
    )


def test_who_waits_for_the_kind_that_a_finding_turns_to_is_alerted_once(watched: Watched) -> None:
    for kind in ("silence", "rejections"):
        watched.add_target("https://hooks.example", name=kind, kinds=[kind])

    def evaluate(*kinds: str, severity: Severity = Severity.warning) -> list[tuple[str, str]]:
        """Return the target and the change of each alert that these findings cause, one after the other."""
        delivery_count = len(watched.deliveries())
        for kind in kinds:
            also = ("silence", "rejections")
            watched.evaluate(watched.spike(kind=kind, also_seen_as=also, severity=severity))
        return sorted((row.target_name, row.change) for row in watched.deliveries()[delivery_count:])

    assert evaluate("silence", "silence") == [("on-call", "opened"), ("silence", "opened")]
    assert evaluate("rejections") == [("rejections", "opened")]
    # Nothing is sent again if the kind stays or turns back.
    assert evaluate("silence", "rejections", "rejections") == []
    everybody = ["on-call", "rejections", "silence"]
    assert evaluate("silence", severity=Severity.critical) == [(name, "escalated") for name in everybody]
    assert evaluate("rejections", "silence") == []
