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
from psycopg.rows import tuple_row

from agentidp.config import ConfigurationError
from agentidp.db.database import SERVICE_ROLE
from agentidp.db.distribution import distribute
from agentidp.db.migrations import MIGRATION_LOCK
from agentidp.db.pipeline import Statement
from agentidp.db.sql import load_sql
from tests import catalog
from tests.catalog import INSTANCE_WIDE
from tests.citus import install_stand_ins
from tests.conftest import ON_EVERY_POSTGRES
from tests.db.test_migrations import RELEASED, query, wait_for
from tests.factories import PATIENCE
from tests.test_sql import NAMES, OPERATORS

ON_EVERY_NODE = INSTANCE_WIDE | {"throttles"}
"""Tables that are whole on every node: those of no organization, and throttles, which all name the same one."""


def distributed_tables(url: str) -> list[str]:
    """The other tables, those without a foreign key first, and each other one after those that it references."""
    return [name for name, how in everything(url) if how == "distributed by organization"]


def everything(url: str) -> list[tuple[str, str]]:
    """What is to be distributed of a schema, in order, and how."""
    with psycopg.connect(url, row_factory=tuple_row) as connection:
        tables, foreign_keys = catalog.tables(connection), catalog.references(connection)
        functions = connection.execute(
            "select oid::regprocedure::text from pg_proc where pronamespace = 'public'::regnamespace"
        ).fetchall()

    def place(table: str) -> tuple[int, str]:
        return max((place(to)[0] + 1 for of, to in foreign_keys if of == table), default=0), table

    return [
        *((name, "on every node") for (name,) in sorted(functions)),
        *((name, "whole on every node") for name in sorted(tables & ON_EVERY_NODE, key=place)),
        *((name, "distributed by organization") for name in sorted(tables - ON_EVERY_NODE, key=place)),
    ]


def expected_calls(url: str) -> list[str]:
    """The calls of Citus's functions that :func:`everything` takes: the first table distributed leads the others."""
    first, *_ = distributed_tables(url)
    call = {
        "on every node": "send {}",
        "whole on every node": "replicate {}",
        "distributed by organization": f"distribute {{}} with {first}",
    }
    done = [call[how].format(name) for name, how in everything(url)]
    return [f"distribute {first} with none" if one == f"distribute {first} with {first}" else one for one in done]


@pytest.fixture
def url(database_url: str) -> str:
    """A migrated database with the stand-ins, as a superuser."""
    install_stand_ins(database_url)
    return database_url


def calls(url: str) -> list[object]:
    """What was called, in order."""
    return [call for (call,) in query(url, "select call from citus.calls order by number")]


def test_calls_for_each_function_and_table_once_in_an_order_that_foreign_keys_allow(url: str) -> None:
    assert len(everything(url)) >= 17
    assert list(distribute(url)) == everything(url)
    assert calls(url) == expected_calls(url)


def test_a_second_run_does_nothing(url: str) -> None:
    list(distribute(url))
    assert list(distribute(url)) == []
    assert calls(url) == expected_calls(url)


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
            *((name, "n", None, 0) for name in ON_EVERY_NODE),
            *((name, "h", "organization_id", 1) for name in distributed_tables(url)),
        ]
    ), "add a table whose primary key does not hold the organization to INSTANCE_WIDE in tests/catalog.py"


def test_goes_on_where_it_was_interrupted(url: str) -> None:
    done = []
    # Interrupted after two, five and seven more: among the functions, the reference and the distributed tables.
    for how_many in (2, 3, 4):
        interrupted = distribute(url)
        done += itertools.islice(interrupted, how_many)
        interrupted.close()
    done += distribute(url)
    assert done == everything(url)
    assert calls(url) == expected_calls(url)


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
    assert calls(url) == expected_calls(url)


def test_a_table_of_a_later_migration_joins_the_others(url: str) -> None:
    before = expected_calls(url)
    list(distribute(url))
    query(
        url,
        'create table later (organization_id text collate "C" references organizations, n int, '
        "primary key (organization_id, n))",
    )
    assert list(distribute(url)) == [("later", "distributed by organization")]
    assert calls(url) == [*before, f"distribute later with {distributed_tables(url)[0]}"]


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
    ("change", "refused", "sentence"),
    [
        ("create policy p on agents using ((select true))", "agents", POLICY),
        ("create policy p on throttles with check ((select true))", "throttles", POLICY),
        ("create unique index on agents (name)", "agents", KEY),
        (
            "alter table clients add foreign key (organization_id) references organizations",
            "clients",
            "cannot create foreign key constraint: Referenced table must be a distributed table or a reference table.",
        ),
        (
            "create unique index on agents (organization_id, name); "
            "create table x (organization_id text, name text, primary key (organization_id, name), "
            "foreign key (name, organization_id) references agents (organization_id, name))",
            "x",
            ORDINAL,
        ),
        (
            "alter table agents drop constraint agents_organization_id_fkey, "
            "add foreign key (organization_id) references organizations on update cascade",
            "agents",
            "cannot create foreign key constraint: SET NULL, SET DEFAULT or CASCADE is not supported",
        ),
    ],
)
def test_a_schema_that_breaks_a_rule_is_refused(url: str, change: str, refused: str, sentence: str) -> None:
    query(url, change)
    done = []
    with pytest.raises(ConfigurationError) as error:
        done.extend(distribute(url))
    assert str(error.value) == f"the tables cannot be distributed: {sentence}"
    assert done == list(itertools.takewhile(lambda one: one[0] != refused, everything(url)))


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
    thread.join(PATIENCE)
    assert done == everything(url)


SERVICES = [name for name in NAMES if name not in OPERATORS and not re.match(r"database/set_local|database/look", name)]


def scans(plan: dict[str, Any], tables: list[str]) -> Iterator[tuple[str, str]]:
    """Each of *tables* that a plan reads, and the conditions on what it reads there."""
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
            for table, conditions in scans(explained[0]["Plan"], tables):
                read[table] += 1
                place = parameters.index("organization_id") + 1
                assert re.search(rf"organization_id = \(?\${place}\b", conditions), (name, table, conditions)
    # Only the operator's commands read which files were imported.
    assert set(read) == set(tables) - {"usage_imports"}, "no statement reads this table"
