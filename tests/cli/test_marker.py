"""``agentidp marker``."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest

from agentidp.clock import utc_now
from tests.cli.command import Command


@pytest.fixture
def organization_id(run: Command) -> str:
    """Of a new organization."""
    return run("organization", "create", "Acme")


def test_marks_lists_and_deletes(run: Command, organization_id: str) -> None:
    of = ("--organization", organization_id)
    agent = run("agent", "create", "builder", *of)
    today = utc_now().date()
    yesterday, in_two_days = today - timedelta(days=1), today + timedelta(days=2)
    times = ("--from", f"{yesterday}T12:00:00+02:00", "--to", f"{yesterday}T11:00:00Z")
    deployed = run("marker", "create", "deployment", *of, *times, "--agent", agent, "--note", "release 7")
    holiday = run("marker", "create", "holiday", *of, "--from", f"{in_two_days}")
    first, second = json.loads(run("marker", "list", *of, "--json"))
    assert (first["markerId"], first["kind"]) == (holiday, "holiday")
    assert (first["startsAt"], first["endsAt"]) == tuple(
        f"{in_two_days + timedelta(days=days)}T00:00:00.000000Z" for days in (0, 1)
    )
    assert second["markerId"] == deployed
    assert (second["startsAt"], second["endsAt"]) == tuple(f"{yesterday}T{hour}:00:00.000000Z" for hour in (10, 11))
    assert (second["agentId"], second["note"]) == (agent, "release 7")
    run("marker", "delete", "--yes", holiday, *of)
    assert [one["markerId"] for one in json.loads(run("marker", "list", *of, "--json"))] == [deployed]


def test_a_deployment_is_now_unless_it_says_when(run: Command, organization_id: str) -> None:
    made = json.loads(run("marker", "create", "deployment", "--organization", organization_id, "--json"))
    assert made["startsAt"] == made["endsAt"] == made["createdAt"]


def test_says_what_is_wrong(run: Command, organization_id: str) -> None:
    of = ("--organization", organization_id)
    nobody = str(uuid.uuid4())
    assert f"the organization has no marker {nobody}" in run.refused("marker", "delete", "--yes", nobody, *of)
    result = run.invoke("marker", "create", "holiday", *of, "--from", "Christmas")
    assert (result.exit_code, "must be a day" in result.stderr) == (2, True)
    assert "must be an agent of the organization" in run.refused(
        "marker", "create", "deployment", *of, "--agent", nobody
    )
