"""``agentidp marker``."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.cli.command import Command


@pytest.fixture
def organization_id(run: Command) -> str:
    """Of a new organization."""
    return run("organization", "create", "Acme")


def test_marks_lists_and_deletes(run: Command, organization_id: str) -> None:
    of = ("--organization", organization_id)
    agent = run("agent", "create", "builder", *of)
    times = ("--from", "2026-04-15T12:00:00+02:00", "--to", "2026-04-15T11:00:00Z")
    deployed = run("marker", "create", "deployment", *of, *times, "--agent", agent, "--note", "release 7")
    holiday = run("marker", "create", "holiday", *of, "--from", "2026-12-25")
    first, second = json.loads(run("marker", "list", *of, "--json"))
    assert (first["markerId"], first["kind"], first["endsAt"][:10]) == (holiday, "holiday", "2026-12-26")
    assert second["markerId"] == deployed
    assert (second["startsAt"], second["endsAt"]) == ("2026-04-15T10:00:00.000000Z", "2026-04-15T11:00:00.000000Z")
    assert (second["agentId"], second["note"]) == (agent, "release 7")
    run("marker", "delete", holiday, *of)
    assert [one["markerId"] for one in json.loads(run("marker", "list", *of, "--json"))] == [deployed]


def test_a_deployment_is_now_unless_it_says_when(run: Command, organization_id: str) -> None:
    made = json.loads(run("marker", "create", "deployment", "--organization", organization_id, "--json"))
    assert made["startsAt"] == made["endsAt"] == made["createdAt"]


def test_says_what_is_wrong(run: Command, organization_id: str) -> None:
    of = ("--organization", organization_id)
    nobody = str(uuid.uuid4())
    assert f"the organization has no marker {nobody}" in run.refused("marker", "delete", nobody, *of)
    result = run.invoke("marker", "create", "holiday", *of, "--from", "Christmas")
    assert (result.exit_code, "must be a day" in result.stderr) == (2, True)
    assert "must be an agent of the organization" in run.refused(
        "marker", "create", "deployment", *of, "--agent", nobody
    )
