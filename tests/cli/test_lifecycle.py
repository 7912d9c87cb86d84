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
from agentidp.maintenance.postgres_programs import for_restore
from agentidp.registry.agents import TEXTS
from agentidp.services import Services
from tests import catalog
from tests.citus import nodes_of
from tests.cli.command import Command
from tests.conftest import Cast, settings_for
from tests.factories import NOON, Agent, a_finding, count_usage, make_finding, usage_sums
from tests.maintenance.conftest import rows_of

SECRETS = ("Wintermute", "Neuromancer", "the sprawl", "tessier")
"""Names that the erased organization or agent has, in every field that takes text."""


def token(client: FlaskClient, agent: Agent) -> Any:
    """Ask for a token."""
    form = {"grant_type": "client_credentials", "client_id": agent.client_id, "client_secret": agent.client_secret}
    return client.post("/api/v1/token", data=form)


def trend(client: FlaskClient, agent: Agent) -> int:
    """The status of a read with a token that is valid by itself."""
    return client.get("/api/v1/analytics/tokens", headers=agent.bearer()).status_code


def statuses(run: Command) -> dict[str, str]:
    """The name and the status of each organization."""
    return {one["name"]: one["status"] for one in json.loads(run("organization", "list", "--json"))}


def dump_of(run: Command, directory: Path) -> str:
    """A backup of the whole database, as text: a line for each row of each table. On Citus there is none: the rows."""
    if nodes_of(run.database_url):
        return "\n".join(row for rows in rows_of(run.database_url).values() for row in rows)
    file = directory / "agentidp.dump"
    run("backup", str(file))
    program = for_restore(None, settings_for(run.database_url)).directory / "pg_restore"
    return subprocess.run([program, "--file=-", file], check=True, capture_output=True, text=True).stdout


def events(run: Command, organization_id: str) -> list[tuple[str, Any, Any]]:
    """The trail of an organization: action, before and after."""
    with psycopg.connect(run.database_url) as connection:
        return connection.execute(
            "select action, before, after from audit_events where organization_id = %s order by sequence",
            [organization_id],
        ).fetchall()


def test_rename_over_http_and_by_command(run: Command, client: FlaskClient, cast: Cast) -> None:
    organization_id = cast.acme.organization_id
    changed = client.patch("/api/v1/organization", json={"name": "Acme II"}, headers=cast.acme.bearer()).json
    assert (changed["name"], changed["status"], changed["monthlyTokenBudget"]) == ("Acme II", "active", None)
    run("organization", "rename", organization_id, "Acme III")
    assert {*statuses(run)} == {"Acme III", "Outsider"}
    assert [event[1:] for event in events(run, organization_id) if event[0] == "organization.changed"] == [
        ({"name": "Acme"}, {"name": "Acme II"}),
        ({"name": "Acme II"}, {"name": "Acme III"}),
    ]
    assert run.refused("organization", "rename", organization_id, "") == "name must have 1 to 100 characters"
    body = client.patch("/api/v1/organization", json={}, headers=cast.acme.bearer()).json
    assert body["details"] == {"body": ["must name something to change"]}


def test_nobody_acts_for_a_suspended_organization(run: Command, client: FlaskClient, cast: Cast) -> None:
    acme, outsider = cast.acme, cast.outsider
    before = token(client, acme).json["access_token"]
    run("organization", "suspend", "--yes", acme.organization_id)
    assert statuses(run) == {"Acme": "suspended", "Outsider": "active"}
    refused = token(client, acme)
    assert (refused.status_code, refused.json["error"]) == (401, "invalid_client")
    assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {before}"}).status_code == 401
    assert client.get(acme.link()).status_code == 401
    assert (token(client, outsider).status_code, trend(client, outsider)) == (200, 200)
    introspected = client.post(
        "/api/v1/token/introspect",
        data={"token": before, "client_id": outsider.client_id, "client_secret": outsider.client_secret},
    )
    assert introspected.json == {"active": False}
    for command in ("token", "dashboard"):
        assert run.refused(command, "--agent", acme.client_id) == (
            f"the organization Acme is suspended: agentidp organization resume {acme.organization_id} ends that"
        )
    run("organization", "resume", acme.organization_id)
    assert token(client, acme).status_code == 200
    assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {before}"}).status_code == 200
    changes = [event[1:] for event in events(run, acme.organization_id) if event[0] == "organization.changed"]
    assert changes == [
        ({"status": "active"}, {"status": "suspended"}),
        ({"status": "suspended"}, {"status": "active"}),
    ]


def fill(client: FlaskClient, services: Services, agent: Agent, names: Sequence[str] = SECRETS) -> None:
    """Write one of *names* into every field that takes text, and count usage on two days."""
    headers, made_by_test = agent.bearer(), names[3]
    named = a_finding(services.clock(), agent_id=agent.agent_id, summary=f"{names[1]} was issued 900 tokens.")
    finding = f"/api/v1/analytics/findings/{make_finding(services, agent.organization_id, named)}"
    until = (services.clock() + timedelta(days=1)).isoformat()
    sent = (
        client.patch("/api/v1/organization", json={"name": names[0]}, headers=headers),
        client.post(
            "/api/v1/agents", json={"name": names[1], "description": names[2], "owner": names[3]}, headers=headers
        ),
        client.patch(f"/api/v1/agents/{agent.agent_id}", json={"name": names[2]}, headers=headers),
        client.post(
            "/api/v1/resource-servers",
            json={"name": made_by_test, "resource": f"https://{agent.agent_id}.example", "scopes": ["a:b"]},
            headers=headers,
        ),
        client.post(f"/api/v1/agents/{agent.client_id}/credentials", json={"label": made_by_test}, headers=headers),
        client.post(
            "/api/v1/markers",
            json={"kind": "deployment", "startsAt": services.clock().isoformat(), "note": made_by_test},
            headers=headers,
        ),
        client.post(
            "/api/v1/alert-targets",
            json={"name": made_by_test, "type": "webhook", "url": f"https://{made_by_test}.example/hook"},
            headers=headers,
        ),
        # The agent that acknowledges has one of the names as well.
        client.post(f"{finding}/acknowledge", json={"note": made_by_test}, headers=headers),
        client.post(f"{finding}/mute", json={"note": names[0], "until": until}, headers=headers),
        token(client, agent),
    )
    assert {response.status_code for response in sent} <= {200, 201}, [response.json for response in sent]
    count_usage(services, agent.organization_id, agent.agent_id, NOON.replace(month=1), tokens=2, requests=1)


def test_delete_leaves_no_name_and_touches_nobody_else(
    run: Command, client: FlaskClient, services: Services, cast: Cast, tmp_path: Path
) -> None:
    acme, outsider = cast.acme, cast.outsider
    fill(client, services, acme)
    fill(client, services, outsider, [f"other{number}" for number in range(4)])
    client.patch("/api/v1/organization", json={"name": "Outsider"}, headers=outsider.bearer())
    before = dump_of(run, tmp_path)
    assert all(name in before for name in SECRETS)
    others = usage_sums(run.database_url, outsider.organization_id)
    run("organization", "delete", "--yes", acme.organization_id)
    dump = dump_of(run, tmp_path)
    tables_kept = {"resource_identifiers", "audit_events", "audit_heads"}
    with psycopg.connect(run.database_url) as connection:
        for table in catalog.tables_of_organizations(connection) - tables_kept:
            count = f"select count(*) from {table} where organization_id = %s"
            left = connection.execute(count, [acme.organization_id]).fetchone()
            assert left == (0,), f"delete from {table} in sql/organizations/erase_organization.sql"
        # Not every table has rows here.
        statement = load_sql("organizations/erase_organization")
        missing = {
            table
            for table in catalog.tables_of_organizations(connection) - tables_kept
            if not re.search(rf"delete from {table}\b", statement)
        }
        assert not missing, f"delete from {missing} in sql/organizations/erase_organization.sql"
    assert acme.organization_id in dump
    assert "other3" in dump
    # The host name of the alert target is in lower case.
    assert not [name for name in SECRETS if name.lower() in dump.lower()]
    assert events(run, acme.organization_id)[-1] == ("organization.deleted", None, None)
    assert all(event[1:] == (None, None) for event in events(run, acme.organization_id))
    assert run("audit", "verify", "--organization", acme.organization_id)
    assert (token(client, acme).status_code, trend(client, acme)) == (401, 401)
    # Nobody else gets tokens for its resource server.
    taken = {"name": "x", "resource": f"https://{acme.agent_id}.example", "scopes": ["a:b"]}
    assert client.post("/api/v1/resource-servers", json=taken, headers=outsider.bearer()).status_code == 409
    # The request above is counted.
    after = usage_sums(run.database_url, outsider.organization_id)
    assert after == {name: count + ("requests" in name) for name, count in others.items()}
    assert (token(client, outsider).status_code, trend(client, outsider)) == (200, 200)
    assert run.refused("organization", "delete", "--yes", acme.organization_id) == (
        f"there is no organization {acme.organization_id!r}"
    )


def test_an_interrupted_deletion_goes_on(
    run: Command, client: FlaskClient, services: Services, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client, services, cast.acme)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("agentidp.erasure.delete_days", interrupted)
        assert run.invoke("organization", "delete", "--yes", cast.acme.organization_id).exit_code != 0
    # Its tokens have stopped working, and everything is still there.
    assert (
        token(client, cast.acme).status_code,
        usage_sums(run.database_url, cast.acme.organization_id)["tokens"],
    ) == (401, 3)
    run("organization", "delete", "--yes", cast.acme.organization_id)
    assert [*statuses(run)] == ["Outsider"]


def test_a_deleted_agents_names_are_erased_and_its_usage_stays(
    run: Command, client: FlaskClient, services: Services, cast: Cast, tmp_path: Path
) -> None:
    organization_id = cast.acme.organization_id
    made = client.post(
        "/api/v1/agents",
        json={"name": SECRETS[0], "description": SECRETS[1], **dict.fromkeys(TEXTS, SECRETS[3])},
        headers=cast.acme.bearer(),
    ).json
    agent_id = made["agentId"]
    url = f"/api/v1/agents/{agent_id}/credentials"
    assert client.post(url, json={"label": SECRETS[2]}, headers=cast.acme.bearer()).status_code == 201
    count_usage(services, organization_id, UUID(agent_id), NOON, tokens=3)
    marker = {"kind": "deployment", "startsAt": NOON.isoformat(), "agentId": agent_id, "note": SECRETS[0]}
    assert client.post("/api/v1/markers", json=marker, headers=cast.acme.bearer()).status_code == 201
    deleted = client.post("/api/v1/markers", json=marker, headers=cast.acme.bearer()).json["markerId"]
    assert client.delete(f"/api/v1/markers/{deleted}", headers=cast.acme.bearer()).status_code == 204
    named = a_finding(NOON, kind="silence", agent_id=UUID(agent_id))
    finding = f"/api/v1/analytics/findings/{make_finding(services, organization_id, named)}"
    muted = {"note": SECRETS[0], "until": (NOON + timedelta(days=1)).isoformat()}
    for action, body in (("mute", muted), ("unmute", {"note": SECRETS[1]}), ("acknowledge", {"note": SECRETS[2]})):
        assert client.post(f"{finding}/{action}", json=body, headers=cast.acme.bearer()).status_code == 200
    with psycopg.connect(run.database_url) as connection:
        # What was noted about a finding that has been deleted since is in the trail alone.
        for table in ("finding_changes", "findings", "finding_evaluations"):
            connection.execute(f"delete from {table} where organization_id = %s", [organization_id])
    finding = f"/api/v1/analytics/findings/{make_finding(services, organization_id, named)}"
    # The trail says of this one that it is about the organization.
    for action, body in (("mute", muted | {"wholeOrganization": True}), ("unmute", {})):
        assert client.post(f"{finding}/{action}", json=body, headers=cast.acme.bearer()).status_code == 200
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
    assert (
        run.refused("agent", "erase", "--yes", agent_id) == "delete the agent first: only a deleted agent can be erased"
    )
    run("agent", "delete", "--yes", agent_id)
    run("agent", "erase", "--yes", agent_id)
    left = dump_of(run, tmp_path)
    assert not [name for name in SECRETS if name in left]
    assert "anna" not in left
    assert left.count("about nobody") == 1
    usage = client.get("/api/v1/analytics/agents", headers=cast.acme.bearer()).json["data"]
    assert usage == [{"agentId": agent_id, "tokenCount": 3}]
    assert run("audit", "verify", "--organization", organization_id)
    assert events(run, organization_id)[-1] == ("agent.erased", None, None)


def test_quotas_that_are_used_stand_in_nobodys_way(run: Command, client: FlaskClient, cast: Cast) -> None:
    """What a deleted agent was issued stays in the organization's quota, and goes with the organization."""
    acme, headers = cast.acme, cast.acme.bearer()
    made = client.post("/api/v1/agents", json={"name": "other"}, headers=headers).json
    agent = f"/api/v1/agents/{made['agentId']}"
    credential = client.post(f"{agent}/credentials", json={}, headers=headers).json
    for path, tokens in ((f"{agent}/quotas/day", 1), ("/api/v1/quotas/month", 2)):
        assert client.put(path, json={"tokens": tokens, "enforce": True}, headers=headers).status_code == 200
    form = {
        "grant_type": "client_credentials",
        "client_id": made["agentId"],
        "client_secret": credential["clientSecret"],
    }
    assert [client.post("/api/v1/token", data=form).status_code for _ in range(2)] == [200, 429]
    run("agent", "delete", "--yes", made["agentId"])
    run("agent", "erase", "--yes", made["agentId"])
    [listed] = json.loads(run("quota", "list", "--organization", acme.organization_id, "--json"))
    assert (listed["agentId"], listed["window"]) == (None, "month")
    [quota] = client.get("/api/v1/quotas", headers=headers).json["data"]
    assert (quota["used"], quota["left"]) == (1, 1)
    assert [token(client, acme).status_code for _ in range(2)] == [200, 429]
    run("organization", "delete", "--yes", acme.organization_id)
    with psycopg.connect(run.database_url) as connection:
        for table in ("quotas", "quota_refusals_daily"):
            assert connection.execute(f"select count(*) from {table}").fetchone() == (0,)
    assert token(client, acme).status_code == 401
    assert token(client, cast.outsider).status_code == 200
