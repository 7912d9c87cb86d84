"""The files in sql/: each is one statement that prepares, is used, and says what it does; the schema's keys."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from flask import Flask

from agentidp.db.database import SERVICE_ROLE
from agentidp.db.sql import load_sql, sql_directory
from tests.catalog import INSTANCE_WIDE, references
from tests.factories import execute
from tests.helpers.functions import FUNCTIONS, OF_AN_ORGANIZATION
from tests.statements import NAMES, header, numbered, parameters_of

PACKAGE = Path(__file__).resolve().parent.parent / "agentidp"
SCHEMA = sorted((sql_directory() / "schema").glob("*.sql"))
MIGRATIONS = sorted((sql_directory() / "migrations").glob("*.sql"))


def strings() -> Iterator[tuple[Path, str]]:
    """Every string in the package that is not a docstring."""
    # The launcher makes the cluster, before there is a database whose statements could stand in sql/.
    for file in sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "db" / "embedded_postgres" / "server.py"}):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docstrings = {id(statement.value) for statement in ast.walk(tree) if isinstance(statement, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield file, node.value


@pytest.fixture(scope="module")
def service(shared_app: Flask) -> Iterator[psycopg.Connection]:
    """A connection of the service's role; nothing that it does stays."""
    url = shared_app.extensions["agentidp"].settings.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"set role {SERVICE_ROLE}")
        yield connection


# Statements in distribution/ call functions of Citus. tests/db/test_distribution.py runs them on a cluster.
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("distribution/")])
def test_prepares_as_the_role_that_runs_it(service: psycopg.Connection, name: str) -> None:
    statement = numbered(name)
    with service.transaction(force_rollback=True):
        if header(name).run_by == "operator":
            service.execute("reset role")
        if name == "database/change_login_role":
            service.execute(load_sql("database/create_login_role"))
        # PREPARE takes the query of a COPY, but no COPY.
        statement = re.sub(r"\A\s*copy \((.*)\) to stdout.*\Z", r"\1", statement, flags=re.DOTALL)
        # PREPARE takes no definition of a table and no setting, so these are run, and rolled back.
        prefix = "" if re.match(r"\s*(create|alter|set)\b", statement) else f'prepare "{name}" as '
        if statement.startswith(("set", "alter")):
            statement = re.sub(r"\$\d", "'off'", statement)
        try:
            service.execute(f"{prefix}{statement}")
        except psycopg.errors.InsufficientPrivilege as refused:
            pytest.fail(f'{refused}: grant it in a migration, or say "-- for: operator" in {name}')


def test_each_file_is_used_and_each_use_has_a_file() -> None:
    used = {
        text
        for _, text in strings()
        if re.fullmatch(r"[a-z_]+(/[a-z_]+)+", text) and (sql_directory() / text).parent.is_dir()
    }
    assert used == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_begins_with_a_comment_that_says_what_it_returns_and_names_its_parameters(name: str) -> None:
    comment = header(name).comment
    assert re.match(r"-- [A-Z]", comment)
    assert re.search(r"\brow\b|\browless\b|\bReturns\b", comment), "what it returns"
    _, colon, told = comment.replace("\n-- ", " ").partition("Parameters: ")
    used = set(parameters_of(name))
    assert bool(colon) == bool(used), "a list of parameters, unless there are none"
    assert {name for name in used if not re.search(rf"\b{name}\b", told)} == set()
    assert documented(told) - used == set(), "parameters that the statement does not use"


def documented(told: str) -> set[str]:
    """Return the parameters that a header names where a parameter is described: at the beginning of a description."""
    names: set[str] = set()
    for description in re.split(r"[;.]", re.sub(r"\([^()]*\)", "", told)):
        head = description.partition(":")[0]
        listed = re.match(r"\s*([a-z_]+(?:(?:,? and |, |,? or )[a-z_]+\b)*)\s*(?=,|$)", head)
        if listed:
            names |= set(re.split(r",? and |, |,? or ", listed[1]))
    return names


@pytest.mark.parametrize("file", [*SCHEMA, *MIGRATIONS], ids=lambda file: file.stem)
def test_a_file_of_the_schema_is_numbered_and_says_what_it_does(file: Path) -> None:
    assert re.fullmatch(r"([0-9]|[0-9]{4})_[a-z_]+", file.stem)
    assert re.match(r"-- [A-Z]", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FUNCTIONS, ids=lambda file: file.stem)
def test_a_function_can_be_replaced_and_its_file_has_its_name(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert re.match(r"-- [A-Z]", text)
    assert re.findall(r"^create or replace function (\w+)\(", text, re.MULTILINE) == [file.stem]


@pytest.mark.parametrize("file", OF_AN_ORGANIZATION, ids=lambda file: file.stem)
def test_a_function_with_statements_has_the_organization_first(file: Path) -> None:
    # Citus finds the server by this parameter.
    assert re.search(r"function \w+\(\n    p_organization_id text,?\n", file.read_text(encoding="utf-8"))


def test_every_function_has_a_file(database_url: str) -> None:
    function_rows = execute(
        database_url,
        """
        select proname
        from pg_proc
        where
            pronamespace = 'public'::regnamespace
            and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
        """,
    )
    conditions = re.findall(r"^create function (\w+)\(", "".join(map(Path.read_text, MIGRATIONS)), re.MULTILINE)
    assert sorted(name for (name,) in function_rows) == sorted([*conditions, *(file.stem for file in FUNCTIONS)])


def test_migrations_count_up_from_the_schema_without_a_gap() -> None:
    assert [int(file.stem[:4]) for file in MIGRATIONS] == list(range(2, 2 + len(MIGRATIONS)))


def test_there_is_no_sql_in_python() -> None:
    sql = re.compile(
        r"\bselect\b.+\bfrom\b|\bselect \w+\(|\binsert into\b|\bupdate \w+ set\b|\bdelete from\b|\btruncate \w|"
        r"\b(create|alter|drop) (table|role|database|index|function|policy|schema|view)\b|"
        r"\bset (local|role|session)\b|\bvalues \(|\bcopy \w+ (\(|from\b)",
        re.IGNORECASE | re.DOTALL,
    )
    statements = [(file.name, text) for file, text in strings() if sql.search(text)]
    assert statements == []


def test_every_unique_key_holds_the_organization(database_url: str) -> None:
    keys = execute(
        database_url,
        """
        select t.relname, i.relname, 'organization_id' = any (array(
            select attname::text from pg_attribute where attrelid = t.oid and attnum = any (x.indkey)))
        from pg_index x
        join pg_class t on t.oid = x.indrelid
        join pg_class i on i.oid = x.indexrelid
        where t.relnamespace = 'public'::regnamespace and x.indisunique
        """,
    )
    assert len(keys) >= 8
    without = {table: key for table, key, holds in keys if not holds}
    assert set(without) == INSTANCE_WIDE, f"put the organization into the key: {without}"


def test_no_policy_holds_a_sub_select(database_url: str) -> None:
    policies = execute(
        database_url,
        """
        select polrelid::regclass::text, polname, pg_get_expr(polqual, polrelid),
            concat(polqual::text, polwithcheck::text) ~ 'SUBLINK'
        from pg_policy
        """,
    )
    own = "(organization_id = current_setting('agentidp.organization_id'::text, true))"
    assert {name: condition for _, name, condition, _ in policies} == {
        "own_organization": own,
        "any_client_can_be_looked_up": "true",
        "operator": "true",
    }
    assert {condition for _, name, condition, _ in policies if name == "own_organization"} == {own}
    assert [(table, name) for table, name, _, has_sub_select in policies if has_sub_select] == []


def test_the_owner_sees_every_row_that_a_row_it_sees_references(database_url: str) -> None:
    """Citus compares them as the owner when it moves a shard, because it adds the foreign keys to the shard again."""
    visible = {
        table
        for (table,) in execute(
            database_url, "select polrelid::regclass::text from pg_policy where polname = 'operator'"
        )
    }
    with psycopg.connect(database_url) as connection:
        hidden = {pair for pair in references(connection) if pair[0] in visible and pair[1] not in visible}
    assert hidden == set(), "give the referenced table the policy operator in a migration"
