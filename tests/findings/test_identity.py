"""Which finding of today is which of yesterday, on findings that a test makes up."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.finding import ORGANIZATION, Contributor, Finding, Severity
from agentidp.findings.identity import MAX_MISSES
from agentidp.findings.kinds import KINDS
from tests.factories import NOON, a_finding
from tests.findings.conftest import GONE, History

MINUTES, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def spike(at: datetime, **changes: Any) -> Finding:
    """Return a spike of the agent ONE that is ongoing at an instant."""
    return a_finding(at, **({"agent_id": ONE, "agent_name": "one"} | changes))


@pytest.mark.parametrize(
    ("looks", "happened", "severities"),
    [
        ("w" * 20, "opened", "warning warning"),
        # A finding escalates once per severity.
        ("iwiwcic", "opened escalated escalated", "critical critical"),
        ("ci", "opened", "info critical"),
        # A finding ends after several evaluations in a row that miss it.
        (f"w{GONE}-", "opened resolved", "warning warning"),
        (f"w{GONE[1:]}" * 10, "opened", "warning warning"),
        # A finding that begins again escalates again.
        (f"c{GONE}wc", "opened resolved reopened escalated", "critical critical"),
    ],
)
def test_keeps_its_id_while_it_goes_on(history: History, looks: str, happened: str, severities: str) -> None:
    history.find(looks)
    reported, last_evaluation = history.only, len(looks.rstrip("-"))
    assert history.happenings == happened.split()
    assert f"{reported.severity.name} {reported.highest.name}" == severities
    assert (reported.first_seen_at, reported.last_seen_at) == (NOON + MINUTES, NOON + last_evaluation * MINUTES)
    assert reported.misses == min(len(looks) - last_evaluation, MAX_MISSES)
    assert reported.ended_at == (reported.last_seen_at if happened.endswith("resolved") else None)


def expiring(credential_id: UUID, step: int = 1) -> Finding:
    """Return a finding about a credential of the agent ONE."""
    window = {"begins": NOON, "ends": NOON + 30 * DAY}
    return spike(NOON, kind="expiring_credential", credential_id=credential_id, step=step, **window)


def test_another_credential_of_the_same_agent_is_another_finding(history: History) -> None:
    history.look(expiring(ONE))
    for _ in range(MAX_MISSES):
        history.look(expiring(OTHER))
    by_credential = {str(reported.credential_id): reported for reported in history.stored.values()}
    assert {name: reported.is_ongoing for name, reported in by_credential.items()} == {
        str(ONE): False,
        str(OTHER): True,
    }
    # A finding that absorbs findings about credentials has no credential, and is the same finding.
    turned = spike(NOON, kind="dormant_agent", also_seen_as=("expiring_credential",), ends=history.at)
    history.look(turned)
    assert history.stored[by_credential[str(OTHER)].finding_id].kind == "dormant_agent"


def test_each_further_reminder_is_an_escalation_once(history: History) -> None:
    for step in (1, 1, 2, 2, 2, 4, 4):
        history.look(expiring(ONE, step))
    assert history.happenings == ["opened", "escalated", "escalated"]
    assert [reported.change for reported in history.alerts] == history.happenings


@pytest.mark.parametrize("kind", ["spike", "uncached_tokens"])
def test_ends_so_long_after_its_window(history: History, kind: str) -> None:
    finding = spike(NOON, kind=kind)
    history.look(finding)
    quiet = KINDS[kind].ends_after
    history.look(finding, after=quiet - timedelta(minutes=5, seconds=1))
    assert history.happenings == ["opened"]
    history.look(finding, after=timedelta(seconds=1))
    assert history.happenings == ["opened", "resolved"]
    assert history.only.ended_at == NOON
    history.look(finding)
    ended = history.only
    history.look(finding)
    assert (history.only, history.happenings) == (ended, ["opened", "resolved"])


def test_goes_on_again_under_its_id_where_its_window_does(history: History) -> None:
    history.look(spike(NOON))
    history.look(spike(NOON), after=KINDS["spike"].ends_after)
    later = history.at + HOUR
    history.look(spike(later, begins=NOON - HOUR), after=HOUR)
    assert history.happenings == ["opened", "resolved", "reopened"]
    assert history.only.ended_at is None


def test_one_that_was_over_when_it_was_seen_first_is_recorded_and_alerts_nobody(history: History) -> None:
    for severity in (Severity.info, Severity.critical):
        history.look(spike(NOON - DAY, severity=severity))
        assert (history.happenings, history.alerts, history.only.ended_at) == (["recorded"], [], NOON - DAY)


def test_does_not_end_while_nothing_is_known_about_its_kind(history: History) -> None:
    history.look(spike(NOON))
    for _ in range(MAX_MISSES):
        history.look(not_computed=["spike"])
    assert (history.happenings, history.only.misses) == (["opened"], 0)
    for _ in range(MAX_MISSES):
        history.look(not_computed=["silence"])
    assert history.happenings == ["opened", "resolved"]


class TestSame:
    """Two findings are the same finding, or not."""

    @pytest.mark.parametrize(
        ("kind", "gap", "is_same"),
        [
            ("spike", DAY, True),
            ("spike", DAY + HOUR, False),
            ("silence", HOUR, True),
            ("silence", HOUR + timedelta(minutes=1), False),
        ],
    )
    def test_by_time(self, history: History, kind: str, gap: timedelta, is_same: bool) -> None:
        history.look(spike(NOON, kind=kind))
        later = NOON + gap
        history.look(spike(later + HOUR, kind=kind, begins=later), after=gap + HOUR)
        assert len(history.stored) == (1 if is_same else 2)

    def test_the_budget_of_the_next_month_is_another(self, history: History) -> None:
        month = {"kind": "budget", "agent_id": None, "begins": NOON - 14 * DAY}
        history.look(spike(NOON + 16 * DAY, **month))
        history.look(spike(NOON + 47 * DAY, **month | {"begins": NOON + 16 * DAY}), after=17 * DAY)
        assert len(history.stored) == 2

    @pytest.mark.parametrize("change", [{"agent_id": OTHER}, {"agent_id": None}, {"kind": "silence"}])
    def test_another_agents_or_kind_is_another(self, history: History, change: dict[str, Any]) -> None:
        history.look(spike(NOON))
        history.look(spike(NOON, **change))
        assert len(history.stored) == 2

    def test_a_cause_that_shows_in_another_way_keeps_the_id(self, history: History) -> None:
        history.look(spike(NOON, kind="silence"))
        history.look(spike(NOON, kind="rejections", also_seen_as=("silence",), severity=Severity.critical))
        assert (history.only.kind, history.happenings) == ("rejections", ["opened", "escalated"])
        history.look(spike(NOON, kind="silence"))
        assert (history.only.kind, len(history.stored)) == ("silence", 1)

    def test_of_two_of_one_agent_each_keeps_its_own(self, history: History) -> None:
        early, late = spike(NOON - 9 * HOUR), spike(NOON)
        history.look(early, late)
        ids = {reported.begins: reported.finding_id for reported in history.stored.values()}
        history.look(late, early)
        assert {reported.begins: reported.finding_id for reported in history.stored.values()} == ids
        assert sorted(history.happenings) == ["opened", "recorded"]

    def test_agents_spikes_become_one_of_the_organization(self, history: History) -> None:
        agents = [uuid.UUID(int=number) for number in range(1, 8)]
        history.look(*(spike(NOON, agent_id=agent, agent_name=str(agent)) for agent in agents))
        assert history.happenings == ["opened"] * 7
        together = spike(
            NOON + HOUR,
            agent_id=None,
            agent_name=None,
            begins=NOON - HOUR,
            agents=tuple(Contributor(agent_id=agent, agent_name=str(agent), count=9) for agent in agents[:5]),
            agent_count=7,
        )
        for _ in range(MAX_MISSES):
            history.look(together)
        assert history.happenings == ["opened"] * 7 + ["resolved"] * 6
        [ongoing] = [reported for reported in history.stored.values() if reported.is_ongoing]
        assert ongoing.subject == ORGANIZATION
        # And back again.
        history.look(spike(NOON + HOUR, begins=NOON - HOUR))
        assert history.stored[ongoing.finding_id].subject == str(ONE)

    @pytest.mark.parametrize(
        ("named", "count", "is_same"), [(ONE, 1, True), (OTHER, 2, True), (OTHER, 1, False), (OTHER, None, False)]
    )
    def test_an_agents_becomes_that_of_several_if_it_may_be_one_of_them(
        self, history: History, named: UUID, count: int | None, is_same: bool
    ) -> None:
        history.look(spike(NOON))
        agents = (Contributor(agent_id=named, agent_name="some", count=9),)
        history.look(spike(NOON, agent_id=None, agents=agents, agent_count=count))
        assert len(history.stored) == (1 if is_same else 2)
