"""On a real Citus cluster: a statement of the service runs on the one shard of its organization, each node holds
row-level security, and a response says if a token may have been counted.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from psycopg.rows import tuple_row

from agentidp.db.citus import enter_organization
from agentidp.db.database import SERVICE_ROLE
from agentidp.db.sql import load_sql
from tests.catalog import tables_of_organizations
from tests.citus import Cluster, server_of
from tests.conftest import ON_CITUS, Cast
from tests.db.test_plans_without_statistics import KNOWN, OF_FINDINGS
from tests.db.test_unreachable import UNKNOWN, application
from tests.factories import execute, usage_sums, wait_until
from tests.helpers.error_responses import assert_unavailable
from tests.statements import header, run_by, values_of

pytestmark = ON_CITUS

SERVICES = [name for name in run_by("service") if not header(name).no_shard]


@pytest.fixture(scope="module")
def url(shared_app: Flask) -> str:
    """Return the URL of a database whose tables are distributed."""
    database_url: str = shared_app.extensions["agentidp"].settings.database_url
    return database_url


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection with the service's role."""
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("set citus.propagate_set_commands to local")
        connection.execute(f"set role {SERVICE_ROLE}")
        yield connection


@pytest.mark.parametrize("name", SERVICES)
def test_runs_on_the_organizations_shard_and_on_no_other(
    service: psycopg.Connection[Any], url: str, shared_cast: Cast, name: str
) -> None:
    organization_id = shared_cast.acme.organization_id
    known_values = KNOWN | OF_FINDINGS.get(name, {}) | {"organization_id": organization_id}
    with psycopg.connect(url) as owner:
        values = values_of(owner, name, known_values)
    with service.transaction(force_rollback=True):
        enter_organization(service, organization_id, durable=True)
        explained = service.execute(f"explain (costs off) {load_sql(name)}".encode(), values).fetchall()
    plan = "\n".join(line for (line,) in explained)
    tasks = re.findall(r"Task Count: (\d+)", plan)
    if header(name).in_steps:
        assert set(tasks) <= {"1"}, plan
        return
    assert tasks, plan
    assert set(tasks) == {"1"}, plan
    # The lookup of a client also reads a reference table, for which the plan names an arbitrary node.
    if name != "agents/add_agent":
        node = psycopg.conninfo.conninfo_to_dict(server_of(url, organization_id))
        place = "host={host} port={port} dbname={dbname}".format_map(node)
        assert set(re.findall(r"Node: (.*)", plan)) == {place}


def test_every_node_shows_an_organization_its_own_rows_only(cluster: Cluster, url: str, shared_cast: Cast) -> None:
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url) as connection:
        tables = tables_of_organizations(connection)
    seen: set[str] = set()
    for node in (cluster.coordinator, *cluster.workers):
        own = node.url(str(name)).replace("postgres:@", f"{SERVICE_ROLE}:@")
        with psycopg.connect(own, autocommit=True, row_factory=tuple_row) as connection:
            connection.execute("set citus.propagate_set_commands to local")
            for table in sorted(tables):
                for setting in ("", shared_cast.acme.organization_id):
                    with connection.transaction():
                        connection.execute(f"set local agentidp.organization_id to '{setting}'")
                        try:
                            visible_ids = connection.execute(f"select distinct organization_id from {table}").fetchall()
                        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable):
                            continue
                    if table == "clients":
                        # Without an organization, a client can be looked up, because authentication begins with that.
                        continue
                    seen |= {table for _ in visible_ids if setting}
                    assert {organization_id for (organization_id,) in visible_ids} <= {setting}, (node, table)
    assert seen >= {"agents", "credentials", "organizations"}


@pytest.mark.slow
def test_a_token_that_times_out_may_be_counted_and_the_response_says_so(database_url: str) -> None:
    with application(database_url) as (app, agent):
        before = usage_sums(database_url, agent.organization_id)["tokens"]
        sessions = execute(
            server_of(database_url, agent.organization_id),
            f"select pid from pg_stat_activity where datname = current_database() and usename = '{SERVICE_ROLE}'",
        )
        # A stopped session ignores the coordinator's request to cancel, and executes the received call later.
        for (pid,) in sessions:
            os.kill(int(str(pid)), signal.SIGSTOP)
        try:
            response = app.test_client().post("/api/v1/token", data=agent.form)
        finally:
            for (pid,) in sessions:
                os.kill(int(str(pid)), signal.SIGCONT)
        assert_unavailable(response, UNKNOWN, is_oauth=True)
        wait_until(lambda: usage_sums(database_url, agent.organization_id)["tokens"] == before + 1)


def test_a_worker_plans_for_the_service_without_jit_and_by_index(service: psycopg.Connection[Any], url: str) -> None:
    with psycopg.connect(url) as connection:
        roles = connection.execute(
            "select success, result from run_command_on_workers($$select rolconfig::text || rolcanlogin::text "
            f"from pg_roles where rolname = '{SERVICE_ROLE}'$$)"
        ).fetchall()
    assert roles == [(True, "{jit=off,enable_seqscan=off}true")] * 2


def test_the_service_may_do_on_a_worker_what_it_may_do_on_the_coordinator(cluster: Cluster, url: str) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    grants = (
        "select relname, privilege_type from pg_class, aclexplode(relacl) "
        f"where relnamespace = 'public'::regnamespace and grantee = '{SERVICE_ROLE}'::regrole order by 1, 2"
    )
    on_workers = [node.execute(name, grants) for node in cluster.workers]
    assert on_workers[0] == on_workers[1]
    local = {"throttles", "signing_keys", "schema_migrations"}
    assert on_workers[0] == [row for row in cluster.coordinator.execute(name, grants) if row[0] not in local]
