"""Checks row-level security and the rights of the service's role, which protect organizations from each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg

from agentidp.db.database import SERVICE_ROLE
from agentidp.db.migrations import statements_of, steps
from agentidp.db.sql import load_sql
from agentidp.maintenance.result import FAILED, OK, WARNING, Result

_GRANT = re.compile(rf"(grant|revoke) (.+) on (?!schema )(.+) (?:to|from) {SERVICE_ROLE}")
_PRIVILEGE = re.compile(r"(\w+)(?: \(([^)]*)\))?(?:, |$)")


def check_privileges(connection: psycopg.Connection[Any]) -> Iterator[Result]:
    """Check an up-to-date schema. Only the system catalog is read, so any role can run this check."""
    problems = [*_row_security(connection), *_role(connection)]
    granted = {(row.name, row.privilege) for row in _rows(connection, "maintenance/service_privileges")}
    objects = _rows(connection, "maintenance/objects")
    names = {row.name for row in objects}
    expected = {(name, privilege) for name, privilege in expected_privileges() if name in names}
    missing = [f"{privilege} on {name}" for name, privilege in sorted(expected - granted)]
    missing += [f"execute on {row.name}" for row in objects if not row.is_executable]
    if missing:
        problems.append(f"{SERVICE_ROLE} lacks {', '.join(missing)}: grant it as the owner of the tables")
    yield from (Result("privileges", FAILED, problem) for problem in problems)
    if extra := [f"{privilege} on {name}" for name, privilege in sorted(granted - expected)]:
        message = f"{SERVICE_ROLE} has more rights than it needs: revoke {', '.join(extra)}"
        yield Result("privileges", WARNING, message)
    elif not problems:
        yield Result("privileges", OK, f"row-level security is forced, and {SERVICE_ROLE} has the rights that it needs")


def expected_privileges() -> set[tuple[str, str]]:
    """Return the pairs of table and privilege that the migrations grant to the service's role and do not revoke."""
    found: set[tuple[str, str]] = set()
    files = [file for step in steps() for file in step.files]
    for file in files:
        for statement in statements_of(file.read_text(encoding="utf-8")):
            text = " ".join(re.sub(r"--[^\n]*", "", statement).split())
            if grant := _GRANT.fullmatch(text):
                named = {(table, one) for table in grant[3].split(", ") for one in _privileges(grant[2])}
                found = found | named if grant[1] == "grant" else found - named
    return found


def _privileges(text: str) -> Iterator[str]:
    for privilege, columns in _PRIVILEGE.findall(text):
        yield from (f"{privilege} ({column})" for column in columns.split(", ")) if columns else [privilege]


def _row_security(connection: psycopg.Connection[Any]) -> Iterator[str]:
    if open_tables := [row.name for row in _rows(connection, "maintenance/unprotected_tables")]:
        yield f"row-level security is not forced on {', '.join(open_tables)}: as the owner, enable and force it on each"


def _role(connection: psycopg.Connection[Any]) -> Iterator[str]:
    found = _rows(connection, "maintenance/service_role")
    if not found:
        yield f"the role {SERVICE_ROLE} is missing: create it, and grant it the rights again by restoring a backup"
        return
    [role] = found
    if role.is_superuser or role.bypasses_row_security:
        yield f"{SERVICE_ROLE} sees every organization: take SUPERUSER and BYPASSRLS away from it"
    if role.owns:
        yield f"{SERVICE_ROLE} owns {', '.join(role.owns)}: give them to the owner of the other tables"
    if role.member_of:
        yield f"{SERVICE_ROLE} is a member of {', '.join(role.member_of)}: revoke that"


def _rows(connection: psycopg.Connection[Any], statement: str) -> list[Any]:
    return connection.execute(load_sql(statement)).fetchall()
