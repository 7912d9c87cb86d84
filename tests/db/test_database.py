"""Row-level security, and the service's transactions: each belongs to one organization and takes effect or not."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.types.json import Jsonb

from agentidp.counting import build_admission_call
from agentidp.db.citus import enter_organization, is_on_citus, may_have_committed
from agentidp.db.database import SERVICE_ROLE, connect
from agentidp.db.errors import DatabaseUnavailable, OutcomeUnknown
from agentidp.db.sql import Call, load_sql
from agentidp.http.schemas import merge_changed_columns
from agentidp.registry.agents import AgentChangeSchema
from agentidp.registry.credentials import MAX_CREDENTIALS
from agentidp.services import Services
from tests.catalog import tables_of_organizations, written_by_the_service
from tests.citus import PARTLY_REFUSED, REFUSED_BY_CITUS, WITHOUT_CITUS
from tests.conftest import ON_CITUS, ON_CITUS_TOO, Cast
from tests.factories import (
    NOON,
    PATIENCE,
    ROOT,
    count_usage,
    database_of,
    make_agent,
    make_organization,
    usage_sums,
)
from tests.helpers.functions import OF_AN_ORGANIZATION
from tests.helpers.rows import everything_of
from tests.machine import within
from tests.statements import NAMES, run_by, values_of
from tests.wire import overheard

CONDITION = re.compile(r"(\w+\.)?organization_id = %\(organization_id\)s(::text)?")
FILTERED = [
    name
    for name in run_by("service")
    # The statements of findings need suitable usage. See tests/findings/test_story.py.
    if CONDITION.search(load_sql(name)) and not name.startswith("findings/")
]


OTHER_SPELLING = re.compile(
    r"%\(organization_id\)s(::text)?( collate \S+)?\s*(=|<|in\b)"
    # A named argument ("=>") is not a condition.
    r"|((?<!=)[=>](?!>)|\bin \(|any \()\s*%\(organization_id\)s"
)

CONDITION_IN_FUNCTION = re.compile(r"(\w+\.)?organization_id = p_organization_id")
CALLERS = [name for name in NAMES if any(f"{file.stem}(" in load_sql(name) for file in OF_AN_ORGANIZATION)]
"""Statements that call our functions."""

READ_ONLY = ("oauth/chain_refusal", "oauth/delegated_scopes")
"""Callers of functions that change nothing."""

WITHOUT_ROWS = ("enter_organization", "lock_quotas", "take_slot")
"""Functions that read no table."""


@pytest.fixture(scope="module")
def cast(shared_app: Flask, shared_cast: Cast, connection: psycopg.Connection[Any]) -> Cast:
    """Return both organizations, with rows in every table."""
    services: Services = shared_app.extensions["agentidp"]
    for agent, how_many in ((shared_cast.acme, 3), (shared_cast.outsider, 5)):
        count_usage(services, agent.organization_id, agent.agent_id, NOON, tokens=how_many, requests=1)
        for statement in SOMETHING:
            connection.execute(statement, {"organization_id": agent.organization_id, "agent_id": agent.agent_id})
    return shared_cast


SOMETHING = (
    "insert into resource_servers (organization_id, resource_server_id, resource, name, scopes, created_at, agent_id) "
    "select %(organization_id)s, %(agent_id)s, 'https://api.example', 'api', '{a,b}', now(), %(agent_id)s",
    "insert into resource_identifiers (resource, organization_id, claimed_at) "
    "select 'https://' || %(organization_id)s || '.example', %(organization_id)s, now()",
    "insert into credentials (organization_id, agent_id, credential_id, jwks, created_at) "
    'select %(organization_id)s, %(agent_id)s, gen_random_uuid(), \'[{"alg": "ES256"}]\', now()',
    "insert into credentials (organization_id, agent_id, credential_id, trust_selector, trust, created_at) "
    "select %(organization_id)s, %(agent_id)s, gen_random_uuid(), '00000000-0000-0000-0000-000000000007', "
    '\'{"issuer": "https://issuer.example", "subject": "old"}\', now()',
    "insert into credentials (organization_id, agent_id, credential_id, trust_selector, trust, created_at, revoked_at) "
    "select %(organization_id)s, %(agent_id)s, gen_random_uuid(), '00000000-0000-0000-0000-000000000007', "
    '\'{"issuer": "https://issuer.example", "subject": "gone"}\', \'2000-01-01\', \'2000-01-01\'',
    "insert into used_identifiers (organization_id, digest, expires_at) "
    "select %(organization_id)s, '\\x01', '2000-01-01'",
    "insert into revoked_tokens (organization_id, jti, expires_at) select %(organization_id)s, 'revoked', '2000-01-01'",
    "insert into throttles (organization_id, cell, admits_at) select %(organization_id)s, 3, '2000-01-01'",
    "insert into findings (organization_id, finding_id, kind, subject, severity, highest_severity, begins_at, "
    "ends_at, first_seen_at, last_seen_at, ended_at, misses, acknowledged_at, acknowledged_by, note, report) "
    "select %(organization_id)s, %(agent_id)s, 'spike', 'organization', 'info', 'info', now(), "
    "now(), now(), now(), 'infinity', 0, now(), 'builder', 'seen', '{}'",
    "insert into finding_changes (organization_id, finding_id, change_id, changed_at, change, severity) "
    "select %(organization_id)s, %(agent_id)s, %(agent_id)s, now(), 'opened', 'info'",
    "insert into finding_mutes (organization_id, kind, subject, until, muted_at, muted_by) "
    "select %(organization_id)s, 'spike', 'organization', '2999-01-01', now(), 'x'",
    "insert into finding_evaluations (organization_id, evaluated_at, first_day, not_computed) "
    "select %(organization_id)s, '2026-01-01', '2026-01-01', '{}'",
    "insert into usage_monthly (organization_id, month, summed_until, tokens, agent_ids, agent_tokens) "
    "select %(organization_id)s, '2026-04-01', '2026-04-10', 3, array[%(agent_id)s::uuid], '{3}'",
    "insert into rejected_networks (organization_id, day, agent_id, network, reason, rejections) "
    "select %(organization_id)s, '2026-04-15', %(agent_id)s, '192.0.2.0/24', 'x', 3",
    "insert into alert_targets (organization_id, target_id, name, type, destination, sealed, minimum_severity, "
    "enabled, created_at, updated_at, failing_since) select %(organization_id)s, %(agent_id)s, 'on-call', 'webhook', "
    "'https://x', '', 'info', true, '2026-01-01', '2026-01-01', '2026-01-01'",
    "insert into openid_providers (organization_id, openid_provider_id, version, issuer, client_id, sealed, scopes, "
    "administrators, viewers, created_at, updated_at) "
    "select %(organization_id)s, %(agent_id)s, %(agent_id)s, 'https://login.example', 'x', '\\x01', '{}', '{}', "
    "'{}', '2026-04-15', '2026-04-15'",
    "insert into markers (organization_id, marker_id, kind, starts_at, ends_at, agent_id, note, created_at) "
    "select %(organization_id)s, %(agent_id)s, 'deployment', '2026-04-15', '2026-04-15', "
    "%(agent_id)s, null, '2026-04-15'",
    "insert into quotas (organization_id, agent_id, quota_window, tokens, is_enforced, other_days_of, other_days, "
    "created_at, updated_at) "
    "select %(organization_id)s, %(agent_id)s, 'month', 1000, true, '2026-04-15', 3, '2026-04-15', "
    "'2026-04-15'",
    "insert into quotas (organization_id, agent_id, quota_window, tokens, is_enforced, other_days_of, other_days, "
    "created_at, updated_at) "
    "select %(organization_id)s, '00000000-0000-0000-0000-000000000000', 'day', 1000, true, null, "
    "null, '2026-04-15', '2026-04-15'",
    "update agents set quotas = '{null,null,999}' where organization_id = %(organization_id)s",
    "update organizations set quotas = '{null,1000,null}' where organization_id = %(organization_id)s",
    "insert into quota_refusals_daily (organization_id, day, agent_id, holder, quota_window, slot, refused_by_hour, "
    "observed_by_hour) "
    "select %(organization_id)s, '2026-04-15', %(agent_id)s, 'agent', 'day', 0, "
    "count_nothing(), count_nothing()",
    "insert into quota_refusals_daily (organization_id, day, agent_id, holder, quota_window, slot, refused_by_hour, "
    "observed_by_hour) "
    "select %(organization_id)s, '2026-04-15', %(agent_id)s, 'organization', 'month', 0, "
    "array_fill(1, array[24]), count_nothing()",
    "insert into credential_usage_daily (organization_id, day, agent_id, credential_id, resource, slot, tokens, "
    "tokens_by_hour) "
    "select %(organization_id)s, '2026-04-15', %(agent_id)s, %(agent_id)s, "
    "'https://api.example', 0, 0, count_nothing()",
    "insert into provisioning_rules (organization_id, provisioning_rule_id, name, trust, agent_template, "
    "max_agents, created_at) "
    "select %(organization_id)s, %(agent_id)s, 'shop', "
    "'{\"issuer\": \"https://issuer.example\"}', '{}', 5, now()",
    "insert into delegation_rules (organization_id, delegation_rule_id, name, trust, agent_ids, resources, "
    "created_at) "
    "select %(organization_id)s, %(agent_id)s, 'staff', "
    '\'{"issuer": "https://issuer.example"}\', array[%(agent_id)s::uuid], '
    '\'[{"resource": "https://api.example", "scopes": ["a"]}]\', now()',
    "insert into grants (organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, subject_encrypted, "
    "resource, scopes, token_digest, days, created_at, last_used_at, expires_at) "
    "select %(organization_id)s, %(agent_id)s, %(agent_id)s, %(agent_id)s, 'https://issuer.example', 'x', '', "
    "'https://api.example', '{a}', sha256(''), 30, '2000-01-01', '2000-01-01', '2999-01-01'",
    "insert into delegation_usage_daily (organization_id, day, agent_id, subject_agent_id, issuer, resource, slot, "
    "tokens) "
    "select %(organization_id)s, '2026-04-15', %(agent_id)s, "
    "'00000000-0000-0000-0000-000000000000', 'https://issuer.example', 'https://api.example', 0, 3",
    'update agents set provisioned = \'{"rule": "new", "subject": "old", "expiresAfterDays": 1}\', '
    "updated_at = '2026-01-01', "
    "provisioned_selector = '\\x00' where organization_id = %(organization_id)s and agent_id = %(agent_id)s",
    "insert into announced_suspensions (organization_id, agent_id, suspends_at) "
    "select %(organization_id)s, %(agent_id)s, '2026-04-15'",
    "insert into alert_deliveries (organization_id, delivery_id, target_id, finding_id, change, payload, created_at, "
    "next_attempt_at) select %(organization_id)s, %(agent_id)s, %(agent_id)s, %(agent_id)s, 'opened', '{}', "
    "'2026-01-01', '2026-01-01'",
)
"""Statements that add a row per table that no test fills otherwise."""


@pytest.fixture(scope="module")
def connection(shared_app: Flask) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection that may set and reset the service's role."""
    with connect(shared_app.extensions["agentidp"].settings.database_url) as connection:
        yield connection


FINDING = {
    "finding_id": str(uuid.uuid4()),
    "kind": "spike",
    "subject": "organization",
    **dict.fromkeys(("severity", "highest_severity"), "info"),
    **dict.fromkeys(("begins_at", "ends_at", "first_seen_at", "last_seen_at"), "2026-01-01T00:00:00Z"),
    "misses": 0,
    "report": {},
}


@pytest.mark.parametrize("name", run_by("service"))
def test_a_condition_on_the_organization_has_the_spelling_that_tests_look_for(name: str) -> None:
    """Check this, because other tests search for the condition and remove it."""
    assert not OTHER_SPELLING.search(CONDITION.sub("", load_sql(name)))


def parameters(cast: Cast, connection: psycopg.Connection[Any], whose: str, name: str) -> dict[str, Any]:
    """Return a value for each parameter of ``sql/<name>.sql``. IDs are those of the organization *whose*."""
    agent = getattr(cast, whose)
    [credential] = connection.execute(
        "select credential_id, secret_hash from credentials where organization_id = %s and secret_hash is not null",
        [agent.organization_id],
    ).fetchall()
    known_values = {
        "organization_id": agent.organization_id,
        # The rows of SOMETHING have this ID.
        **dict.fromkeys(("agent_id", "resource_server_id", "finding_id", "target_id", "marker_id"), agent.agent_id),
        **dict.fromkeys(("provisioning_rule_id", "delegation_rule_id", "grant_id"), agent.agent_id),
        "openid_provider_id": agent.agent_id,
        "agent_ids": [agent.agent_id],
        "credential_id": credential.credential_id,
        "secret_hash": credential.secret_hash,
        "digest": hashlib.sha256(b"new").digest(),
        "jti": "live",
        "limit": 100,
        "offset": 0,
        **dict.fromkeys(
            ("max_credentials", "max_keys", "max_resource_servers", "max_rules", "max_targets"), MAX_CREDENTIALS
        ),
        "findings": Jsonb([FINDING]),
        "changes": Jsonb([{**FINDING, "change_id": str(uuid.uuid4()), "change": "ended"}]),
        # Parameters for which null means all, the beginning, or no change.
        **dict.fromkeys(("after_at", "after_id", "name", "scopes", "scope", "status", "resource")),
    }
    return values_of(connection, name, known_values)


def run(
    connection: psycopg.Connection[Any], setting: str | None, statement: str, values: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Run a statement as the service with the organization *setting*.

    :returns: its sorted rows, and then all rows of both organizations. The changes are rolled back.
    """
    names = set(re.findall(r"%\((\w+)\)s", statement))
    with connection.transaction(force_rollback=True):
        connection.execute(f"set local role {SERVICE_ROLE}")
        if setting is not None:
            enter_organization(connection, setting, durable=True)
        cursor = connection.execute(statement, {name: values[name] for name in names})
        rows = sorted(cursor.fetchall(), key=repr) if cursor.description else []
        connection.execute("reset role")
        stored = {
            table: connection.execute(f"select organization_id, t::text as row from {table} t order by 1, 2").fetchall()
            for table in sorted(tables_of_organizations(connection))
        }
    return rows, stored


@PARTLY_REFUSED
@pytest.mark.parametrize("name", FILTERED)
def test_a_query_sees_only_the_callers_rows_without_its_condition_and_nothing_without_the_setting(
    connection: psycopg.Connection[Any], cast: Cast, name: str
) -> None:
    acme, theirs = cast.acme.organization_id, cast.outsider.organization_id
    statement, without = load_sql(name), CONDITION.sub("true", load_sql(name))
    values = parameters(cast, connection, "acme", name)
    _, before = run(connection, None, "select 1", {})
    rows, after = run(connection, acme, statement, values)
    assert rows or after != before, f"give {name} an example with which it finds something"
    assert run(connection, acme, without, values) == (rows, after)
    # IDs of the other organization match no row. Acme has no such agent, so a foreign key may refuse a row.
    with contextlib.suppress(psycopg.errors.ForeignKeyViolation):
        others = parameters(cast, connection, "outsider", name) | {"organization_id": acme}
        _, after = run(connection, acme, without, others)
        for table, stored in before.items():
            assert [row for row in after[table] if row[0] == theirs] == [row for row in stored if row[0] == theirs]
    for setting in (None, ""):
        for query in (statement, without):
            try:
                rows, after = run(connection, setting, query, values)
            except psycopg.errors.InsufficientPrivilege as error:
                assert "row-level security" in str(error)  # a row without an organization cannot be inserted
                continue
            assert after == before
            assert [row for row in rows if getattr(row, "tokens", getattr(row, "grants", row.count)) != 0] == []


@PARTLY_REFUSED
@pytest.mark.parametrize("name", [name for name in CALLERS if name != "quotas/lock_quotas"])
def test_without_their_conditions_our_functions_still_see_only_the_callers_rows(
    connection: psycopg.Connection[Any], cast: Cast, name: str
) -> None:
    values = parameters(cast, connection, "acme", name)
    setting = cast.acme.organization_id
    _, before = run(connection, None, "select 1", {})
    rows, after = run(connection, setting, load_sql(name), values)
    assert rows
    assert (after == before) == (name in READ_ONLY)
    with connection.transaction(force_rollback=True):
        for file in OF_AN_ORGANIZATION:
            without, conditions = CONDITION_IN_FUNCTION.subn("true", file.read_text(encoding="utf-8"))
            assert conditions or file.stem in WITHOUT_ROWS
            connection.execute(without.encode())
        assert run(connection, setting, load_sql(name), values) == (rows, after)


@WITHOUT_CITUS
def test_the_services_role_owns_nothing_and_may_do_nothing_special(connection: psycopg.Connection[Any]) -> None:
    [role] = connection.execute(
        "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolcanlogin, rolreplication from pg_roles "
        "where rolname = %s",
        [SERVICE_ROLE],
    ).fetchall()
    assert not any(role)
    owned = connection.execute(
        "select classid::regclass::text, objid from pg_shdepend "
        "where refobjid = %s::regrole and deptype = 'o' "
        "and dbid = (select oid from pg_database where datname = current_database())",
        [SERVICE_ROLE],
    ).fetchall()
    assert owned == []
    public = connection.execute(f"select has_schema_privilege('{SERVICE_ROLE}', 'public', 'create') as may").fetchone()
    assert public is not None
    assert not public.may


def test_row_level_security_is_forced_on_every_table_of_an_organization(connection: psycopg.Connection[Any]) -> None:
    forced = connection.execute("select relname from pg_class where relrowsecurity and relforcerowsecurity").fetchall()
    tables = tables_of_organizations(connection)
    assert tables >= {"organizations", "agents", "clients", "credentials", "usage_daily"}
    assert tables - {table.relname for table in forced} == set(), "enable and force row-level security in a migration"


@REFUSED_BY_CITUS
def test_a_row_cannot_be_written_for_another_organization(connection: psycopg.Connection[Any], cast: Cast) -> None:
    tables = written_by_the_service(connection)
    assert tables >= {"agents", "clients", "usage_daily"}
    for table in sorted(tables):
        with (
            connection.transaction(force_rollback=True),
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
        ):
            theirs = connection.execute(
                f"select t from {table} t where organization_id = %s limit 1", [cast.outsider.organization_id]
            ).fetchone()
            assert theirs, f"{table} is empty: add a statement to SOMETHING that inserts a row of an organization"
            connection.execute(f"set local role {SERVICE_ROLE}")
            enter_organization(connection, cast.acme.organization_id, durable=True)
            connection.execute(f"insert into {table} select (%s::{table}).*", [theirs.t])
            pytest.fail(f"{table} takes a row of another organization: it needs the policy own_organization")


def setting_of(services: Services) -> tuple[str, str, str]:
    """Return the organization's setting, the role and the commit mode of a pooled connection."""
    with services.database.pool.connection() as pooled:
        row = pooled.execute(
            "select coalesce(current_setting('agentidp.organization_id', true), ''), current_user, "
            "current_setting('synchronous_commit')"
        ).fetchone()
        assert row is not None
        return row[0], row[1], row[2]


@ON_CITUS_TOO
def test_nothing_of_a_request_stays_on_its_connection(services: Services, cast: Cast) -> None:
    database = database_of(services, cast.acme.organization_id)
    # The first statement enters the organization itself.
    for call in (build_admission_call(cast.acme.agent_id, "a", NOON), PING):
        database.run(call, durable=False)
        assert setting_of(services) == ("", SERVICE_ROLE, "on")
    with database.transaction():
        pass
    assert setting_of(services) == ("", SERVICE_ROLE, "on")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        database.run(Call("agents/lock_agent", {"organization_id": 1, "agent_id": 1}))
    assert setting_of(services) == ("", SERVICE_ROLE, "on")


def test_commits_wait_for_the_disk_even_where_the_database_defaults_to_less(
    services: Services, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set synchronous_commit = off")
    assert setting_of(services)[2] == "on"


@ON_CITUS_TOO
def test_a_pipeline_whose_last_statement_fails_leaves_nothing(services: Services, database_url: str) -> None:
    organization_id = make_organization(services)
    agent, taken = (make_agent(services, organization_id, name) for name in ("another", "taken"))
    admission = build_admission_call(agent.agent_id, "a", NOON)
    [row] = database_of(services, organization_id).fetch("agents/get_agent", agent_id=taken.agent_id)
    change = merge_changed_columns(AgentChangeSchema(), row, {"name": "another"}) | {"agent_id": taken.agent_id}
    for durable in (True, False):
        with pytest.raises(psycopg.errors.UniqueViolation):
            database_of(services, organization_id).run(admission, Call("agents/change_agent", change), durable=durable)
        assert usage_sums(database_url, organization_id)["requests"] == 0
    database_of(services, organization_id).run(admission)
    assert usage_sums(database_url, organization_id)["requests"] == 1


@ON_CITUS_TOO
def test_no_client_is_registered_without_its_agent(services: Services, database_url: str) -> None:
    # The client directory has no foreign key to organizations. The agent's foreign key in the same statement refuses.
    nobodys = "org-00000000-0000-4000-8000-000000000000"
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        make_agent(services, nobodys)
    assert everything_of(database_url, nobodys)["clients"] == []


@ON_CITUS
class TestOnCitus:
    """The differences if the database has Citus."""

    def test_set_local_tells_whose_transaction_it_is_and_how_to_commit_in_one_round_trip(
        self, services: Services
    ) -> None:
        services.database.fetch_unscoped("database/applied_migrations")
        enter = Call("database/enter_organization", {"organization_id": "org-b", "durable": False})
        with overheard(services.database) as conversation:
            database_of(services, "org-a").run(PING, durable=True)
            database_of(services, "org-a").run(PING, enter, PING)
        a, b = ("set local agentidp.organization_id to 'org-a'", "set local agentidp.organization_id to 'org-b'")
        on, off = ("set local synchronous_commit to 'on'", "set local synchronous_commit to 'off'")
        assert conversation.statements == [
            *("begin", a, on, PINGED, "commit"),
            *("begin", a, off, PINGED, b, off, PINGED, "commit"),
        ]
        assert conversation.round_trips == 2
        with overheard(services.database) as conversation, database_of(services, "org-a").transaction() as transaction:
            transaction.fetch("database/applied_migrations")
        assert conversation.statements == ["BEGIN", a, on, PINGED, "COMMIT"]

    def test_a_function_that_enters_the_organization_itself_is_sent_alone(self, services: Services) -> None:
        agent = make_agent(services, make_organization(services))
        database = database_of(services, agent.organization_id)
        admission = build_admission_call(agent.agent_id, "a jti", NOON)
        database.run(admission)
        with overheard(services.database) as conversation:
            assert database.run(admission) == [[(agent.agent_id,)]]
        assert conversation.round_trips == 1
        assert "begin" not in conversation.statements

    def test_no_statement_has_a_parameter_that_a_generic_plan_would_leave_open(
        self, client: FlaskClient, services: Services
    ) -> None:
        agent = make_agent(services, make_organization(services))
        with overheard(services.database) as conversation:
            assert client.get("/api/v1/analytics/tokens", headers=agent.bearer()).status_code == 200
            wrong = {"grant_type": "client_credentials", "client_id": agent.client_id, "client_secret": "wrong"}
            assert client.post("/api/v1/token", data=wrong).status_code == 401
        assert len(conversation.statements) >= 10
        assert [statement for statement in conversation.statements if re.search(r"\$\d", statement)] == []
        # A prepared statement with parameters would appear here with its name.
        assert set(conversation.statements).isdisjoint(NAMES)

    def test_a_failure_that_is_answered_before_all_is_sent_is_raised_as_it_is(
        self, services: Services, caplog: pytest.LogCaptureFixture
    ) -> None:
        failing = Call("agents/lock_agent", {"organization_id": "org-a", "agent_id": "no uuid"})
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            # Large enough that the first answer arrives while later statements are still being sent.
            database_of(services, "org-a").run(failing, *[PING] * 2000)
        assert caplog.records == []
        assert len(database_of(services, "org-a").run(PING)) == 1

    def test_a_parameter_that_cannot_be_sent_leaves_the_connection_usable(self, services: Services) -> None:
        with pytest.raises(psycopg.DataError, match="NUL"):
            database_of(services, "org-a").run(PING, Call("oauth/client_organization", {"client_id": "\0"}))
        assert len(database_of(services, "org-a").run(PING)) == 1
        assert setting_of(services) == ("", SERVICE_ROLE, "on")

    @pytest.mark.parametrize("name", ["o'rg\\x", "", "a\nb;", "%s %(x)s $1", "ü"])
    def test_an_organization_is_quoted_whatever_it_is(self, services: Services, name: str) -> None:
        with database_of(services, name).transaction() as transaction:
            told = transaction._connection.execute("select current_setting('agentidp.organization_id') as told")
            assert told.fetchall() == [(name,)]

    def test_workers_get_it_too(self, services: Services) -> None:
        with services.database.pool.connection() as pooled:
            assert is_on_citus(pooled)
            assert pooled.execute("show citus.propagate_set_commands").fetchall() == [("local",)]

    def test_a_statement_that_takes_too_long_leaves_the_connection_usable(
        self, services: Services, database_url: str
    ) -> None:
        database_of(services, "org-a").run(PING)
        with services.database.pool.connection() as pooled:
            pooled.execute("set statement_timeout to '1s'")
        with psycopg.connect(database_url) as other:
            other.execute("lock table schema_migrations")
            with pytest.raises(DatabaseUnavailable) as refused:
                database_of(services, "org-a").run(PING, PING)
        # Nothing was changed, because the commit was not reached.
        assert not isinstance(refused.value, OutcomeUnknown)
        assert len(database_of(services, "org-a").run(PING, PING)) == 2
        assert services.database.pool.statistics()["pool_size"] == 1
        assert setting_of(services) == ("", SERVICE_ROLE, "on")


PING = Call("database/applied_migrations", {})
PINGED = load_sql("database/applied_migrations")


@ON_CITUS_TOO
def test_a_transaction_that_raises_leaves_nothing(services: Services, database_url: str) -> None:
    organization_id = make_organization(services)
    agent = make_agent(services, organization_id)
    before = everything_of(database_url, organization_id)
    with pytest.raises(KeyError), database_of(services, organization_id).transaction() as transaction:
        later = NOON + timedelta(hours=1)
        transaction.fetch("agents/delete_agent", organization_id=organization_id, agent_id=agent.agent_id, at=later)
        raise KeyError
    assert everything_of(database_url, organization_id) == before


PROCESS = """
import functools, sys
from psycopg_pool import ConnectionPool
from agentidp.db.database import Database
from agentidp.db.errors import DatabaseUnavailable
from tests.conftest import settings_for
from tests.factories import PATIENCE
ConnectionPool.close = functools.partialmethod(ConnectionPool.close, timeout=10 * PATIENCE)
database = Database(sys.argv[1], settings_for(sys.argv[1], statement_timeout=1.0))
try:
    print(len(database.fetch_unscoped("database/applied_migrations")), flush=True)
except DatabaseUnavailable:
    print("unavailable", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_reached", [True, False])
def test_a_process_that_leaves_its_pool_open_ends_at_once(database_url: str, is_reached: bool) -> None:
    """A thread of the pool that does not end keeps the process for as long as closing the pool waits, which is longer
    here than the test does, so that no slow machine looks like it; and from Python 3.13 on for 20 seconds more.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nowhere = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        command = [sys.executable, "-c", PROCESS, database_url if is_reached else nowhere]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert (process.stdout.readline() != "unavailable\n") is is_reached
            with within(3):
                rest = process.communicate(timeout=PATIENCE)
        assert (process.returncode, rest[0]) == (0, "")
        assert rest[1] == "" or not is_reached


@pytest.mark.parametrize(
    ("error", "is_unknown"),
    [
        (psycopg.errors.ConnectionFailure("… failed with the following error: Connection refused"), False),
        (psycopg.errors.ConnectionFailure("… error: FATAL:  the database system is starting up"), False),
        (psycopg.errors.ConnectionFailure("… error: server closed the connection unexpectedly"), True),
        (psycopg.errors.InternalError_("failure on connection marked as essential: 10.0.0.2:5432"), True),
        (psycopg.errors.InternalError_("postmaster was shut down, exiting"), True),
        (psycopg.errors.QueryCanceled("canceling statement due to statement timeout"), True),
        (psycopg.errors.DeadlockDetected("canceling the transaction since it was involved in a distributed …"), False),
    ],
)
def test_the_outcome_is_unknown_if_a_worker_may_have_received_something(error: psycopg.Error, is_unknown: bool) -> None:
    assert may_have_committed(error) is is_unknown
