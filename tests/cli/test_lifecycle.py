"""``agentidp organization rename|suspend|resume|delete`` and ``agentidp agent erase``, beside the service."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.db.sql import load_sql
from agentidp.http.schemas import Text
from agentidp.maintenance.postgres_programs import find_restore_programs
from agentidp.registry.agents import AgentFields
from agentidp.services import Services
from tests import catalog
from tests.audit.conftest import events_of
from tests.citus import nodes_of
from tests.cli.command import Command
from tests.conftest import Cast, settings_for
from tests.factories import NOON, Api, a_finding, count_usage, make_finding, usage_sums
from tests.maintenance.conftest import rows_of

SECRETS = ("Wintermute", "Neuromancer", "the sprawl", "tessier")
"""The names that every text field of the erased organization or agent contains."""


def dump_of(run: Command, directory: Path) -> str:
    """Return a backup of the whole database as text, one line per row. On Citus, return the rows without a backup."""
    if nodes_of(run.database_url):
        return "\n".join(row for rows in rows_of(run.database_url).values() for row in rows)
    file = directory / "agentidp.dump"
    run("backup", str(file))
    program = find_restore_programs(None, settings_for(run.database_url)).directory / "pg_restore"
    return subprocess.run([program, "--file=-", file], check=True, capture_output=True, text=True).stdout


def places_of(url: str, texts: Sequence[str]) -> set[str]:
    """Return the columns that contain one of the texts in upper or lower case, as ``table.column``.

    The host name of an alert target is in lower case.
    """
    with psycopg.connect(url) as connection:
        return {
            f"{table}.{column}"
            for table in catalog.tables(connection)
            for (row,) in connection.execute(f"select to_jsonb(t) from {table} as t").fetchall()
            for column, value in row.items()
            if any(text.lower() in json.dumps(value, ensure_ascii=False).lower() for text in texts)
        }


def test_nobody_acts_for_a_suspended_organization(run: Command, client: FlaskClient, cast: Cast) -> None:
    acme, outsider, organization_id = Api(client, cast.acme), Api(client, cast.outsider), cast.acme.organization_id
    issued = acme.token().json["access_token"]
    bearer = {"Authorization": f"Bearer {issued}"}
    run("organization", "rename", organization_id, "Acme II")
    consequences = (
        "This suspends Acme II with 1 agent and 0 tokens in the last 30 days. The organization's agents get no "
    )
    assert run.asked("organization", "suspend", "Acme II").startswith(consequences)
    assert run("organization", "suspend", "Acme II", "--dry-run").startswith(consequences)
    run("organization", "suspend", "--yes", "Acme II")
    listed = {organization["name"]: organization["status"] for organization in run.json("organization", "list")}
    assert listed == {"Acme II": "suspended", "Outsider": "active"}
    refused = acme.token()
    assert (refused.status_code, refused.json["error"]) == (401, "invalid_client")
    assert client.get("/api/v1/agents", headers=bearer).status_code == 401
    assert client.get(cast.acme.link()).status_code == 401
    assert (outsider.token().status_code, outsider.get("agents").status_code) == (200, 200)
    introspected = client.post("/api/v1/token/introspect", data=cast.outsider.form | {"token": issued})
    assert introspected.json == {"active": False}
    for command in ("token", "dashboard"):
        assert run.refused(command, "--agent", cast.acme.client_id) == (
            f"the organization Acme II is suspended: agentidp organization resume {organization_id} ends that"
        )
    run("organization", "resume", organization_id)
    assert acme.token().status_code == 200
    assert client.get("/api/v1/agents", headers=bearer).status_code == 200
    events = events_of(run.database_url, organization_id)
    assert [(event["before"], event["after"]) for event in events if event["action"] == "organization.changed"] == [
        ({"name": "Acme"}, {"name": "Acme II"}),
        ({"status": "active"}, {"status": "suspended"}),
        ({"status": "suspended"}, {"status": "active"}),
    ]


def sent(api: Api, method: str, path: str, **body: Any) -> Any:
    """Return the API's response to a request of an agent."""
    response = api.send(method, path, body)
    assert response.status_code < 300, response.text
    return response.json


def fill(api: Api, names: Sequence[str] = SECRETS) -> None:
    """Write one of *names* into every field that takes text, and count usage on two days."""
    agent, services, name = api.agent, api.agent.services, names[3]
    named = a_finding(services.clock(), agent_id=agent.agent_id, summary=f"{names[1]} was issued 900 tokens.")
    finding = f"analytics/findings/{make_finding(services, agent.organization_id, named)}"
    now, until = services.clock().isoformat(), (services.clock() + timedelta(days=1)).isoformat()
    hook, resource = f"https://{name}.example/hook", f"https://{agent.agent_id}.example"
    for method, path, body in (
        ("PATCH", "organization", {"name": names[0]}),
        ("POST", "agents", {"name": names[1], "description": names[2], "owner": name}),
        ("PATCH", f"agents/{agent.agent_id}", {"name": names[2]}),
        ("POST", "resource-servers", {"name": name, "resource": resource, "scopes": ["a:b"]}),
        ("POST", f"agents/{agent.client_id}/credentials", {"label": name}),
        ("POST", "markers", {"kind": "deployment", "startsAt": now, "note": name}),
        ("POST", "alert-targets", {"name": name, "type": "webhook", "url": hook}),
        # The agent that acknowledges the finding also has one of the names.
        ("POST", f"{finding}/acknowledge", {"note": name}),
        ("POST", f"{finding}/mute", {"note": names[0], "until": until}),
    ):
        sent(api, method, path, **body)
    assert api.token().status_code == 200
    count_usage(services, agent.organization_id, agent.agent_id, NOON.replace(month=1), tokens=2, requests=1)


def test_delete_leaves_no_name_and_touches_nobody_else(
    run: Command, client: FlaskClient, cast: Cast, tmp_path: Path
) -> None:
    acme, outsider, organization_id = Api(client, cast.acme), Api(client, cast.outsider), cast.acme.organization_id
    fill(acme)
    fill(outsider, [f"other{number}" for number in range(4)])
    outsider.patch("organization", {"name": "Outsider"})
    before = dump_of(run, tmp_path)
    assert all(name in before for name in SECRETS)
    outsider_sums = usage_sums(run.database_url, cast.outsider.organization_id)
    run("organization", "delete", "--yes", organization_id)
    dump = dump_of(run, tmp_path)
    tables_kept = {"resource_identifiers", "audit_events", "audit_heads"}
    statement = load_sql("organizations/erase_organization")
    with psycopg.connect(run.database_url) as connection:
        for table in catalog.tables_of_organizations(connection) - tables_kept:
            count = f"select count(*) from {table} where organization_id = %s"
            left = connection.execute(count, [organization_id]).fetchone()
            # Some tables have no rows in this test.
            is_there = re.search(rf"delete from {table}\b", statement)
            assert left == (0,) and is_there, f"delete from {table} in sql/organizations/erase_organization.sql"
    assert organization_id in dump
    assert "other3" in dump
    recipe = "erase these columns in sql/organizations/erase_organization.sql (docs/contributing/table.md)"
    assert not places_of(run.database_url, SECRETS), recipe
    events = events_of(run.database_url, organization_id)
    assert events[-1]["action"] == "organization.deleted"
    assert {event[member] for event in events for member in ("before", "after")} == {None}
    assert run("audit", "verify", "--organization", organization_id)
    assert (acme.token().status_code, acme.get("analytics/tokens").status_code) == (401, 401)
    # No other organization gets tokens for the resource server.
    taken = {"name": "x", "resource": f"https://{cast.acme.agent_id}.example", "scopes": ["a:b"]}
    assert outsider.post("resource-servers", taken).status_code == 409
    # The request above is counted.
    after = usage_sums(run.database_url, cast.outsider.organization_id)
    assert after == {name: count + ("requests" in name) for name, count in outsider_sums.items()}
    assert (outsider.token().status_code, outsider.get("analytics/tokens").status_code) == (200, 200)
    assert run.refused("organization", "delete", "--yes", organization_id) == (
        f"there is no organization {organization_id!r}"
    )


def test_an_interrupted_deletion_goes_on(
    run: Command, client: FlaskClient, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, delete = Api(client, cast.acme), ("organization", "delete", "--yes", cast.acme.organization_id)
    fill(acme)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("agentidp.maintenance.erasure.delete_days", interrupted)
        assert run.invoke(*delete).exit_code != 0
    # The agent's tokens are refused, and no data is deleted.
    assert acme.token().status_code == 401
    assert usage_sums(run.database_url, cast.acme.organization_id)["tokens"] == 3
    run(*delete)
    assert [organization["name"] for organization in run.json("organization", "list")] == ["Outsider"]


def test_a_deleted_agents_names_are_erased_and_its_usage_stays(
    run: Command, client: FlaskClient, services: Services, cast: Cast, tmp_path: Path
) -> None:
    acme, organization_id = Api(client, cast.acme), cast.acme.organization_id
    texts = {name: SECRETS[3] for name, field in AgentFields().fields.items() if isinstance(field, Text)}
    texts |= {"name": SECRETS[0], "description": SECRETS[1]}
    agent_id = sent(acme, "POST", "agents", **texts)["agentId"]
    sent(acme, "POST", f"agents/{agent_id}/credentials", label=SECRETS[2])
    count_usage(services, organization_id, UUID(agent_id), NOON, tokens=3)
    marker = {"kind": "deployment", "startsAt": NOON.isoformat(), "agentId": agent_id, "note": SECRETS[0]}
    sent(acme, "POST", "markers", **marker)
    sent(acme, "DELETE", f"markers/{sent(acme, 'POST', 'markers', **marker)['markerId']}")
    named = a_finding(NOON, kind="silence", agent_id=UUID(agent_id))
    finding = f"analytics/findings/{make_finding(services, organization_id, named)}"
    muted = {"note": SECRETS[0], "until": (NOON + timedelta(days=1)).isoformat()}
    for action, body in (("mute", muted), ("unmute", {"note": SECRETS[1]}), ("acknowledge", {"note": SECRETS[2]})):
        sent(acme, "POST", f"{finding}/{action}", **body)
    with psycopg.connect(run.database_url) as connection:
        # Only the audit trail still has the note about a finding that was deleted later.
        for table in ("finding_changes", "findings", "finding_evaluations"):
            connection.execute(f"delete from {table} where organization_id = %s", [organization_id])
    finding = f"analytics/findings/{make_finding(services, organization_id, named)}"
    # The subject of this event is the organization.
    for action, body in (("mute", muted | {"wholeOrganization": True}), ("unmute", {})):
        sent(acme, "POST", f"{finding}/{action}", **body)
    with psycopg.connect(run.database_url) as connection:
        for subject, summary, by in ((agent_id, SECRETS[0], "anna"), ("organization", "about nobody", SECRETS[0])):
            finding_id = uuid4()
            connection.execute(
                "insert into findings (organization_id, finding_id, kind, subject, severity, highest_severity, "
                "begins_at, ends_at, first_seen_at, last_seen_at, ended_at, misses, acknowledged_at, acknowledged_by, "
                "report) "
                "values (%s, %s, 'spike', %s, 'info', 'info', %s, %s, %s, %s, %s, 0, %s, %s, %s)",
                [organization_id, finding_id, subject, *[NOON] * 6, by, json.dumps({"summary": summary})],
            )
            connection.execute(
                "insert into finding_changes values (%s, %s, %s, %s, 'acknowledged', 'info', %s)",
                [organization_id, finding_id, uuid4(), NOON, by],
            )
            connection.execute(
                "insert into finding_mutes values (%s, 'spike', %s, %s, %s, %s)",
                [organization_id, subject, NOON, NOON, by],
            )
    run("agent", "delete", "--yes", agent_id)
    run("agent", "erase", "--yes", agent_id)
    left = dump_of(run, tmp_path)
    recipe = "erase these columns in sql/agents/erase_agent.sql or its neighbours (docs/contributing/table.md)"
    assert not places_of(run.database_url, SECRETS), recipe
    assert "anna" not in left
    assert left.count("about nobody") == 1
    assert sent(acme, "GET", "analytics/agents")["data"] == [{"agentId": agent_id, "tokenCount": 3}]
    assert run("audit", "verify", "--organization", organization_id)
    last = events_of(run.database_url, organization_id)[-1]
    assert (last["action"], last["before"], last["after"]) == ("agent.erased", None, None)
