"""Plans that were made for empty tables without statistics are still good when the tables are full.

The service's connections plan a statement once, at its first use. A new instance does that on empty tables, and keeps
the plan for as long as the connection lives.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from agentidp.db.database import SERVICE_ROLE
from agentidp.db.sql import load_sql
from agentidp.findings import markers
from agentidp.findings.finding import FindingsQuery
from agentidp.findings.kinds import KINDS
from agentidp.oauth import throttle
from agentidp.scopes import SCOPES
from tests import catalog
from tests.citus import READS_A_PLAN
from tests.conftest import _fresh_database
from tests.factories import NOON
from tests.statements import header, numbered, run_by, values_of

pytestmark = pytest.mark.slow

ROWS = 100_000
"""Number of used identifiers, of revoked tokens, and of throttles. One in a thousand has expired."""

AGENTS = 10_000
DAYS = 90
DAYS_OF_ALL = 4
"""Days of usage of most agents. One in a hundred has all ``DAYS``, which shows if a plan reads other agents' rows."""

ORGANIZATION = "org-00000007-0000-4000-8000-000000000000"
AGENT = uuid.UUID(int=100)

STATEMENTS = run_by("service")
"""The statements that requests run."""

FILL = (
    "insert into organizations (organization_id, name, created_at) values (%(organization_id)s, 'Full', %(at)s)",
    "insert into agents (organization_id, agent_id, name, description, scopes, status, created_at, updated_at) "
    "select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, 'agent ' || n, '', %(scopes)s, "
    "'active', %(at)s::timestamptz - interval '1 second' * n, %(at)s from generate_series(1, %(agents)s) as n",
    "update agents set provisioned = jsonb_build_object('rule', 'rule 1', 'expiresAfterDays', 1), "
    "provisioned_selector = sha256(agent_id::text::bytea) where name like 'agent 77__'",
    "insert into clients (client_id, organization_id) select agent_id, organization_id from agents",
    "insert into credentials (organization_id, agent_id, credential_id, secret_hash, created_at) "
    "select organization_id, agent_id, agent_id, sha256(agent_id::text::bytea), created_at from agents",
    "insert into credentials (organization_id, agent_id, credential_id, jwks, created_at) "
    'select organization_id, agent_id, gen_random_uuid(), \'[{"alg": "ES256"}]\', created_at from agents',
    "insert into resource_servers (organization_id, resource_server_id, resource, name, scopes, created_at) "
    "select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, "
    "'https://api' || n || '.example', 'api', %(scopes)s, %(at)s from generate_series(1, 100) as n",
    "insert into resource_identifiers (resource, organization_id, claimed_at) "
    "select resource, organization_id, %(at)s from resource_servers",
    "insert into alert_targets (organization_id, target_id, name, type, destination, sealed, minimum_severity, "
    "enabled, created_at, updated_at) select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, 'on-call', "
    "'webhook', 'https://x', '', 'info', true, %(at)s, %(at)s from generate_series(1, 50) as n",
    "insert into alert_deliveries (organization_id, delivery_id, target_id, finding_id, change, payload, created_at, "
    "next_attempt_at, delivered_at) select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, "
    "lpad(to_hex(n %% 50 + 1), 32, '0')::uuid, lpad(to_hex(n / 3), 32, '0')::uuid, 'opened', '{}', "
    "%(at)s::timestamptz - interval '1 second' * n, %(at)s::timestamptz - interval '1 second' * n, "
    "case when n %% 100 <> 0 then %(at)s::timestamptz end from generate_series(1, %(rows)s) as n",
    "insert into markers (organization_id, marker_id, kind, starts_at, ends_at, agent_id, note, created_at) "
    "select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, 'deployment', "
    "%(at)s::timestamptz - interval '1 hour' * n, %(at)s::timestamptz - interval '1 hour' * n, null, null, %(at)s "
    "from generate_series(1, 2000) as n",
    "insert into used_identifiers (organization_id, digest, expires_at) "
    "select %(organization_id)s, sha256(n::text::bytea), "
    "%(at)s::timestamptz + interval '1 second' * (n - %(rows)s / 1000) from generate_series(1, %(rows)s) as n",
    "insert into rejected_networks (organization_id, day, agent_id, network, reason, rejections) "
    "select %(organization_id)s, %(at)s::date - n, lpad(to_hex(m), 32, '0')::uuid, "
    "'192.0.2.0/24', 'wrong secret', 1 from generate_series(0, 29) as n, generate_series(1, 200) as m",
    "insert into revoked_tokens (organization_id, jti, expires_at) "
    "select %(organization_id)s, 'token ' || n, "
    "%(at)s::timestamptz + interval '1 second' * (n - %(rows)s / 1000) from generate_series(1, %(rows)s) as n",
    "insert into throttles (organization_id, cell, admits_at) "
    "select %(organization_id)s, %(spread)s * n, "
    "%(at)s::timestamptz - case when n %% 1000 = 0 then interval '1 hour' else interval '0' end "
    "from generate_series(1, %(rows)s) as n",
    "insert into quotas (organization_id, agent_id, quota_window, tokens, is_enforced, other_days_of, other_days, "
    "created_at, updated_at) "
    "select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, quota_window, 1000000, true, null, "
    "null, %(at)s, %(at)s from generate_series(0, 1000) as n, unnest(array['hour', 'day', 'month']) as quota_window",
    "insert into quota_refusals_daily (organization_id, day, agent_id, holder, quota_window, slot, refused_by_hour, "
    "observed_by_hour) "
    "select %(organization_id)s, %(at)s::date - ago, lpad(to_hex(n), 32, '0')::uuid, "
    "'agent', 'day', 0, count_nothing(), count_nothing() from generate_series(0, 29) as ago, "
    "generate_series(1, 100) as n",
    "insert into provisioning_rules (organization_id, provisioning_rule_id, name, trust, agent_template, "
    "max_agents, created_at) "
    "select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, 'rule ' || n, "
    "'{\"issuer\": \"https://issuer.example\"}', '{}', 1000, %(at)s from generate_series(1, 20) as n",
    "insert into delegation_rules (organization_id, delegation_rule_id, name, trust, agent_ids, resources, "
    "created_at) "
    "select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, 'rule ' || n, "
    "'{\"issuer\": \"https://issuer.example\"}', array[lpad(to_hex(100), 32, '0')::uuid], "
    '\'[{"resource": "https://api50.example", "scopes": ["analytics:read"]}]\', %(at)s '
    "from generate_series(1, 20) as n",
    "insert into grants (organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, subject_encrypted, "
    "resource, scopes, token_digest, days, created_at, last_used_at, expires_at) "
    "select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n %% 100 + 1), 32, '0')::uuid, "
    "lpad(to_hex(n %% 20 + 1), 32, '0')::uuid, 'https://issuer.example', 'person ' || n / 2, '', "
    "'https://api50.example', '{a}', sha256(n::text::bytea), 30, %(at)s, %(at)s, "
    "%(at)s::timestamptz + interval '1 second' * n from generate_series(1, %(rows)s) as n",
    "insert into openid_providers (organization_id, openid_provider_id, version, issuer, client_id, scopes, "
    "administrators, viewers, created_at, updated_at) "
    "select organization_id, gen_random_uuid(), gen_random_uuid(), 'https://login.example', 'x', '{}', '{}', '{}', "
    "%(at)s, %(at)s from organizations",
    "insert into announced_suspensions (organization_id, agent_id, suspends_at) "
    "select %(organization_id)s, agent_id, %(at)s from agents "
    "order by agent_id offset 200 limit 100",
    "insert into usage_daily (organization_id, day, slot, tokens, tokens_by_hour, requests_by_hour, "
    "rejected_by_hour) "
    "select %(organization_id)s, %(at)s::date - ago, slot, 240000, "
    "array_fill(10000, array[24]), array_fill(10000, array[24]), array_fill(10, array[24]) "
    "from generate_series(0, %(days)s) as ago, generate_series(0, 3) as slot",
    "insert into agent_usage_daily (organization_id, day, agent_id, slot, tokens, requests, rejected, "
    "tokens_by_hour, requests_by_hour, rejected_by_hour) "
    "select %(organization_id)s, %(at)s::date - ago, agent_id, 0, 24, 24, 0, "
    "array_fill(1, array[24]), array_fill(1, array[24]), count_nothing() "
    "from generate_series(0, %(days)s) as ago, agents "
    "where ago < %(days_of_all)s or ('x' || right(agent_id::text, 8))::bit(32)::integer %% 100 = 0",
    "insert into credential_usage_daily (organization_id, day, agent_id, credential_id, resource, slot, tokens, "
    "tokens_by_hour) "
    "select organization_id, day, agent_id, agent_id, resource, 0, 12, "
    "array_fill(1, array[24]) from agent_usage_daily, unnest(array['', 'https://api50.example']) as resource",
    "insert into delegation_usage_daily (organization_id, day, agent_id, subject_agent_id, issuer, resource, slot, "
    "tokens) "
    "select organization_id, day, agent_id, agent_id, '', 'https://api50.example', 0, 12 "
    "from agent_usage_daily where day > %(at)s::date - 2",
    "insert into usage_monthly (organization_id, month, summed_until, tokens, agent_ids, agent_tokens) "
    "select %(organization_id)s, date_trunc('month', %(at)s), %(at)s::date, "
    "(select sum(tokens) from usage_daily where day >= date_trunc('month', %(at)s) and day < %(at)s::date), "
    "array_agg(agent_id), array_agg(24) from agents",
    "insert into audit_events (organization_id, sequence, event_id, at, actor_type, actor, action, subject_type, "
    "subject, before, after, salt, content_hash, client_address, request_id, previous_hash, hash) "
    "select %(organization_id)s, n, gen_random_uuid(), %(at)s, 'agent', 'a', "
    "'agent.changed', 'agent', 'a', null, null, null, sha256(''), null, null, sha256(''), sha256('') "
    "from generate_series(1, %(rows)s) as n",
    "insert into audit_heads (organization_id, sequence, hash) select %(organization_id)s, %(rows)s, sha256('')",
    "insert into findings (organization_id, finding_id, kind, subject, severity, highest_severity, begins_at, "
    "ends_at, first_seen_at, last_seen_at, ended_at, misses, acknowledged_at, acknowledged_by, note, report) "
    "select %(organization_id)s, lpad(to_hex(n), 32, '0')::uuid, 'spike', 'organization', 'info', "
    "'info', %(at)s, %(at)s, %(at)s, %(at)s, "
    "case when n > 100 then %(at)s::timestamptz - interval '1 hour' * n else 'infinity' end, 0, "
    "%(at)s, 'builder', 'seen', '{}' from generate_series(1, %(agents)s) as n",
    "insert into finding_changes (organization_id, finding_id, change_id, changed_at, change, severity) "
    "select organization_id, finding_id, finding_id, first_seen_at, 'opened', severity "
    "from findings",
    "insert into finding_mutes (organization_id, kind, subject, until, muted_at, muted_by) "
    "select organization_id, 'spike', agent_id::text, %(at)s, %(at)s, 'x' "
    "from agents limit 1000",
    "insert into finding_mutes (organization_id, kind, subject, until, muted_at, muted_by) "
    "select %(organization_id)s, 'spike', 'organization', %(at)s, %(at)s, 'x'",
    "insert into finding_evaluations (organization_id, evaluated_at, first_day, not_computed) "
    "select %(organization_id)s, %(at)s, %(at)s::date, '{}'",
    "update agent_usage_daily set rejected = 24, rejected_by_hour = tokens_by_hour "
    "where day = %(at)s::date and ('x' || right(agent_id::text, 8))::bit(32)::integer %% 1000 = 0",
    # Rules of the organization, and rules of another organization for the same issuer and subject.
    "insert into credentials (organization_id, agent_id, credential_id, trust_selector, trust, created_at) "
    "select organization_id, agent_id, gen_random_uuid(), agent_id, '{}', created_at from agents limit 1000",
    "insert into organizations (organization_id, name, created_at) select 'org-' || gen_random_uuid(), 'Other', %(at)s",
    "insert into agents (organization_id, agent_id, name, description, scopes, status, created_at, updated_at) "
    "select organization_id, gen_random_uuid(), 'agent', '', %(scopes)s, 'active', %(at)s, %(at)s "
    "from organizations where name = 'Other'",
    "insert into credentials (organization_id, agent_id, credential_id, trust_selector, trust, created_at) "
    "select organization_id, agent_id, gen_random_uuid(), '00000000-0000-0000-0000-000000000007', '{}', created_at "
    "from agents, generate_series(1, 1000) where name = 'agent'",
)

KNOWN: dict[str, Any] = {
    "organization_id": ORGANIZATION,
    **dict.fromkeys(("agent_id", "credential_id", "client_id", "token_agent_id", "after_id"), AGENT),
    **dict.fromkeys(("resource_server_id", "finding_id", "marker_id", "target_id"), uuid.UUID(int=50)),
    "agent_ids": [AGENT],
    "agents": [AGENT],
    **dict.fromkeys(("audience", "resource"), "https://api50.example"),
    "secret_hash": hashlib.sha256(str(AGENT).encode()).digest(),
    "jti": "new",
    "scope": ["analytics:read"],
    "scopes": list(SCOPES),
    "own_scopes": list(SCOPES),
    **dict.fromkeys(("key_or_rule", "jwks", "kinds", "owners"), None),
    **dict.fromkeys(("findings", "changes"), Jsonb([])),
    "after_at": NOON - timedelta(hours=1),
    "expires_at": NOON + timedelta(hours=1),
    "ended_before": NOON - timedelta(days=400),
    "ended_after": NOON - timedelta(days=7),
    "days": DAYS,
    "hour": NOON.hour,
    "limit": 50,
    "offset": 0,
    **dict.fromkeys(("max_credentials", "max_keys", "max_resource_servers", "max_rules", "max_targets"), 1000),
    "cell": 16,
    "nearby": throttle.NEARBY,
    "every": throttle.INTERVAL,
    "latest": NOON + throttle.LATEST,
    "timeout": "1s",
}
"""Ids of existing objects, bounds of the service, and null for all, by the name of the parameter."""

QUERY = FindingsQuery(at=NOON, days=7, token_ttl=3600)

OF_FINDINGS = {call.name: call.parameters for kind in (*KINDS.values(), markers) for call in [kind.build_call(QUERY)]}
"""The parameters of the findings' statements, by statement."""


VALUES: dict[str, dict[str, Any]] = {}
"""Statement -> its parameters, in order."""


@pytest.fixture(scope="module")
def connection(postgres_url: str, template: str) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection of the service whose plans were made for empty tables, which are full now."""
    with (
        contextlib.contextmanager(_fresh_database)(postgres_url, template) as url,
        psycopg.connect(url, autocommit=True) as owner,
        psycopg.connect(url, autocommit=True) as service,
    ):
        for (table,) in owner.execute(
            "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
        ).fetchall():
            owner.execute(f"alter table {table} set (autovacuum_enabled = off)")
        service.execute(load_sql("database/configure_connection"), {"role": SERVICE_ROLE, "statement_timeout": "60s"})
        for number, name in enumerate(STATEMENTS):
            VALUES[name] = values_of(service, name, KNOWN | OF_FINDINGS.get(name, {}))
            service.execute(f"prepare statement_{number} as {numbered(name)}".encode())
            run(service, name, "")
        parameters = {
            "organization_id": ORGANIZATION,
            "scopes": list(SCOPES),
            "at": NOON,
            "agents": AGENTS,
            "rows": ROWS,
            "days": DAYS,
            "days_of_all": DAYS_OF_ALL,
            "spread": throttle.CELLS // ROWS,
        }
        for statement in FILL:
            owner.execute(statement, parameters)
        yield service


def run(connection: psycopg.Connection[Any], name: str, prefix: str) -> Any:
    """Run a prepared statement, roll it back and return its rows. With *prefix*, return the output of that command."""
    values = VALUES[name]
    parameter_values = list(values.values())
    with connection.transaction(force_rollback=True):
        connection.execute("select set_config('agentidp.organization_id', %s, true)", [ORGANIZATION], prepare=False)
        arguments = f"({', '.join(['%s'] * len(parameter_values))})" if parameter_values else ""
        execute = f"{prefix} execute statement_{STATEMENTS.index(name)}{arguments}"
        try:
            cursor = psycopg.ClientCursor(connection).execute(execute, parameter_values)
        except psycopg.errors.ForeignKeyViolation:
            # The credential's agent does not exist, but the statement has been planned.
            return None
        return cursor.fetchone() if cursor.description else None


def pages(plan: dict[str, Any], *, is_counted: bool = True) -> int:
    """Return the number of pages that a plan has used. A parent's sum lacks the pages of data-modifying CTEs."""
    own = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] if is_counted else 0
    return own + sum(
        pages(child, is_counted=child.get("Subplan Name", "").startswith("CTE")) for child in plan.get("Plans", ())
    )


@READS_A_PLAN
@pytest.mark.parametrize("name", STATEMENTS)
def test_reads_few_pages_when_the_tables_have_filled(connection: psycopg.Connection[Any], name: str) -> None:
    [[explained]] = run(connection, name, "explain (analyze, buffers, timing off, format json)")
    read = pages(explained["Plan"])
    assert read <= header(name).pages, (
        f"{read} pages: add an index, or say in the header of {name} why it reads them: {explained}"
    )


@READS_A_PLAN
def test_the_tables_hold_what_the_statements_look_for(connection: psycopg.Connection[Any]) -> None:
    # Otherwise the statements would stop before they have read many pages.
    assert run(connection, "oauth/issue_access_token", "")[:3] == (True, False, "analytics:read")
    assert run(connection, "oauth/introspect_token", "") == (list(SCOPES), True)
    for name in ("oauth/record_failure", "usage/record_request", "dashboard/viewer", "agents/get_agent"):
        assert run(connection, name, "") is not None, name


@READS_A_PLAN
def test_every_table_has_been_filled(connection: psycopg.Connection[Any]) -> None:
    with connection.transaction():
        connection.execute("set local role none")
        for table in sorted(catalog.written_by_the_service(connection)):
            filled = connection.execute(f"select from {table} limit 1").fetchall()
            assert filled, f"add a statement to FILL that fills {table}"


@READS_A_PLAN
def test_the_plans_are_those_of_empty_tables(connection: psycopg.Connection[Any]) -> None:
    analyzed = connection.execute(
        "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace and reltuples >= 0"
    ).fetchall()
    assert analyzed == []
