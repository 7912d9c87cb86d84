"""Acknowledging and muting findings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from agentidp.actor import find_operator
from agentidp.findings.actions import MAX_MUTE, apply_action
from agentidp.findings.finding import Severity
from agentidp.findings.identity import FindingChange
from tests.factories import NOON, Clock, a_finding, make_finding
from tests.findings.conftest import FINDINGS, Fleet

LATER = "2026-04-16T00:00:00.000000Z"


@pytest.fixture
def finding_id(fleet: Fleet) -> UUID:
    """The id of an ongoing spike of an agent."""
    finding = a_finding(NOON, agent_id=fleet.agent("one"), agent_name="one")
    return make_finding(fleet.services, fleet.organization_id, finding)


def post(fleet: Fleet, finding_id: UUID, action: str, **body: Any) -> Any:
    response = fleet.api.post(f"{FINDINGS}/{finding_id}/{action}", body)
    assert response.status_code == 200, response.json
    return response.json


def history(fleet: Fleet, finding_id: UUID) -> list[dict[str, Any]]:
    return list(fleet.api.get(f"{FINDINGS}/{finding_id}").json["history"])


def test_acknowledges(fleet: Fleet, finding_id: UUID) -> None:
    [finding] = fleet.listed()["data"]
    acknowledgement = {"acknowledgedAt": "2026-04-15T12:00:00.000000Z", "acknowledgedBy": "builder", "note": "a\nnote"}
    assert post(fleet, finding_id, "acknowledge", note="a\nnote") | {"partOf": None} == finding | acknowledgement
    assert fleet.listed()["data"] == [finding | acknowledgement]
    change = {
        "at": "2026-04-15T12:00:00.000000Z",
        "change": "acknowledged",
        "severity": "warning",
        "by": "builder",
        "note": "a\nnote",
    }
    assert change in history(fleet, finding_id)


def test_acknowledging_again_keeps_the_note_unless_another_is_given(fleet: Fleet, finding_id: UUID) -> None:
    for body, note in (({"note": "mine"}, "mine"), ({}, "mine"), ({"note": None}, "mine"), ({"note": "ours"}, "ours")):
        assert post(fleet, finding_id, "acknowledge", **body)["note"] == note
    assert sorted(change["note"] or "" for change in history(fleet, finding_id)) == ["", "", "", "mine", "ours"]


def test_an_escalation_takes_the_acknowledgement_back(fleet: Fleet, clock: Clock, finding_id: UUID) -> None:
    post(fleet, finding_id, "acknowledge", note="mine")
    [reported] = fleet.listed()["data"]
    for severity, is_acknowledged in (("warning", True), ("critical", False)):
        clock.advance(minutes=1)
        again = a_finding(NOON, agent_id=UUID(reported["agentId"]), agent_name="one", severity=Severity[severity])
        make_finding(fleet.services, fleet.organization_id, again)
        [reported] = fleet.listed()["data"]
        assert (reported["findingId"], reported["severity"]) == (str(finding_id), severity)
        assert (reported["acknowledgedAt"] is not None, reported["note"] == "mine") == (
            is_acknowledged,
            is_acknowledged,
        )


@pytest.mark.parametrize("whole_organization", [False, True])
def test_mutes_the_kind_of_the_agent_or_of_the_whole_organization(
    fleet: Fleet, clock: Clock, finding_id: UUID, whole_organization: bool
) -> None:
    muted = post(fleet, finding_id, "mute", until=LATER, note="known", wholeOrganization=whole_organization)
    assert muted["mutedUntil"] == LATER
    # The longer of two mutes counts.
    sooner = {"until": "2026-04-15T13:00:00Z", "wholeOrganization": not whole_organization}
    assert post(fleet, finding_id, "mute", **sooner)["mutedUntil"] == LATER
    agent = {"agent_id": fleet.agent("other"), "agent_name": "other"}
    for finding in (a_finding(NOON, **agent), a_finding(NOON, kind="silence", **agent)):
        clock.advance(minutes=1)
        make_finding(fleet.services, fleet.organization_id, finding)
    of_other = LATER if whole_organization else "2026-04-15T13:00:00.000000Z"
    assert {
        (reported["kind"], reported["agentName"]): reported["mutedUntil"] for reported in fleet.listed()["data"]
    } == {
        ("spike", "one"): LATER,
        ("spike", "other"): of_other,
        ("silence", "other"): None,
    }


def test_a_mute_ends_by_itself(fleet: Fleet, clock: Clock, finding_id: UUID) -> None:
    until = "2026-04-15T12:05:00.000000Z"
    post(fleet, finding_id, "mute", until=until)
    clock.now = NOON + timedelta(minutes=5) - timedelta(microseconds=1)
    assert fleet.listed()["data"][0]["mutedUntil"] == until
    clock.now = NOON + timedelta(minutes=5)
    assert fleet.listed()["data"][0]["mutedUntil"] is None


def test_unmutes_the_agent_and_the_organization(fleet: Fleet, finding_id: UUID) -> None:
    post(fleet, finding_id, "mute", until=LATER)
    post(fleet, finding_id, "mute", until=LATER, wholeOrganization=True)
    assert post(fleet, finding_id, "unmute", note="again")["mutedUntil"] is None
    assert sorted(change["change"] for change in history(fleet, finding_id)) == ["muted", "muted", "opened", "unmuted"]


def test_refuses_to_mute_until_then(fleet: Fleet, finding_id: UUID) -> None:
    for until in (NOON, NOON + MAX_MUTE + timedelta(seconds=1)):
        refused = fleet.api.post(f"{FINDINGS}/{finding_id}/mute", {"until": until.isoformat()})
        assert refused.status_code == 400
        assert refused.json["details"] == {"until": ["must be in the future, by at most 366 days"]}
    assert history(fleet, finding_id)[1:] == []
    post(fleet, finding_id, "mute", until=(NOON + MAX_MUTE).isoformat())


def test_what_a_command_does_is_the_operators(fleet: Fleet, finding_id: UUID) -> None:
    with fleet.database.transaction(find_operator()) as opened:
        assert apply_action(opened, finding_id, FindingChange.acknowledged).acknowledged_by == "operator"
        apply_action(opened, finding_id, FindingChange.muted, until=NOON + timedelta(hours=1))
        assert apply_action(opened, finding_id, FindingChange.unmuted).muted_until is None
    assert {change["by"] for change in history(fleet, finding_id)} == {None, "operator"}
