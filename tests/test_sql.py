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
from agentidp.db.sql import sql_directory
from tests.catalog import INSTANCE_WIDE

PACKAGE = Path(__file__).resolve().parent.parent / "agentidp"
NAMES = sorted(
    str(file.relative_to(sql_directory()).with_suffix(""))
    for file in sql_directory().rglob("*.sql")
    if file.parent.name not in ("functions", "migrations", "schema")
)
SCHEMA = sorted((sql_directory() / "schema").glob("*.sql"))
MIGRATIONS = sorted((sql_directory() / "migrations").glob("*.sql"))
FUNCTIONS = sorted((sql_directory() / "functions").glob("*.sql"))
OF_AN_ORGANIZATION = [file for file in FUNCTIONS if "language plpgsql" in file.read_text(encoding="utf-8")]
"""Functions with statements, which run beside the organization's rows. The others only calculate."""

OPERATORS = {
    "agents/erase_agent",
    "agents/erase_findings",
    "agents/erase_labels",
    "agents/erase_marker_notes",
    "audit/all_heads",
    "audit/erase_content",
    "audit/last_before",
    "audit/prune_events",
    "audit/unchained_organizations",
    "alerts/all_targets",
    "alerts/forget_deliveries",
    "alerts/reseal_target",
    "alerts/waiting_organizations",
    "database/change_login_role",
    "database/configure_operator",
    "database/create_login_role",
    "database/create_schema_migrations",
    "database/forget_functions",
    "database/lock_migrations",
    "database/lock_transaction",
    "database/missing_rights",
    "database/record_migration",
    "distribution/distribute_function",
    "distribution/distribute_table",
    "distribution/functions",
    "distribution/grant_views",
    "distribution/keeps_plans",
    "distribution/let_service_log_in",
    "distribution/plan_by_index",
    "distribution/plan_each_time",
    "distribution/plan_once",
    "distribution/plan_without_jit",
    "distribution/plans_each_time",
    "distribution/readiness",
    "distribution/replicate_table",
    "distribution/send_function",
    "distribution/tables",
    "maintenance/become_service",
    "maintenance/count_contents",
    "maintenance/estimate_rows",
    "maintenance/export_snapshot",
    "maintenance/is_replica",
    "maintenance/is_watched",
    "maintenance/objects",
    "maintenance/other_sessions",
    "maintenance/rows_copied",
    "maintenance/service_privileges",
    "maintenance/service_role",
    "maintenance/statements_that_drop",
    "maintenance/unprotected_tables",
    "maintenance/what_a_role_is",
    "maintenance/what_a_role_sees",
    "oauth/all_resource_identifiers",
    "oauth/all_resource_servers",
    "oauth/assign_resource",
    "oauth/release_resource",
    "oauth/resource_holder",
    "organizations/add_organization",
    "organizations/all_organizations",
    "organizations/erase_organization",
    "organizations/suspend_organization",
    "signing_keys/add_key",
    "signing_keys/reseal_key",
    "signing_keys/revoke_key",
    "usage_history/add_usage",
    "usage_history/agents",
    "usage_history/days_before",
    "usage_history/delete_agent_usage",
    "usage_history/delete_sums",
    "usage_history/delete_refusals",
    "usage_history/delete_usage",
    "usage_history/export_csv",
    "usage_history/export_ndjson",
    "usage_history/record_import",
    "usage_history/sum_month",
}
"""Statements that run as the role that owns the tables, and not as the service's."""

PARAMETER = re.compile(r"%\((\w+)\)s")


def parts(name: str) -> tuple[str, str]:
    """The opening comment of a file and the statement after it."""
    lines = (sql_directory() / f"{name}.sql").read_text(encoding="utf-8").splitlines(keepends=True)
    opening = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return "".join(lines[:opening]), "".join(lines[opening:])


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


# Those of distribution/ call functions of Citus; tests/db/test_distribution.py runs them on a cluster.
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("distribution/")])
def test_prepares_as_the_role_that_runs_it(service: psycopg.Connection, name: str) -> None:
    numbers: dict[str, str] = {}
    statement = PARAMETER.sub(lambda m: numbers.setdefault(m[1], f"${len(numbers) + 1}"), parts(name)[1])
    with service.transaction(force_rollback=True):
        if name in OPERATORS:
            service.execute("reset role")
        if name == "database/change_login_role":
            service.execute(parts("database/create_login_role")[1])
        # PREPARE takes the query of a COPY, but no COPY.
        statement = re.sub(r"\A\s*copy \((.*)\) to stdout.*\Z", r"\1", statement, flags=re.DOTALL)
        # PREPARE takes no definition of a table and no setting, so these are run, and rolled back.
        prefix = "" if re.match(r"\s*(create|alter|set)\b", statement) else f'prepare "{name}" as '
        if statement.startswith(("set", "alter")):
            statement = re.sub(r"\$\d", "'off'", statement)
        try:
            service.execute(f"{prefix}{statement.replace('%%', '%')}")
        except psycopg.errors.InsufficientPrivilege as refused:
            pytest.fail(f"{refused}: grant it in a migration, or add {name} to OPERATORS if only an operator runs it")


def test_each_file_is_used_and_each_use_has_a_file() -> None:
    used = {
        text
        for _, text in strings()
        if re.fullmatch(r"[a-z_]+(/[a-z_]+)+", text) and (sql_directory() / text).parent.is_dir()
    }
    assert used == set(NAMES)


def test_no_statement_stands_in_two_files() -> None:
    seen: dict[str, str] = {}
    for name in NAMES:
        statement = " ".join(parts(name)[1].split())
        assert statement not in seen, f"{name} is {seen[statement]} again"
        seen[statement] = name


@pytest.mark.parametrize("name", NAMES)
def test_begins_with_a_comment_that_says_what_it_returns_and_names_its_parameters(name: str) -> None:
    comment, statement = parts(name)
    assert re.match(r"-- [A-Z]", comment)
    assert re.search(r"\brow\b|\browless\b|\bReturns\b", comment), "what it returns"
    _, colon, told = comment.replace("\n-- ", " ").partition("Parameters: ")
    assert colon, "its parameters"
    used = set(PARAMETER.findall(statement))
    assert {name for name in used if not re.search(rf"\b{name}\b", told)} == set()
    if not used:
        assert told.startswith("none") or "not used" in told


@pytest.mark.parametrize("name", NAMES)
def test_is_one_statement_in_lower_case(name: str) -> None:
    # In a statement, a text between dollars can have several.
    statement = re.sub(r"--[^\n]*|'[^']*'|\"[^\"]*\"|%\(\w+\)s|\$(\w*)\$.*?\$\1\$", "", parts(name)[1], flags=re.DOTALL)
    assert ";" not in statement
    assert statement == statement.lower()


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
    assert re.search(r"function \w+\(\n    p_organization_id text,\n", file.read_text(encoding="utf-8"))


def test_every_function_has_a_file(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            """
            select proname
            from pg_proc
            where
                pronamespace = 'public'::regnamespace
                and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
            """
        ).fetchall()
    assert sorted(name for (name,) in found) == [file.stem for file in FUNCTIONS]


def test_migrations_count_up_from_those_of_0_2_0_without_a_gap() -> None:
    assert [int(file.stem[:4]) for file in MIGRATIONS] == list(range(29, 29 + len(MIGRATIONS)))


def test_there_is_no_sql_in_python() -> None:
    sql = re.compile(
        r"\bselect\b.+\bfrom\b|\bselect \w+\(|\binsert into\b|\bupdate \w+ set\b|\bdelete from\b|\btruncate \w|"
        r"\b(create|alter|drop) (table|role|database|index|function|policy|schema|view)\b|"
        r"\bset (local|role|session)\b|\bvalues \(|\bcopy \w+ (\(|from\b)",
        re.IGNORECASE | re.DOTALL,
    )
    found = [(file.name, text) for file, text in strings() if sql.search(text)]
    assert found == []


def test_every_unique_key_holds_the_organization(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        keys = connection.execute(
            """
            select t.relname, i.relname, 'organization_id' = any (array(
                select attname::text from pg_attribute where attrelid = t.oid and attnum = any (x.indkey)))
            from pg_index x
            join pg_class t on t.oid = x.indrelid
            join pg_class i on i.oid = x.indexrelid
            where t.relnamespace = 'public'::regnamespace and x.indisunique
            """
        ).fetchall()
    assert len(keys) >= 8
    without = {table: key for table, key, holds in keys if not holds}
    assert set(without) == INSTANCE_WIDE, f"put the organization into the key: {without}"


def test_no_policy_holds_a_sub_select(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        policies = connection.execute(
            """
            select polrelid::regclass::text, polname, pg_get_expr(polqual, polrelid),
                concat(polqual::text, polwithcheck::text) ~ 'SUBLINK'
            from pg_policy
            """
        ).fetchall()
    own = "(organization_id = current_setting('agentidp.organization_id'::text, true))"
    assert {name: condition for _, name, condition, _ in policies} == {
        "own_organization": own,
        "any_client_can_be_looked_up": "true",
        "operator": "true",
    }
    assert {condition for _, name, condition, _ in policies if name == "own_organization"} == {own}
    assert [(table, name) for table, name, _, has_sub_select in policies if has_sub_select] == []
