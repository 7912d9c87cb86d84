"""Checks row-level security and the rights of the service's role, which protect organizations from each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg

from agentidp.db.database import SERVICE_ROLE
from agentidp.db.migrations import steps
from agentidp.db.sql import run_statement
from agentidp.maintenance.result import FAILED, OK, WARNING

_GRANT = re.compile(rf"(grant|revoke) (.+) on (?!schema )(.+) (?:to|from) {SERVICE_ROLE}")
_PRIVILEGE = re.compile(r"(\w+)(?: \(([^)]*)\))?(?:, |$)")


def check_privileges(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Check row-level security and the service's privileges, and yield pairs of a status and a message."""
    problems = list(_find_security_problems(connection))
    actual_grants = {
        (grant_row.name, grant_row.privilege)
        for grant_row in run_statement(connection, "maintenance/service_privileges")
    }
    object_rows = run_statement(connection, "maintenance/objects")
    object_names = {object_row.name for object_row in object_rows}
    expected_grants = {(name, privilege) for name, privilege in list_expected_privileges() if name in object_names}
    missing_grants = [f"{privilege} on {name}" for name, privilege in sorted(expected_grants - actual_grants)]
    missing_grants += [f"execute on {object_row.name}" for object_row in object_rows if not object_row.is_executable]
    if missing_grants:
        problems.append(f"{SERVICE_ROLE} lacks {', '.join(missing_grants)}: grant it as the owner of the tables")
    yield from ((FAILED, problem) for problem in problems)
    extra_grants = [f"{privilege} on {name}" for name, privilege in sorted(actual_grants - expected_grants)]
    if extra_grants:
        yield WARNING, f"{SERVICE_ROLE} has more rights than it needs: revoke {', '.join(extra_grants)}"
    elif not problems:
        yield OK, f"row-level security is forced, and {SERVICE_ROLE} has the rights that it needs"


def list_expected_privileges() -> set[tuple[str, str]]:
    """Return pairs of a table and a privilege that the migrations grant to the service and do not revoke later."""
    grants: set[tuple[str, str]] = set()
    for statement in (statement for step in steps() for statement in step.statements()):
        if grant_match := _GRANT.fullmatch(" ".join(re.sub(r"--[^\n]*", "", statement).split())):
            tables = grant_match[3].split(", ")
            changed_grants = {(table, privilege) for privilege in _split_privileges(grant_match[2]) for table in tables}
            grants = grants | changed_grants if grant_match[1] == "grant" else grants - changed_grants
    return grants


def _split_privileges(privilege_list: str) -> Iterator[str]:
    for privilege, columns in _PRIVILEGE.findall(privilege_list):
        yield from (f"{privilege} ({column})" for column in columns.split(", ")) if columns else [privilege]


def _find_security_problems(connection: psycopg.Connection[Any]) -> Iterator[str]:
    table_rows = run_statement(connection, "maintenance/unprotected_tables")
    if table_names := ", ".join(table_row.name for table_row in table_rows):
        yield f"row-level security is not forced on {table_names}: as the owner, enable and force it on each"
    role_rows = run_statement(connection, "maintenance/service_role")
    if not role_rows:
        yield f"the role {SERVICE_ROLE} is missing: create it, and grant it the rights again by restoring a backup"
        return
    [role_row] = role_rows
    if role_row.is_superuser or role_row.bypasses_row_security:
        yield f"{SERVICE_ROLE} sees every organization: take SUPERUSER and BYPASSRLS away from it"
    if role_row.owns:
        yield f"{SERVICE_ROLE} owns {', '.join(role_row.owns)}: give them to the owner of the other tables"
    if role_row.member_of:
        yield f"{SERVICE_ROLE} is a member of {', '.join(role_row.member_of)}: revoke the membership"
