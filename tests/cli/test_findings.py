"""``agentidp findings``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agentidp.clock import utc_now
from agentidp.services import Services
from tests.cli.command import Command
from tests.conftest import settings_for
from tests.factories import a_finding, make_finding


@pytest.fixture
def services(run: Command) -> Iterator[Services]:
    """Those of the commands' database."""
    services = Services.of(settings_for(run.database_url), utc_now)
    yield services
    services.close()


@pytest.fixture
def organization_id(run: Command) -> str:
    """Of a new organization."""
    return run("organization", "create", "Acme")


@pytest.fixture
def finding_id(services: Services, organization_id: str) -> str:
    """Of a spike that is going on."""
    return str(make_finding(services, organization_id))


def listed(run: Command, organization_id: str, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        run("findings", "list", "--organization", organization_id, "--json", *options)
    )
    return found


def test_list(run: Command, organization_id: str, finding_id: str) -> None:
    cells = run("findings", "list", "--organization", organization_id).split("\t")
    assert [*cells[:5], *cells[6:]] == [
        finding_id,
        "ongoing",
        "warning",
        "spike",
        "-",
        a_finding(datetime.now(UTC)).summary,
        "-",
        "-",
    ]
    assert [one["findingId"] for one in listed(run, organization_id)] == [finding_id]
    for options in (("--state", "ended"), ("--kind", "silence"), ("--agent", str(uuid.uuid4()))):
        assert listed(run, organization_id, *options) == []


def test_list_evaluates_if_nothing_has(run: Command, organization_id: str) -> None:
    assert run("findings", "list", "--organization", organization_id) == ""


def test_acknowledge_mute_and_unmute(run: Command, organization_id: str, finding_id: str) -> None:
    named = (finding_id, "--organization", organization_id)
    acknowledged = json.loads(run("findings", "acknowledge", *named, "--note", "mine", "--json"))
    assert (acknowledged["acknowledgedBy"], acknowledged["note"]) == ("operator", "mine")
    muted = json.loads(run("findings", "mute", *named, "--days", "3", "--json"))
    assert muted["mutedUntil"] > muted["acknowledgedAt"]
    until = f"{utc_now() + timedelta(days=2):%Y-%m-%d}"
    assert run("findings", "mute", *named, "--until", until).endswith(f"\t{until}T00:00:00.000000Z")
    assert run("findings", "unmute", *named).endswith("\t-")
    shown = json.loads(run("findings", "show", *named))
    assert [change["change"] for change in shown["history"]] == ["opened", "acknowledged", "muted", "muted", "unmuted"]


def test_what_is_refused(run: Command, organization_id: str, finding_id: str) -> None:
    unknown = str(uuid.uuid4())
    for action in (("show",), ("acknowledge",), ("mute", "--days", "1"), ("unmute",)):
        refused = run.refused("findings", *action, unknown, "--organization", organization_id)
        assert refused == f"the organization has no finding {unknown}"
    named = (finding_id, "--organization", organization_id)
    assert run.refused("findings", "acknowledge", *named, "--note", "a\x00") == (
        "note must not hold control characters or lone surrogates"
    )
    past = run.refused("findings", "mute", *named, "--until", "2020-01-01")
    assert past == "until must be in the future, by at most 366 days"
    assert run.invoke("findings", "mute", *named).exit_code == 2
    other = run("organization", "create", "Other")
    refused = run.refused("findings", "acknowledge", finding_id, "--organization", other)
    assert refused == f"the organization has no finding {finding_id}"
