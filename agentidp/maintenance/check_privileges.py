"""Checks row-level security and the rights of the service's role, which protect organizations from each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg

from agentidp.db.database import SERVICE_ROLE
from agentidp.db.migrations import steps
from agentidp.db.sql import load_sql
from agentidp.maintenance.result import FAILED, OK, WARNING

_GRANT = re.compile(rf"(grant|revoke) (.+) on (?!schema )(.+) (?:to|from) {SERVICE_ROLE}")
_PRIVILEGE = re.compile(r"(\w+)(?: \(([^)]*)\))?(?:, |$)")


def check_privileges(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Check an up-to-date schema, and yield pairs of status and message. Only the system catalog is read."""
    problems = list(_find_problems(connection))
    granted = {(row.name, row.privilege) for row in _rows(connection, "maintenance/service_privileges")}
    objects = _rows(connection, "maintenance/objects")
    names = {row.name for row in objects}
    expected = {(name, privilege) for name, privilege in expected_privileges() if name in names}
    missing = [f"{privilege} on {name}" for name, privilege in sorted(expected - granted)]
    missing += [f"execute on {row.name}" for row in objects if not row.is_executable]
    if missing:
        problems.append(f"{SERVICE_ROLE} lacks {', '.join(missing)}: grant it as the owner of the tables")
    yield from ((FAILED, problem) for problem in problems)
    if extra := [f"{privilege} on {name}" for name, privilege in sorted(granted - expected)]:
        yield WARNING, f"{SERVICE_ROLE} has more rights than it needs: revoke {', '.join(extra)}"
    elif not problems:
        yield OK, f"row-level security is forced, and {SERVICE_ROLE} has the rights that it needs"


def expected_privileges() -> set[tuple[str, str]]:
    """Return the pairs of table and privilege that the migrations grant to the service's role and do not revoke."""
    privileges: set[tuple[str, str]] = set()
    for statement in (statement for step in steps() for statement in step.statements()):
        if grant := _GRANT.fullmatch(" ".join(re.sub(r"--[^\n]*", "", statement).split())):
            tables = grant[3].split(", ")
            change = {(table, privilege) for table in tables for privilege in _split_privileges(grant[2])}
            privileges = privileges | change if grant[1] == "grant" else privileges - change
    return privileges


def _split_privileges(privileges: str) -> Iterator[str]:
    for privilege, columns in _PRIVILEGE.findall(privileges):
        yield from (f"{privilege} ({column})" for column in columns.split(", ")) if columns else [privilege]


def _find_problems(connection: psycopg.Connection[Any]) -> Iterator[str]:
    if open_tables := [row.name for row in _rows(connection, "maintenance/unprotected_tables")]:
        yield f"row-level security is not forced on {', '.join(open_tables)}: as the owner, enable and force it on each"
    roles = _rows(connection, "maintenance/service_role")
    if not roles:
        yield f"the role {SERVICE_ROLE} is missing: create it, and grant it the rights again by restoring a backup"
        return
    [role] = roles
    if role.is_superuser or role.bypasses_row_security:
        yield f"{SERVICE_ROLE} sees every organization: take SUPERUSER and BYPASSRLS away from it"
    if role.owns:
        yield f"{SERVICE_ROLE} owns {', '.join(role.owns)}: give them to the owner of the other tables"
    if role.member_of:
        yield f"{SERVICE_ROLE} is a member of {', '.join(role.member_of)}: revoke that"


def _rows(connection: psycopg.Connection[Any], statement: str) -> list[Any]:
    return connection.execute(load_sql(statement)).fetchall()
