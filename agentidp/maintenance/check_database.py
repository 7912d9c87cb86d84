"""Checks the database: the server, its clock, the schema, the keys, and whether ``agentidp watch`` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg

from agentidp.alerts.target_secrets import TargetSealer
from agentidp.config import LEEWAY, OLDEST_POSTGRESQL, ConfigurationError, Settings
from agentidp.db.clock_check import describe_difference, measure_seconds_ahead
from agentidp.db.database import configure_operator, connect_unchecked
from agentidp.db.migrations import list_pending_steps, read_applied_steps, steps
from agentidp.db.organization import operator_transaction
from agentidp.db.sql import Rows, run_statement
from agentidp.http.schemas import timestamp
from agentidp.jose.key_rotation import describe_key_rows
from agentidp.jose.key_sealing import KeySealer
from agentidp.jose.sealing import Unreadable
from agentidp.maintenance.check_privileges import check_privileges
from agentidp.maintenance.result import FAILED, OK, WARNING, Result
from agentidp.server.watch import WATCH_LOCK

Connection = psycopg.Connection[Any]

MAX_KEY_AGE = timedelta(days=400)
"""Maximum age of a signing key before the check recommends a rotation."""


def check_database(settings: Settings, at: datetime) -> Iterator[Result]:
    """Check the database, its clock, its schema and its keys. *settings* must include the database's URL."""
    try:
        connection = connect_unchecked(str(settings.database_url))
    except ConfigurationError as error:
        yield Result("database", FAILED, f"{error}. Nothing in it was checked")
        return
    with connection:
        server_version = connection.info.parameter_status("server_version")
        if connection.info.server_version < OLDEST_POSTGRESQL * 10_000:
            message = (
                f"PostgreSQL {OLDEST_POSTGRESQL} or newer is needed, not {server_version}. Nothing else was checked"
            )
            yield Result("database", FAILED, message)
            return
        configure_operator(connection)
        [role_row] = run_statement(connection, "maintenance/what_a_role_is")
        summary = f"PostgreSQL {server_version}, database {role_row.database_name}, role {role_row.role_name}"
        yield Result("database", OK, summary)
        yield _check_clock(connection)
        time_zones_phrase = f"the time zones of the database ({role_row.time_zone}) and TZ"
        yield Result("time zone", OK, f"days and hours are counted in UTC, not in {time_zones_phrase}")
        if not role_row.has_schema:
            yield Result("schema", WARNING, "the database is empty: run agentidp db migrate")
            return
        for check_name, check in _list_checks(settings, role_row, at):
            try:
                outcomes = list(check(connection))
            except psycopg.Error as error:
                outcomes = [(FAILED, f"cannot be checked: {error.diag.message_primary or error}")]
            yield from (Result(check_name, status, message) for status, message in outcomes)
            if check_name == "schema" and outcomes[0][0] != OK:
                # The remaining checks need an up-to-date schema.
                return


def check_replica(url: str) -> Result:
    """Check that the server at *url* responds, and that it is a read replica."""
    try:
        with connect_unchecked(url, "AGENTIDP_READ_DATABASE_URL") as connection:
            configure_operator(connection)
            [replica_row] = run_statement(connection, "maintenance/is_replica")
    except ConfigurationError as error:
        return Result("read replica", WARNING, f"{error}: until the replica responds, the primary serves its reads")
    if not replica_row.is_replica:
        message = "the server of AGENTIDP_READ_DATABASE_URL is no replica: correct the URL"
        return Result("read replica", WARNING, message)
    return Result("read replica", OK, "responds")


Outcomes = Iterator[tuple[str, str]]
"""The results of a check: pairs of a status and a message."""


def _list_checks(
    settings: Settings, role_row: Any, at: datetime
) -> Iterator[tuple[str, Callable[[Connection], Outcomes]]]:
    if not role_row.is_owner and role_row.may_serve:
        # The database's user does not own the tables, so the following checks read the tables as the service's role.
        yield "role", _become_service
    yield "schema", _check_schema
    yield "privileges", check_privileges
    if settings.secret_key is not None:
        yield "signing keys", lambda connection: _check_keys(settings, connection, at)
    if role_row.is_owner:
        if settings.secret_key is not None:
            yield "alert targets", lambda connection: _check_targets(settings, connection)
        yield "watch", lambda connection: _check_watch(settings, connection, at)


def _become_service(connection: Connection) -> Outcomes:
    run_statement(connection, "maintenance/become_service")
    yield OK, "this role may only serve requests, so agentidp watch and the alert targets were not checked"


def _check_clock(connection: Connection) -> Result:
    seconds_ahead = measure_seconds_ahead(connection)
    if seconds_ahead is None:
        return Result("clock", WARNING, "the database took longer than a second to return its time: try again")
    if difference := describe_difference(seconds_ahead):
        message = f"this machine's clock is {difference}, and at most {LEEWAY} are allowed: synchronize both (NTP)"
        return Result("clock", FAILED, message)
    return Result("clock", OK, f"this machine's clock is within {LEEWAY} seconds of the database's clock")


def _check_schema(connection: Connection) -> Outcomes:
    try:
        pending_steps = list_pending_steps(read_applied_steps(connection))
    except ConfigurationError as error:
        yield FAILED, str(error)
        return
    if pending_steps:
        yield WARNING, f"{len(pending_steps)} to apply, first {pending_steps[0].name}: run agentidp db migrate"
    else:
        yield OK, f"up to date ({steps()[-2].name})"


def _check_keys(settings: Settings, connection: Connection, at: datetime) -> Outcomes:
    key_rows = run_statement(connection, "signing_keys/all_keys")
    key_descriptions = describe_key_rows(settings, key_rows, at=at)
    unreadable_kids = [key["kid"] for key in key_descriptions if key["status"] == "unreadable"]
    if unreadable_kids:
        advice = "set the secret with which the instance was started, or run agentidp keys revoke"
        yield FAILED, f"the instance secret does not decrypt {', '.join(unreadable_kids)}: {advice}"
    signing_key = next((key for key in key_descriptions if key["status"] == "signing"), None)
    if signing_key is None:
        if not unreadable_kids:
            yield FAILED, "there is no signing key: run agentidp keys list, which creates the first"
        return
    next_keys = [key for key in key_descriptions if key["status"] == "next"]
    message = f"{signing_key['kid']} ({signing_key['alg']}) has signed since {timestamp(signing_key['signsFrom'])}"
    if next_keys:
        message += f", and {next_keys[-1]['kid']} will sign from {timestamp(next_keys[-1]['signsFrom'])}"
    if not next_keys and at - signing_key["signsFrom"] > MAX_KEY_AGE:
        yield WARNING, f"{message}: replace it by agentidp keys rotate"
    else:
        yield OK, f"{message}; agentidp keys rotate replaces it"
    if settings.secret_key_previous and _must_reencrypt(settings, key_rows):
        yield WARNING, "some keys are still encrypted under the previous instance secret: run agentidp keys reencrypt"


def _must_reencrypt(settings: Settings, key_rows: Rows) -> bool:
    """Return whether a key that is not revoked is still encrypted under the previous instance secret."""
    sealer, unrevoked_rows = KeySealer(settings), [key_row for key_row in key_rows if key_row.revoked_at is None]
    return not all(sealer.is_current(key_row.kid, bytes(key_row.private_key_encrypted)) for key_row in unrevoked_rows)


def _check_targets(settings: Settings, connection: Connection) -> Outcomes:
    target_rows = run_statement(connection, "alerts/all_targets")
    sealer, unreadable_ids = TargetSealer(settings), []
    for target_row in target_rows:
        try:
            sealer.open(target_row.target_id, bytes(target_row.sealed))
        except Unreadable:
            unreadable_ids.append(str(target_row.target_id))
    if unreadable_ids:
        yield FAILED, f"the instance secret does not decrypt {', '.join(unreadable_ids)}: delete and create them again"
    elif target_rows:
        yield OK, f"{len(target_rows)} can be decrypted"


def _check_watch(settings: Settings, connection: Connection, at: datetime) -> Outcomes:
    # The API does not use an evaluation from before this time, and computes the findings itself.
    oldest_usable_at = at - timedelta(seconds=2 * settings.watch_interval)
    [watch_row] = run_statement(connection, "maintenance/is_watched", key=WATCH_LOCK)
    late_ids = []
    for organization_row in run_statement(connection, "organizations/all_organizations"):
        with operator_transaction(connection, organization_row.organization_id, at) as transaction:
            evaluation_rows = transaction.fetch("finding_state/last_evaluation")
        if (evaluation_rows[0].evaluated_at if evaluation_rows else organization_row.created_at) < oldest_usable_at:
            late_ids.append(organization_row.organization_id)
    if watch_row.is_watched and not late_ids:
        yield OK, "an instance watches, and every organization was evaluated in time"
    elif watch_row.is_watched:
        message = f"an instance watches, but not every organization was evaluated in time, first {late_ids[0]}"
        yield WARNING, f"{message}: look into its log"
    elif late_ids:
        yield WARNING, "nothing watches, and not every organization was evaluated in time: start agentidp watch"
    else:
        yield OK, "every organization was evaluated in time, though no instance watches now"
