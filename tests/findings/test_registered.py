"""``dormant_agent``, ``expiring_credential`` and ``unused_credential``: what is reported of what is registered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings import thresholds
from agentidp.findings.expiring_credential import compute_findings, has_agent_moved, list_due_reminders
from agentidp.findings.kinds import KINDS
from agentidp.findings.thresholds import DORMANT_DAYS, EXPIRY_REMINDERS, MOVED_AFTER, UNUSED_DAYS
from agentidp.registry.agents import remove_agent, update_agent
from agentidp.registry.credentials import end_credential
from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet, amounts, body, build_query, window
from tests.helpers.quotas import ask

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
LONG_AGO = NOON - 200 * DAY
LIMIT = NOON - DORMANT_DAYS * DAY
UNUSED_LIMIT = NOON - UNUSED_DAYS * DAY
FIRST_DAY = LIMIT.replace(hour=0)
"""The first of the days on which a dormant agent must have no usage."""
ENDS = NOON + 6 * DAY + HOUR


def idle(fleet: Fleet, *names: str) -> list[UUID]:
    """Agents that were registered long ago, and have done nothing since."""
    return [fleet.registered(name, LONG_AGO) for name in names]


def busy(fleet: Fleet, *names: str) -> list[UUID]:
    """Register agents that have usage now."""
    agents = idle(fleet, *names)
    for agent_id in agents:
        fleet.count(agent_id, NOON, 1)
    fleet.store()
    return agents


def reported(fleet: Fleet) -> list[tuple[str, str]]:
    """Return the kind and the agent of each finding about registered objects."""
    return sorted(
        (finding["kind"], finding["agentName"]) for finding in fleet.findings() if KINDS[finding["kind"]].reads_registry
    )


def test_a_dormant_agent_is_reported_and_stands_for_its_credentials(fleet: Fleet) -> None:
    agent_id = fleet.registered("translator", LONG_AGO)
    for used_at in (LIMIT - 10 * DAY, None):
        fleet.credential(agent_id, LONG_AGO, used_at=used_at)
    assert fleet.findings() == [
        body(
            "dormant_agent",
            "info",
            (agent_id, "translator"),
            window=window("2026-03-01T12:00", "2026-04-15T12:00"),
            **amounts(45, 35, "days without a token", "days without a token after which an active agent is reported"),
            alsoSeenAs=["unused_credential"],
            summary="translator has not asked for a token for 45 days: a credential of it was last used at 12:00 UTC "
            "on Sunday, 1 March 2026.",
            causes="Another agent does its work now, or its work is no longer needed.",
            next="Ask its owner. If nobody needs it, delete it, or suspend it first: then it can be resumed at once.",
        )
    ]


def test_says_so_if_it_has_never_asked(fleet: Fleet) -> None:
    fleet.registered("planned", LIMIT)
    [finding] = fleet.findings("dormant_agent")
    assert finding["summary"] == (
        "planned has not asked for a token for 35 days: none of its credentials has been used since it was registered, "
        "at 12:00 UTC on Wednesday, 11 March 2026."
    )
    assert finding["alsoSeenAs"] == []


def test_whatever_was_counted_on_the_days_says_that_an_agent_is_not_dormant(fleet: Fleet) -> None:
    for at in (FIRST_DAY - SECOND, FIRST_DAY, NOON):
        for counts in ({"tokens": 1}, {"requests": 1}, {"rejected": 1}):
            fleet.count(fleet.registered(f"{[*counts]} at {at}", LONG_AGO), at, **counts)
    fleet.store()
    expected = [("dormant_agent", f"['{unit}'] at {FIRST_DAY - SECOND}") for unit in ("rejected", "requests", "tokens")]
    assert reported(fleet) == expected


def test_an_agent_that_stops_is_silent_and_then_dormant_without_a_gap(fleet: Fleet, clock: Clock) -> None:
    agent_id = fleet.registered("worker", LONG_AGO)
    fleet.credential(agent_id, LONG_AGO, used_at=NOON)
    fleet.work(agent_id, NOON - 70 * DAY, NOON, lambda _: 3)
    fleet.store()
    kinds = []
    for hours in (6, *range(24 * DORMANT_DAYS - 6, 24 * DORMANT_DAYS + 24, 6)):
        clock.now = NOON + hours * HOUR
        kinds += [finding["kind"] for finding in fleet.findings() if finding["agentName"] == "worker"]
    assert kinds == ["silence"] * 4 + ["dormant_agent"] * 2


def test_an_agent_is_not_dormant_before_its_days_have_gone_by(fleet: Fleet) -> None:
    fleet.registered("new", LIMIT + SECOND)
    used = fleet.registered("used", LONG_AGO)
    # Such as that of a resource server, which asks for no token and introspects those of others.
    revoked = fleet.credential(used, LONG_AGO, used_at=LIMIT + SECOND)
    with fleet.database.transaction() as opened:
        end_credential(opened, used, revoked)
    assert reported(fleet) == []
    fleet.use(revoked, LIMIT)
    assert reported(fleet) == [("dormant_agent", "used")]


def test_a_credential_that_was_never_used_and_one_that_is_no_longer_used(fleet: Fleet) -> None:
    [agent_id] = busy(fleet, "reader")
    never = fleet.credential(agent_id, UNUSED_LIMIT, label="for the new gateway")
    once = fleet.credential(agent_id, LONG_AGO, used_at=UNUSED_LIMIT - 10 * DAY)
    common: dict[str, Any] = {
        "about": (agent_id, "reader"),
        "next": "If nobody needs it, revoke it: a secret that nobody uses can still leak.",
    }
    baseline = "days without use after which a valid credential is reported"
    assert sorted(fleet.findings("unused_credential"), key=lambda finding: finding["observed"]["value"]) == [
        body(
            "unused_credential",
            "info",
            credentialId=str(never),
            window=window("2026-01-15T12:00", "2026-04-15T12:00"),
            **amounts(90, 90, "days without use", baseline),
            summary='The credential "for the new gateway" of reader has never been used since it was created, at 12:00 '
            "UTC on Thursday, 15 January 2026.",
            causes="It was created for something that does not exist yet, or that uses another credential.",
            **common,
        ),
        body(
            "unused_credential",
            "info",
            credentialId=str(once),
            window=window("2026-01-05T12:00", "2026-04-15T12:00"),
            **amounts(100, 90, "days without use", baseline),
            summary=f"The credential {once} of reader was last used at 12:00 UTC on Monday, 5 January 2026.",
            causes="Its user now has another credential, or no longer runs.",
            **common,
        ),
    ]


def test_a_credential_is_not_unused_before_90_days_and_after_its_end(fleet: Fleet, clock: Clock) -> None:
    [agent_id] = busy(fleet, "reader")
    fleet.credential(agent_id, UNUSED_LIMIT + SECOND)
    fleet.credential(agent_id, LONG_AGO, used_at=UNUSED_LIMIT + SECOND)
    assert reported(fleet) == []
    unused = fleet.credential(agent_id, LONG_AGO, used_at=UNUSED_LIMIT, expires_at=NOON + SECOND)
    assert [finding["credentialId"] for finding in fleet.findings("unused_credential")] == [str(unused)]
    clock.now = NOON + SECOND
    assert str(unused) not in [finding["credentialId"] for finding in fleet.findings("unused_credential")]


def test_a_request_ends_dormancy_and_a_token_the_lack_of_use(fleet: Fleet, clock: Clock) -> None:
    # The reader has a credential with which it has got no token so far.
    clock.now = NOON + UNUSED_DAYS * DAY
    assert reported(fleet) == [("dormant_agent", "builder")]
    fleet.count(fleet.reader.agent_id, clock.now, requests=1)
    fleet.store()
    assert reported(fleet) == [("unused_credential", "builder")]
    assert ask(fleet.client, fleet.reader).status_code == 200
    assert reported(fleet) == []


@pytest.mark.parametrize("place", range(len(EXPIRY_REMINDERS)))
def test_a_reminder_is_due_from_so_many_days_before_the_end_on(place: int) -> None:
    due = ENDS - EXPIRY_REMINDERS[place] * DAY
    assert list_due_reminders(LONG_AGO, ENDS, due) == [*EXPIRY_REMINDERS[: place + 1]]
    assert list_due_reminders(LONG_AGO, ENDS, due - SECOND) == [*EXPIRY_REMINDERS[:place]]


@pytest.mark.parametrize(("lifetime", "due"), [(10, [7, 1]), (7, [1]), (1, []), (0.5, [])])
def test_reminders_from_before_the_credential_was_created_are_left_out(lifetime: float, due: list[int]) -> None:
    ends = NOON + lifetime * DAY
    assert list_due_reminders(NOON, ends, ends) == due


@pytest.mark.parametrize(
    ("last_used_at", "moved_at", "expected"),
    [
        (NOON, None, False),
        (None, NOON, True),
        (NOON, NOON + MOVED_AFTER, True),
        (NOON, NOON + MOVED_AFTER - SECOND, False),
    ],
)
def test_an_agent_has_moved_if_it_has_used_another_for_a_day(
    last_used_at: datetime | None, moved_at: datetime | None, expected: bool
) -> None:
    assert has_agent_moved(last_used_at, moved_at) is expected


def test_the_days_left_are_rounded_down_as_in_the_sentence(fleet: Fleet) -> None:
    fleet.credential(fleet.agent("reader"), LONG_AGO, label="production", expires_at=NOON + 6 * DAY - HOUR)
    [finding] = fleet.findings("expiring_credential")
    assert (finding["observed"]["value"], "ends in 5 days" in finding["summary"]) == (5.9, True)


def test_a_credential_is_reported_that_ends_in_six_days(fleet: Fleet) -> None:
    agent_id = fleet.agent("reader")
    credential_id = fleet.credential(agent_id, LONG_AGO, label="production", expires_at=ENDS, used_at=NOON - DAY)
    assert fleet.findings("expiring_credential") == [
        body(
            "expiring_credential",
            "warning",
            (agent_id, "reader"),
            window=window("2026-03-22T13:00", "2026-04-21T13:00"),
            **amounts(6, 30, "days left", "the days before its end in which a credential is to be replaced"),
            credentialId=str(credential_id),
            summary='The credential "production" of reader ends in 6 days, at 13:00 UTC on Tuesday, 21 April 2026. It '
            "was last used at 12:00 UTC on Tuesday, 14 April 2026.",
            causes="It was created to end then. From then on each request with it is refused, and what uses it stops "
            "working.",
            next="Create another credential of the agent, and give it to whatever uses this one. Revoke this one when "
            "it is no longer used.",
        )
    ]


@pytest.mark.parametrize(
    ("left", "severity", "observed", "ends"),
    [
        (DAY + SECOND, "warning", 1, "ends in 1 day, at 12:00"),
        (DAY, "critical", 1, "ends in 1 day, at 12:00"),
        (HOUR, "critical", 0, "ends in 1 hour, at 12:00"),
        (HOUR - SECOND, "critical", 0, "ends in less than an hour, at 12:00"),
        (0 * DAY, "critical", 0, "ended at 12:00"),
    ],
)
def test_says_how_much_is_left(left: timedelta, severity: str, observed: float, ends: str) -> None:
    row = {"agent_id": UUID(int=1), "agent_name": "reader", "credential_id": UUID(int=2), "label": None}
    row |= {"created_at": NOON - 100 * DAY, "expires_at": NOON, "last_used_at": None, "moved_at": None}
    [finding] = compute_findings([SimpleNamespace(**row)], build_query(NOON - left))
    assert (finding.severity.name, round(finding.observed)) == (severity, observed)
    assert finding.summary == (
        f"The credential {UUID(int=2)} of reader {ends} UTC on Wednesday, 15 April 2026. It has never been used since "
        "it was created, at 12:00 UTC on Monday, 5 January 2026."
    )
    assert finding.causes.startswith(
        "It was created to end then. " + ("Each" if left <= 0 * DAY else "From then on each") + " request with it"
    )


def test_a_credential_ends_from_thirty_days_before_its_end_to_a_day_after_it(fleet: Fleet, clock: Clock) -> None:
    fleet.credential(fleet.agent("reader"), LONG_AGO, expires_at=ENDS)
    for at, number in ((ENDS - 30 * DAY - SECOND, 0), (ENDS - 30 * DAY, 1), (ENDS + DAY - SECOND, 1), (ENDS + DAY, 0)):
        clock.now = at
        assert len(fleet.findings("expiring_credential")) == number


def test_is_only_listed_if_the_agent_has_moved_to_a_credential_that_ends_later(fleet: Fleet) -> None:
    agent_id = fleet.agent("reader")
    credential_id = fleet.credential(agent_id, LONG_AGO, expires_at=ENDS, used_at=NOON - 3 * DAY)

    def read_finding() -> Any:
        return next(
            finding
            for finding in fleet.findings("expiring_credential")
            if finding["credentialId"] == str(credential_id)
        )

    # This one ends sooner.
    fleet.credential(agent_id, NOON - 4 * DAY, expires_at=ENDS - DAY, used_at=NOON)
    assert read_finding()["severity"] == "warning"
    other_id = fleet.credential(agent_id, NOON - 4 * DAY, used_at=NOON - DAY)
    moved = read_finding()
    assert (moved["severity"], moved["next"]) == ("info", "Check that nothing uses it any more, and revoke it.")
    assert moved["causes"] == (
        "Its agent has another credential that ends later, which was last used at 12:00 UTC on Tuesday, 14 April 2026, "
        "so it has probably moved to that credential."
    )
    with fleet.database.transaction() as opened:
        end_credential(opened, agent_id, other_id)
    assert read_finding()["severity"] == "warning"


def test_nothing_is_said_of_what_cannot_be_used(fleet: Fleet) -> None:
    working = busy(fleet, "suspended", "deleted", "revoked")
    resting = idle(fleet, "one", "other")
    credentials = [fleet.credential(agent_id, LONG_AGO, expires_at=NOON + DAY) for agent_id in working]
    assert reported(fleet) == [
        *(("dormant_agent", name) for name in ("one", "other")),
        *(("expiring_credential", name) for name in ("deleted", "revoked", "suspended")),
        *(("unused_credential", name) for name in ("deleted", "revoked", "suspended")),
    ]
    with fleet.database.transaction() as opened:
        for agents in (working, resting):
            update_agent(opened, agents[0], {"status": "suspended"})
            remove_agent(opened, agents[1])
        end_credential(opened, working[2], credentials[2])
    assert reported(fleet) == []


@pytest.mark.parametrize(
    ("limit", "kind", "agents"),
    [
        ("MAX_DORMANT_AGENTS", "dormant_agent", idle),
        ("MAX_EXPIRING_CREDENTIALS", "expiring_credential", busy),
        ("MAX_UNUSED_CREDENTIALS", "unused_credential", busy),
    ],
)
def test_names_those_that_end_first_or_have_been_unused_for_longest(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, limit: str, kind: str, agents: Callable[..., list[UUID]]
) -> None:
    monkeypatch.setattr(thresholds, limit, 1)
    for agent_id, days in zip(agents(fleet, "second", "first"), (2, 1), strict=True):
        fleet.credential(agent_id, LONG_AGO, expires_at=NOON + days * DAY, used_at=UNUSED_LIMIT - 3 * DAY + days * DAY)
    assert [finding["agentName"] for finding in fleet.findings(kind)] == ["first"]
