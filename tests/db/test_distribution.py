"""Distributing the tables on a real Citus cluster: each once and in a valid order, also after interruptions; and the
tables that each statement reads.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from agentidp import create_app
from agentidp.config import ConfigurationError
from agentidp.db import migrations
from agentidp.db.database import SERVICE_ROLE, connect
from agentidp.db.distribution import distribute
from agentidp.db.migrations import MIGRATION_LOCK, Step, migrate, steps
from agentidp.db.pipeline import Statement
from agentidp.db.sql import load_sql
from agentidp.demo import ORGANIZATION_ID, create_demo
from agentidp.jose.key_rotation import ensure_signing_key
from tests import catalog
from tests.catalog import INSTANCE_WIDE
from tests.citus import SHARDS, WITHOUT_CITUS, Cluster
from tests.cli.command import Command
from tests.conftest import ON_EVERY_POSTGRES, settings_for
from tests.factories import PATIENCE, Clock, execute, make_agent, make_organization, usage_sums
from tests.helpers.migrations import RELEASED, wait_for
from tests.statements import run_by

WHOLE = {"clients", "resource_identifiers"}
"""Tables that are whole on every node."""

ON_COORDINATOR = INSTANCE_WIDE - WHOLE | {"throttles"}
"""Tables that only the coordinator has, because it alone reads them. All throttles have the same organization."""


def distributed_tables(url: str) -> list[str]:
    """Return the distributed tables. Each table follows the tables that it references."""
    with psycopg.connect(url, row_factory=tuple_row) as connection:
        tables, foreign_keys = catalog.tables(connection), catalog.references(connection)

    def place(table: str) -> tuple[int, str]:
        return max((place(to)[0] + 1 for of, to in foreign_keys if of == table), default=0), table

    return sorted(tables - WHOLE - ON_COORDINATOR, key=place)


def expected(url: str) -> list[tuple[str, str]]:
    """Return the tables to distribute, in order, and their method. Functions exist on the workers already."""
    return [
        *((name, "whole on every node") for name in sorted(WHOLE)),
        *((name, "distributed by organization") for name in distributed_tables(url)),
        *((name, "beside the organization") for name in delegated_functions(url)),
    ]


def placed(done: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the distributed tables and functions, without the planning mode, which depends on Citus's version."""
    return [command for command in done if command[0] != SERVICE_ROLE]


def delegated_functions(url: str) -> list[str]:
    """Return the functions with statements about an organization."""
    function_rows = execute(
        url,
        "select pg_proc.oid::regprocedure::text from pg_proc join pg_language on pg_language.oid = prolang "
        "where pronamespace = 'public'::regnamespace and lanname = 'plpgsql' order by 1",
    )
    return [name for (name,) in function_rows]


@pytest.fixture(scope="module")
def migrated(cluster: Cluster) -> str:
    """Return the name of a migrated template database on the cluster, in which nothing is distributed."""
    name = f"migrated_{uuid.uuid4().hex[:8]}"
    cluster.create(name)
    migrate(cluster.coordinator.url(name))
    cluster.make_template(name)
    return name


@pytest.fixture
def url(cluster: Cluster, migrated: str) -> Iterator[str]:
    """Return the URL of a migrated database on a cluster, as a superuser."""
    name = f"copy_{uuid.uuid4().hex[:8]}"
    cluster.copy(migrated, name)
    yield cluster.coordinator.url(name)
    cluster.drop(name)


def classes(url: str) -> list[tuple[object, ...]]:
    """Return the method, column and colocation of each table that Citus knows."""
    return execute(
        url,
        """
        select table_name::text, citus_table_type, distribution_column, colocation_id
        from citus_tables
        order by 1
        """,
    )


def expected_classes(url: str) -> list[tuple[object, ...]]:
    """Return the classes if all distributed tables are colocated."""
    tables = {name: (kind, colocation) for name, kind, _, colocation in classes(url)}
    _, together = tables["organizations"]
    _, whole = tables["clients"]
    return sorted(
        [
            *((name, "reference", "<none>", whole) for name in WHOLE),
            *((name, "distributed", "organization_id", together) for name in distributed_tables(url)),
        ]
    )


PLANS = 5_000
"""Kilobytes: more than a session grows by, unless it keeps the plans of each call, which take some 100 a call here."""


def growth(cluster: Cluster, url: str) -> list[int]:
    """Return the kilobytes by which each worker's session grew during 200 calls of a function of the service."""
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    call = (
        "select issue_token('acme', gen_random_uuid(), now(), current_date, 0, '', null, null, null, null, "
        "'{}', null, false, false, true, false)"
    )
    grown = []
    for worker in cluster.workers:
        own = worker.url(name).replace("postgres:@", f"{SERVICE_ROLE}:@")
        with psycopg.connect(own, autocommit=True, row_factory=tuple_row) as connection:
            sizes = []
            for calls in (50, 200):
                for _ in range(calls):
                    connection.execute(call)
                status = Path(f"/proc/{connection.info.backend_pid}/status").read_text()
                sizes += [int(kilobytes) for kilobytes in re.findall(r"RssAnon:\s+(\d+) kB", status)]
            grown.append(sizes[1] - sizes[0])
    return grown


@pytest.mark.citus
class TestDistribute:
    def test_every_table_and_function_has_its_place_and_a_second_run_does_nothing(self, url: str) -> None:
        assert placed(distribute(url)) == expected(url)
        assert classes(url) == expected_classes(url), (
            "add a table whose primary key does not hold the organization to INSTANCE_WIDE in tests/catalog.py"
        )
        assert list(distribute(url)) == []

    def test_goes_on_where_it_was_interrupted_and_after_a_table_was_refused(self, url: str) -> None:
        everything, done = expected(url), []
        for how_many in (1, 5):
            interrupted = distribute(url)
            done += itertools.islice(interrupted, how_many)
            interrupted.close()
        *_, (last, _) = (command for command in everything if "(" not in command[0])
        execute(
            url,
            f"create trigger by_hand before update on {last} for each row "
            "execute function suppress_redundant_updates_trigger()",
        )
        with pytest.raises(ConfigurationError) as refused:
            done.extend(distribute(url))
        message = f'the tables cannot be distributed: cannot distribute relation "{last}" because it has triggers'
        assert str(refused.value).startswith(message)
        execute(url, f"drop trigger by_hand on {last}")
        done += distribute(url)
        assert placed(done) == everything
        assert classes(url) == expected_classes(url)

    def test_the_memory_of_a_workers_session_does_not_grow_with_each_call(self, cluster: Cluster, url: str) -> None:
        done = list(distribute(url))
        assert max(growth(cluster, url)) < PLANS
        execute(url, load_sql("distribution/plan_once"))
        # A Citus that reuses cached plans needs no setting. Otherwise each call would add a plan.
        are_kept = max(growth(cluster, url)) < PLANS
        expected_commands = (
            [] if are_kept else [(SERVICE_ROLE, "plans each statement at each call, as this version of Citus requires")]
        )
        assert [command for command in done if command[0] == SERVICE_ROLE] == expected_commands
        assert list(distribute(url)) == expected_commands
        assert max(growth(cluster, url)) < PLANS
        if are_kept:
            execute(url, load_sql("distribution/plan_each_time"))
            assert list(distribute(url)) == [(SERVICE_ROLE, "plans each statement once")]
        assert list(distribute(url)) == []

    def test_a_server_that_cannot_be_tested_for_keeping_plans_is_named(self, cluster: Cluster, url: str) -> None:
        """The role may copy rows, but may not read the memory use of its session."""
        list(distribute(url))
        name, nodes = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]), [cluster.coordinator, *cluster.workers]
        try:
            for node in nodes:
                node.execute("postgres", "create role mover login bypassrls createrole")
                node.execute("postgres", f"grant {SERVICE_ROLE} to mover with admin option")
            execute(url, "grant select on all tables in schema public to mover with grant option")
            with pytest.raises(ConfigurationError) as refused:
                list(distribute(url.replace("postgres:@", "mover:@")))
            assert re.fullmatch(
                rf"cannot test whether {cluster.coordinator.host}:\d+ keeps plans: "
                "ERROR:  permission denied for view pg_backend_memory_contexts",
                str(refused.value),
            )
        finally:
            for node in reversed(nodes):
                node.execute(name, "drop owned by mover cascade")
            for node in nodes:
                node.execute("postgres", "drop role mover")

    def test_a_table_of_a_later_migration_joins_the_others(self, url: str) -> None:
        list(distribute(url))
        execute(
            url,
            'create table later (organization_id text collate "C" references organizations, n int, '
            "primary key (organization_id, n))",
        )
        assert list(distribute(url)) == [("later", "distributed by organization")]
        assert classes(url) == expected_classes(url)

    def test_a_later_migration_may_change_a_table_and_create_a_function(self, url: str) -> None:
        list(distribute(url))
        with connect(url) as connection, connection.transaction():
            connection.execute("alter table agents add column colour text not null default 'red'")
            connection.execute("create function colour_of(text) returns text language sql immutable return $1")
            connection.execute("update agents set colour = 'blue'")
        assert execute(url, "select min(result) from run_command_on_workers('select colour_of(1::text)')") == [("1",)]

    def test_a_later_release_replaces_the_functions_on_every_node(
        self, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        list(distribute(url))
        changed = tmp_path / "count_usage.sql"
        file = next(file for file in steps()[-1].files if file.stem == "count_usage")
        changed.write_text(file.read_text(encoding="utf-8").replace("\nbegin\n", "\nbegin\n    -- Changed.\n"))
        name = f"functions_{version('agentidp')}_0123456789abcdef"
        later = [*steps()[:-1], Step(name, [changed])]
        monkeypatch.setattr(migrations, "steps", lambda: later)
        assert migrate(url) == [name]
        has_changed = "select count(*) from pg_proc where proname = ''count_usage'' and prosrc like ''%Changed.%''"
        nodes = execute(url, f"select distinct result from run_command_on_all_nodes('{has_changed}')")
        assert nodes == [("1",)]
        # The function still runs on the organization's worker.
        assert list(distribute(url)) == []

    @pytest.mark.usefixtures("quiet")
    def test_a_database_that_served_before_keeps_its_rows(
        self, cluster: Cluster, migrated: str, tmp_path: Path
    ) -> None:
        """The database was migrated without Citus, by an owner who is not a superuser."""
        name, nodes = "served_before", [cluster.coordinator, *cluster.workers]
        for node in nodes:
            node.execute("postgres", "drop role if exists owner")
            node.execute("postgres", "create role owner login createrole")
            node.execute("postgres", "grant agentidp_service to owner")
            node.execute("postgres", f"create database {name} owner owner")
        try:
            url = cluster.coordinator.url(name)
            owners = url.replace("postgres:@", "owner:@")
            migrate(owners)
            ensure_signing_key(settings_for(owners), at=Clock()())
            app = create_app(settings_for(owners), clock=Clock())
            services = app.extensions["agentidp"]
            agent = make_agent(services, make_organization(services))
            assert app.test_client().post("/api/v1/token", data=agent.form).status_code == 200
            services.close()
            for node in nodes:
                node.execute(name, "create extension citus")
            cluster.add_nodes(name)
            list(distribute(url))
            assert app.test_client().post("/api/v1/token", data=agent.form).status_code == 200
            assert usage_sums(url, agent.organization_id)["tokens"] == 2
            # The demo inserts more rows than any other command. It also works as this owner.
            assert create_demo(owners, services.database, Clock()())
            sums = usage_sums(url, ORGANIZATION_ID)
            assert sums["tokens"] == sums["agent_tokens"] > 0
            services.close()
            change_by_commands(Command(owners), url, tmp_path)
        finally:
            cluster.drop(name)

    def test_who_is_under_row_level_security_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigurationError) as refused:
            list(distribute(f"{url}&options=-crole%3D{SERVICE_ROLE}"))
        assert str(refused.value) == (
            "AGENTIDP_DATABASE_URL must name a superuser for this: PostgreSQL lets nobody else copy rows into tables "
            "under forced row-level security"
        )
        assert classes(url) == []

    def test_a_schema_that_is_behind_is_refused(self, url: str) -> None:
        execute(url, f"delete from schema_migrations where name = '{RELEASED[-1]}'")
        with pytest.raises(ConfigurationError) as refused:
            list(distribute(url))
        assert str(refused.value) == "the schema is not up to date: run agentidp db migrate first, as the owner"
        assert classes(url) == []

    def test_an_empty_database_is_refused(self, cluster: Cluster) -> None:
        name = f"empty_{uuid.uuid4().hex[:8]}"
        cluster.create(name)
        try:
            with pytest.raises(ConfigurationError) as refused:
                list(distribute(cluster.coordinator.url(name)))
        finally:
            cluster.drop(name)
        assert str(refused.value) == "the schema is not up to date: run agentidp db migrate first, as the owner"

    def test_a_service_cannot_create_temporary_tables_on_any_node(self, url: str) -> None:
        list(distribute(url))
        may = "select has_database_privilege(''agentidp_service'', current_database(), ''temporary'')"
        assert execute(url, f"select distinct result from run_command_on_all_nodes('{may}')") == [("f",)]

    def test_waits_for_a_migration_that_is_under_way(self, url: str) -> None:
        done: list[tuple[str, str]] = []
        thread = threading.Thread(target=lambda: done.extend(distribute(url)))
        with psycopg.connect(url, autocommit=True) as migrating:
            migrating.execute(load_sql("database/lock_migrations"), {"key": MIGRATION_LOCK})
            thread.start()
            wait_for(url, "exists (select 1 from pg_locks where locktype = 'advisory' and not granted)")
            assert classes(url) == []
        thread.join(PATIENCE)
        assert placed(done) == expected(url)


FLEETS = """
organizations:
  - name: {0}
    resourceServers:
      - resource: https://{0}.example
        name: API
        scopes: ["{0}:read"]
    agents:
      - name: worker
        scopes: ["{0}:read"]
  - name: {1}
    agents:
      - name: worker
        description: "{2}"
        scopes: [analytics:read]
      - name: another
        scopes: []
"""


def change_by_commands(run: Command, superusers: str, directory: Path) -> None:
    """Change organizations on several shards in one transaction, and import usage, as the owner of the database."""
    names = [f"fleet{number}" for number in range(2 * SHARDS)]
    for description in ("first", "second"):
        file = directory / f"{description}.yaml"
        pairs = zip(names[::2], names[1::2], strict=True)
        file.write_text("---".join(FLEETS.format(*pair, description) for pair in pairs))
        planned = run.invoke("apply", "-f", str(file), "--plan")
        assert planned.exit_code == 2, planned.output
        applied = run.invoke("apply", "-f", str(file), "--yes")
        assert (applied.exit_code, applied.stdout) == (0, planned.stdout), applied.output
        again = run.invoke("apply", "-f", str(file), "--plan")
        assert (again.exit_code, again.stderr) == (0, ""), again.output
    made = {row["name"]: row["organizationId"] for row in json.loads(run("organization", "list", "--json"))}
    usage = directory / "usage.csv"
    usage.write_text("time,agent,tokens\n2026-03-31T23:15:00Z,worker,5\n2026-03-31T23:20:00Z,worker,2\n")
    for name in names[-2:]:
        run("usage", "import", str(usage), "--organization", made[name])
        sums = usage_sums(superusers, made[name])
        # Imported usage belongs to no credential.
        counted = {key: value for key, value in sums.items() if "rejected" not in key and "credential" not in key}
        assert {*counted.values()} == {7}, sums


@WITHOUT_CITUS
def test_a_database_without_citus_is_refused_and_left_as_it_is(database_url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        list(distribute(database_url))
    assert str(refused.value) == (
        "the database has no Citus: install it on the coordinator and on every worker, and there let a superuser run "
        '"create extension citus"'
    )


def scans(plan: dict[str, Any], tables: list[str]) -> Iterator[tuple[str, str]]:
    """Return each of *tables* that a plan reads, with the conditions on it."""
    conditions = " ".join(str(plan[key]) for key in ("Index Cond", "Recheck Cond", "Filter") if key in plan)
    if plan["Node Type"] == "Bitmap Heap Scan":
        conditions += " ".join(str(child.get("Index Cond")) for child in plan["Plans"])
    if plan.get("Relation Name") in tables and plan["Node Type"] != "ModifyTable":
        yield plan["Relation Name"], conditions
    for child in plan.get("Plans", ()):
        yield from scans(child, tables)


@ON_EVERY_POSTGRES
def test_each_statement_keeps_to_one_organization_wherever_it_reads(database_url: str) -> None:
    read: Counter[str] = Counter()
    tables = distributed_tables(database_url)
    # For a superuser, no policy adds the organization. In a generic plan, parameters are not replaced by values.
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set plan_cache_mode to force_generic_plan")
        connection.execute("set enable_seqscan to off")
        for name in run_by("service"):
            text, parameters = Statement.parse(load_sql(name))
            connection.execute(b"prepare planned as " + text)
            nothing = f"({', '.join(['null'] * len(parameters))})" if parameters else ""
            [(explained,)] = connection.execute(f"explain (format json, verbose) execute planned {nothing}".encode())
            connection.execute("deallocate planned")
            for table, conditions in scans(explained[0]["Plan"], tables):
                read[table] += 1
                place = parameters.index("organization_id") + 1
                assert re.search(rf"organization_id = \(?\${place}\b", conditions), (name, table, conditions)
    # Only the operator's commands read the list of imported files.
    assert set(read) == set(tables) - {"usage_imports"}, "no statement reads this table"
