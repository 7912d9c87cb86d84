"""Checks the database: the server, its clock, the schema, the keys, and whether ``agentidp watch`` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg

from agentidp.alerts.target_secrets import TargetSealer
from agentidp.config import LEEWAY, OLDEST_POSTGRESQL, ConfigurationError, Settings
from agentidp.db.clock_check import difference, seconds_ahead
from agentidp.db.database import configure_operator, reach
from agentidp.db.migrations import applied_steps, pending_steps, steps
from agentidp.db.organization import operator_transaction
from agentidp.db.sql import load_sql
from agentidp.http.schemas import timestamp
from agentidp.jose.key_rotation import describe_rows
from agentidp.jose.key_sealing import KeySealer
from agentidp.jose.sealing import Unreadable
from agentidp.maintenance.check_privileges import check_privileges
from agentidp.maintenance.result import FAILED, OK, WARNING, Result
from agentidp.server.watch import WATCH_LOCK

OLD_KEY = timedelta(days=400)
"""Age at which a signing key should be rotated."""


def check_database(settings: Settings, at: datetime) -> Iterator[Result]:
    """Check the database that the settings name.

    :param settings: settings with the database's URL.
    :param at: the current time.
    """
    try:
        connection = reach(str(settings.database_url))
    except ConfigurationError as error:
        yield Result("database", FAILED, f"{error}. Nothing in it was checked")
        return
    with connection:
        version = connection.info.parameter_status("server_version")
        if connection.info.server_version < OLDEST_POSTGRESQL * 10_000:
            message = f"PostgreSQL {OLDEST_POSTGRESQL} or newer is needed, not {version}. Nothing else was checked"
            yield Result("database", FAILED, message)
            return
        configure_operator(connection)
        [role] = connection.execute(load_sql("maintenance/what_a_role_is")).fetchall()
        yield Result("database", OK, f"PostgreSQL {version}, database {role.database_name}, role {role.role_name}")
        yield _clock(connection)
        yield Result("time zone", OK, f"days and hours are UTC's, whatever the database ({role.time_zone}) and TZ say")
        if not role.has_schema:
            yield Result("schema", WARNING, "the database is empty: agentidp db migrate")
            return
        for name, check in _checks(settings, role, at):
            try:
                results = list(check(connection))
            except psycopg.Error as error:
                results = [Result(name, FAILED, f"cannot be checked: {error.diag.message_primary or error}")]
            yield from results
            if name == "schema" and results[0].status != OK:
                # The further checks need an up-to-date schema.
                return


def check_replica(url: str) -> Result:
    """Check that the read replica responds, and that it is a replica."""
    try:
        with reach(url, "AGENTIDP_READ_DATABASE_URL") as connection:
            configure_operator(connection)
            [row] = connection.execute(load_sql("maintenance/is_replica")).fetchall()
    except ConfigurationError as error:
        return Result("read replica", WARNING, f"{error}: until it does, the primary serves its reads")
    if not row.is_replica:
        return Result(
            "read replica", WARNING, "the server of AGENTIDP_READ_DATABASE_URL is no replica: correct the URL"
        )
    return Result("read replica", OK, "responds")


Check = Callable[[psycopg.Connection[Any]], Iterator[Result]]


def _checks(settings: Settings, role: Any, at: datetime) -> Iterator[tuple[str, Check]]:
    if not role.is_owner and role.may_serve:
        # A login that may only serve reads the schema's version and the keys as the service's role.
        yield "role", _become_service
    yield "schema", _schema
    yield "privileges", check_privileges
    if settings.secret_key is not None:
        yield "signing keys", lambda connection: _keys(settings, connection, at)
    if role.is_owner:
        if settings.secret_key is not None:
            yield "alert targets", lambda connection: _alert_targets(settings, connection)
        yield "watch", lambda connection: _watch(settings, connection, at)


def _become_service(connection: psycopg.Connection[Any]) -> Iterator[Result]:
    connection.execute(load_sql("maintenance/become_service"))
    yield Result("role", OK, "may only serve: agentidp watch and the alert targets were not checked")


def _clock(connection: psycopg.Connection[Any]) -> Result:
    ahead = seconds_ahead(connection)
    if ahead is None:
        return Result("clock", WARNING, "the database took longer than a second to say its time: try again")
    if differs := difference(ahead):
        message = f"this machine's is {differs}, and at most {LEEWAY} are allowed: synchronize both (NTP)"
        return Result("clock", FAILED, message)
    return Result("clock", OK, f"within {LEEWAY} seconds of the database's")


def _schema(connection: psycopg.Connection[Any]) -> Iterator[Result]:
    try:
        pending = pending_steps(applied_steps(connection))
    except ConfigurationError as error:
        yield Result("schema", FAILED, str(error))
        return
    if pending:
        yield Result("schema", WARNING, f"{len(pending)} to apply, first {pending[0].name}: agentidp db migrate")
    else:
        yield Result("schema", OK, f"up to date ({steps()[-2].name})")


def _keys(settings: Settings, connection: psycopg.Connection[Any], at: datetime) -> Iterator[Result]:
    rows = connection.execute(load_sql("signing_keys/all_keys")).fetchall()
    keys = describe_rows(settings, rows, at=at)
    unreadable = [key["kid"] for key in keys if key["status"] == "unreadable"]
    if unreadable:
        advice = "set the secret with which the instance was started, or run agentidp keys revoke"
        yield Result("signing keys", FAILED, f"the instance secret does not decrypt {', '.join(unreadable)}: {advice}")
    signing = next((key for key in keys if key["status"] == "signing"), None)
    if signing is None:
        if not unreadable:
            yield Result("signing keys", FAILED, "there is none: agentidp keys list makes the first")
        return
    waiting = [key for key in keys if key["status"] == "next"]
    message = f"{signing['kid']} ({signing['alg']}) signs since {timestamp(signing['signsFrom'])}"
    if waiting:
        message += f", and {waiting[-1]['kid']} from {timestamp(waiting[-1]['signsFrom'])}"
    if not waiting and at - signing["signsFrom"] > OLD_KEY:
        yield Result("signing keys", WARNING, f"{message}: replace it by agentidp keys rotate")
    else:
        yield Result("signing keys", OK, f"{message}; agentidp keys rotate replaces it")
    sealer = KeySealer(settings)
    current = [row for row in rows if row.revoked_at is None]
    if settings.secret_key_previous and not all(
        sealer.is_current(row.kid, bytes(row.private_key_encrypted)) for row in current
    ):
        message = "some are still encrypted under the previous instance secret: agentidp keys reencrypt"
        yield Result("signing keys", WARNING, message)


def _alert_targets(settings: Settings, connection: psycopg.Connection[Any]) -> Iterator[Result]:
    rows = connection.execute(load_sql("alerts/all_targets")).fetchall()
    sealer, unreadable = TargetSealer(settings), []
    for row in rows:
        try:
            sealer.open(row.target_id, bytes(row.sealed))
        except Unreadable:
            unreadable.append(str(row.target_id))
    if unreadable:
        message = f"the instance secret does not decrypt {', '.join(unreadable)}: delete and create them again"
        yield Result("alert targets", FAILED, message)
    elif rows:
        yield Result("alert targets", OK, f"{len(rows)} can be decrypted")


def _watch(settings: Settings, connection: psycopg.Connection[Any], at: datetime) -> Iterator[Result]:
    # The API still returns stored findings of this age.
    oldest = at - timedelta(seconds=2 * settings.watch_interval)
    [row] = connection.execute(load_sql("maintenance/is_watched"), {"key": WATCH_LOCK}).fetchall()
    late = []
    for one in connection.execute(load_sql("organizations/all_organizations")).fetchall():
        with operator_transaction(connection, one.organization_id, at) as opened:
            evaluations = opened.fetch("finding_state/last_evaluation")
        if (evaluations[0].evaluated_at if evaluations else one.created_at) < oldest:
            late.append(one.organization_id)
    if row.is_watched and not late:
        yield Result("watch", OK, "an instance watches, and every organization was evaluated in time")
    elif row.is_watched:
        message = (
            f"an instance watches, but not every organization was evaluated in time, first {late[0]}: look into its log"
        )
        yield Result("watch", WARNING, message)
    elif late:
        message = "nothing watches, and not every organization was evaluated in time: start agentidp watch"
        yield Result("watch", WARNING, message)
    else:
        yield Result("watch", OK, "every organization was evaluated in time, though no instance watches now")
