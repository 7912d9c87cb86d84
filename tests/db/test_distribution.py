"""Distributing the tables: Citus's functions are called for each once, in an order that it takes, until all is done.

Stand-ins for these functions refuse what Citus refuses (tests/citus.py), so this is also the test of the schema.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from agentidp.config import ConfigurationError
from agentidp.db.database import SERVICE_ROLE, load_sql
from agentidp.db.distribution import distribute
from agentidp.db.migrations import MIGRATION_LOCK
from agentidp.db.pipeline import Statement
from tests.citus import install_stand_ins
from tests.conftest import ON_EVERY_POSTGRES
from tests.db.test_migrations import RELEASED, query, wait_for
from tests.test_sql import NAMES, OPERATORS

FUNCTIONS = ["count_at(integer)", "count_nothing()", "resource_key(text)", "take_slot(text)"]
REFERENCE_TABLES = ["clients", "resource_identifiers", "schema_migrations", "signing_keys", "throttles"]
DISTRIBUTED_TABLES = [
    # Those without a foreign key come first, and each other one after those that it references.
    *("agent_usage_daily", "organizations", "revoked_tokens", "usage_daily", "used_identifiers"),
    *("agents", "resource_servers"),
    "credentials",
]
EVERYTHING = [
    *((name, "on every node") for name in FUNCTIONS),
    *((name, "whole on every node") for name in REFERENCE_TABLES),
    *((name, "distributed by organization") for name in DISTRIBUTED_TABLES),
]
CALLS = [
    *(f"send {name}" for name in FUNCTIONS),
    *(f"replicate {name}" for name in REFERENCE_TABLES),
    "distribute agent_usage_daily with none",
    *(f"distribute {name} with agent_usage_daily" for name in DISTRIBUTED_TABLES[1:]),
]


@pytest.fixture
def url(database_url: str) -> str:
    """A migrated database with the stand-ins, as a superuser."""
    install_stand_ins(database_url)
    return database_url


def calls(url: str) -> list[object]:
    """What was called, in order."""
    return [call for (call,) in query(url, "select call from citus.calls order by number")]


def test_calls_for_each_function_and_table_once_in_an_order_that_foreign_keys_allow(url: str) -> None:
    assert list(distribute(url)) == EVERYTHING
    assert calls(url) == CALLS


def test_a_second_run_does_nothing(url: str) -> None:
    list(distribute(url))
    assert list(distribute(url)) == []
    assert calls(url) == CALLS


def test_every_table_is_in_one_of_the_two_classes_and_all_distributed_ones_are_side_by_side(url: str) -> None:
    list(distribute(url))
    classes = query(
        url,
        """
        select relname, partmethod::text, partkey, colocationid
        from pg_class
        left join pg_dist_partition on logicalrelid = pg_class.oid
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
        order by relname
        """,
    )
    assert classes == sorted(
        [
            *((name, "n", None, 0) for name in REFERENCE_TABLES),
            *((name, "h", "organization_id", 1) for name in DISTRIBUTED_TABLES),
        ]
    )


def test_goes_on_where_it_was_interrupted(url: str) -> None:
    done = []
    # Interrupted after two, five and seven more: among the functions, the reference and the distributed tables.
    for how_many in (2, 3, 4):
        interrupted = distribute(url)
        done += itertools.islice(interrupted, how_many)
        interrupted.close()
    done += distribute(url)
    assert done == EVERYTHING
    assert calls(url) == CALLS


def test_goes_on_after_a_table_was_refused(url: str) -> None:
    query(
        url,
        "create trigger by_hand before update on agents for each row "
        "execute function suppress_redundant_updates_trigger()",
    )
    with pytest.raises(ConfigurationError) as refused:
        list(distribute(url))
    assert str(refused.value) == (
        'the tables cannot be distributed: cannot distribute relation "agents" because it has triggers'
    )
    query(url, "drop trigger by_hand on agents")
    list(distribute(url))
    assert calls(url) == CALLS


def test_a_table_of_a_later_migration_joins_the_others(url: str) -> None:
    list(distribute(url))
    query(
        url,
        'create table later (organization_id text collate "C" references organizations, n int, '
        "primary key (organization_id, n))",
    )
    assert list(distribute(url)) == [("later", "distributed by organization")]
    assert calls(url) == [*CALLS, "distribute later with agent_usage_daily"]


POLICY = "cannot create policy: Subqueries are not supported in policies on distributed tables"
KEY = (
    'cannot create constraint on "agents": Distributed relations cannot have UNIQUE, EXCLUDE, or PRIMARY KEY '
    "constraints that do not include the partition column"
)
ORDINAL = (
    "cannot create foreign key constraint: Foreign keys are supported in two cases, either in between two colocated "
    "tables including partition column in the same ordinal in the both tables or from distributed to reference tables"
)


@pytest.mark.parametrize(
    ("change", "refused_after", "sentence"),
    [
        ("create policy p on agents using ((select true))", "used_identifiers", POLICY),
        ("create policy p on throttles with check ((select true))", "signing_keys", POLICY),
        ("create unique index on agents (name)", "used_identifiers", KEY),
        (
            "alter table clients add foreign key (organization_id) references organizations",
            "throttles",
            "cannot create foreign key constraint: Referenced table must be a distributed table or a reference table.",
        ),
        (
            "create unique index on agents (organization_id, name); "
            "create table x (organization_id text, name text, primary key (organization_id, name), "
            "foreign key (name, organization_id) references agents (organization_id, name))",
            "credentials",
            ORDINAL,
        ),
        (
            "alter table agents drop constraint agents_organization_id_fkey, "
            "add foreign key (organization_id) references organizations on update cascade",
            "used_identifiers",
            "cannot create foreign key constraint: SET NULL, SET DEFAULT or CASCADE is not supported",
        ),
    ],
)
def test_a_schema_that_breaks_a_rule_is_refused(url: str, change: str, refused_after: str, sentence: str) -> None:
    query(url, change)
    done = []
    with pytest.raises(ConfigurationError) as refused:
        done.extend(distribute(url))
    assert str(refused.value) == f"the tables cannot be distributed: {sentence}"
    assert [name for name, _ in done][-1] == refused_after


def test_a_database_without_citus_is_refused_and_left_as_it_is(database_url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        list(distribute(database_url))
    assert str(refused.value) == (
        "the database has no Citus: install it on the coordinator and on every worker, and there let a superuser run "
        '"create extension citus"'
    )


def test_who_is_under_row_level_security_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        list(distribute(f"{url}&options=-crole%3D{SERVICE_ROLE}"))
    assert str(refused.value) == (
        "AGENTIDP_DATABASE_URL must name a superuser for this: PostgreSQL lets nobody else copy rows into tables under "
        "forced row-level security"
    )
    assert calls(url) == []


def test_postgresql_lets_an_owner_under_forced_row_level_security_copy_nothing(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create temporary table rows (n integer)")
        connection.execute("alter table rows enable row level security, force row level security")
        connection.execute(f"alter table rows owner to {SERVICE_ROLE}")
        with connection.cursor() as cursor, cursor.copy("copy rows from stdin") as copy:
            copy.write_row([1])
        connection.execute(f"set role {SERVICE_ROLE}")
        with (
            pytest.raises(psycopg.errors.FeatureNotSupported, match="COPY FROM not supported with row-level security"),
            connection.cursor() as cursor,
            cursor.copy("copy rows from stdin") as copy,
        ):
            copy.write_row([1])


def test_a_schema_that_is_behind_is_refused(url: str) -> None:
    query(url, f"delete from schema_migrations where name = '{RELEASED[-1]}'")
    with pytest.raises(ConfigurationError) as refused:
        list(distribute(url))
    assert str(refused.value) == "the schema is not up to date: run agentidp db migrate first, as the owner"
    assert calls(url) == []


def test_waits_for_a_migration_that_is_under_way(url: str) -> None:
    done: list[tuple[str, str]] = []
    thread = threading.Thread(target=lambda: done.extend(distribute(url)))
    with psycopg.connect(url, autocommit=True) as migrating:
        migrating.execute(load_sql("database/lock_migrations"), {"key": MIGRATION_LOCK})
        thread.start()
        wait_for(url, "exists (select from pg_locks where locktype = 'advisory' and not granted)")
        assert calls(url) == []
    thread.join(30)
    assert done == EVERYTHING


SERVICES = [name for name in NAMES if name not in OPERATORS and not re.match(r"database/set_local|database/look", name)]


def scans(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each distributed table that a plan reads, and the conditions on what it reads there."""
    conditions = " ".join(str(plan[key]) for key in ("Index Cond", "Recheck Cond", "Filter") if key in plan)
    if plan["Node Type"] == "Bitmap Heap Scan":
        conditions += " ".join(str(child.get("Index Cond")) for child in plan["Plans"])
    if plan.get("Relation Name") in DISTRIBUTED_TABLES and plan["Node Type"] != "ModifyTable":
        yield plan["Relation Name"], conditions
    for child in plan.get("Plans", ()):
        yield from scans(child)


@ON_EVERY_POSTGRES
def test_each_statement_keeps_to_one_organization_wherever_it_reads(database_url: str) -> None:
    read: Counter[str] = Counter()
    # As a superuser, for whom no policy adds the organization; a parameter stays one in a generic plan.
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set plan_cache_mode to force_generic_plan")
        connection.execute("set enable_seqscan to off")
        for name in SERVICES:
            text, parameters = Statement.of(load_sql(name))
            connection.execute(b"prepare planned as " + text)
            nothing = f"({', '.join(['null'] * len(parameters))})" if parameters else ""
            [(explained,)] = connection.execute(f"explain (format json, verbose) execute planned {nothing}".encode())
            connection.execute("deallocate planned")
            for table, conditions in scans(explained[0]["Plan"]):
                read[table] += 1
                place = parameters.index("organization_id") + 1
                assert re.search(rf"organization_id = \(?\${place}\b", conditions), (name, table, conditions)
    assert set(read) == set(DISTRIBUTED_TABLES)
