"""Evaluates the findings of every organization and sends alerts, for ``agentidp watch``.

One process evaluates. It holds an advisory lock, which other processes try to take every few seconds. All processes
send alerts, because each alert target is leased to one process at a time.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import psycopg

from agentidp.alerts.delivery import Dispatcher
from agentidp.config import ConfigurationError
from agentidp.counting import KEEP_NETWORKS, UNKNOWN_ORGANIZATION
from agentidp.db.database import connect
from agentidp.db.errors import DatabaseUnavailable, in_one_line
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import run_statement
from agentidp.findings import build_findings_query
from agentidp.findings.store import evaluate
from agentidp.findings.suspension import suspend_dormant
from agentidp.registry.provisioning import delete_expired_agents
from agentidp.services import Services
from agentidp.usage_history.monthly_sums import store_sums

logger = logging.getLogger("agentidp")

WATCH_LOCK = 0x7761746368
"""Key of the advisory lock of the process that evaluates findings. No other advisory lock has this key."""

LOCK_INTERVAL = 2.0
"""Seconds after which a process without the lock tries again to take the lock."""

SENDING_INTERVAL = 2.0
"""Seconds between two checks for alerts to send."""


def watch(services: Services, stop_event: threading.Event, *, once: bool = False) -> None:
    """Evaluate findings, unless another process does so, and send alerts, until *stop_event* is set.

    :param once: whether to evaluate each organization only once, send the due alerts, and return.
    :raises ConfigurationError, DatabaseUnavailable: the database does not respond, and *once* is true.
    """
    with contextlib.closing(Dispatcher(services.settings, services.database, services.clock)) as dispatcher:
        if once:
            _keep_evaluating(services, stop_event, once=True)
            dispatcher.send_due_messages()
            return
        sender_thread = threading.Thread(target=_send_alerts, args=(dispatcher, stop_event), name="sender")
        sender_thread.start()
        try:
            _keep_evaluating(services, stop_event, once=False)
        finally:
            stop_event.set()
            sender_thread.join()


def _send_alerts(dispatcher: Dispatcher, stop_event: threading.Event) -> None:
    while not stop_event.is_set():
        try:
            dispatcher.start_turns()
        except (ConfigurationError, DatabaseUnavailable) as error:
            logger.warning("no alerts were sent", extra={"fields": {"reason": in_one_line(error)}})
        except Exception:
            # The error does not end this thread, because nothing would restart it, and the next attempt may succeed.
            logger.exception("no alerts were sent")
        stop_event.wait(SENDING_INTERVAL)


def _keep_evaluating(services: Services, stop_event: threading.Event, *, once: bool) -> None:
    while not stop_event.is_set():
        try:
            with connect(str(services.settings.database_url)) as connection:
                _evaluate_on_connection(connection, services, stop_event, once=once)
            if once:
                return
        except (psycopg.Error, ConfigurationError) as error:
            if once:
                raise ConfigurationError(f"the findings were not evaluated: {in_one_line(error)}") from None
            logger.warning("watching was interrupted", extra={"fields": {"reason": in_one_line(error)}})
        stop_event.wait(LOCK_INTERVAL)


def _evaluate_on_connection(
    connection: psycopg.Connection[Any], services: Services, stop_event: threading.Event, *, once: bool
) -> None:
    while not stop_event.is_set():
        began_at = time.monotonic()
        if _try_lock(connection):
            evaluate_all(connection, services, stop_event)
        elif once:
            logger.warning("another instance watches, so nothing was evaluated")
        else:
            stop_event.wait(LOCK_INTERVAL)
            continue
        if once:
            return
        stop_event.wait(max(0.0, began_at + services.settings.watch_interval - time.monotonic()))


def evaluate_all(connection: psycopg.Connection[Any], services: Services, stop_event: threading.Event) -> None:
    """Evaluate findings and do the other periodic work for each organization.

    If the work for an organization fails, log the error and continue with the next organization.

    :param connection: the operator's connection that holds the lock. The work ends when the lock is lost.
    :raises psycopg.Error: the connection, and therefore the lock, is lost.
    """
    began_at, failed_count, evaluated_count = time.monotonic(), 0, 0
    try:
        _forget_networks(services.database.of(UNKNOWN_ORGANIZATION, services.clock()))
    except DatabaseUnavailable:
        logger.exception("networks of unknown clients were not deleted")
    for organization_row in run_statement(connection, "organizations/all_organizations"):
        if stop_event.is_set() or not _try_lock(connection):
            break
        try:
            at = services.clock()
            store_sums(connection, organization_row.organization_id, at)
            database = services.database.of(organization_row.organization_id, at)
            _run_agent_change(delete_expired_agents, database, "expired agent deleted", "expired agents not deleted")
            _run_agent_change(suspend_dormant, database, "dormant agent suspended", "dormant agents not suspended")
            evaluate(database.run, database.transaction, build_findings_query(at, services.settings))
            _forget_networks(database)
            database.fetch_durably("grants/delete_expired")
            evaluated_count += 1
        except Exception:
            failed_count += 1
            logger.exception(
                "findings not evaluated", extra={"fields": {"organization": organization_row.organization_id}}
            )
    elapsed_seconds = round(time.monotonic() - began_at, 1)
    log_fields = {"organizations": evaluated_count, "failed": failed_count, "seconds": elapsed_seconds}
    logger.info("findings evaluated", extra={"fields": log_fields})


def _run_agent_change(
    change: Callable[[OrganizationDatabase], Iterable[UUID]], database: OrganizationDatabase, success: str, failure: str
) -> None:
    """Run *change*, which deletes or suspends agents. Log each agent, or the database's error."""
    log_fields = {"organization": database.organization_id}
    try:
        agent_ids = change(database)
    except DatabaseUnavailable:
        logger.exception(failure, extra={"fields": log_fields})
        return
    for agent_id in agent_ids:
        logger.info(success, extra={"fields": log_fields | {"agent": str(agent_id)}})


def _forget_networks(database: OrganizationDatabase) -> None:
    database.fetch_durably("usage/forget_rejected_networks", keep_days=KEEP_NETWORKS)


def _try_lock(connection: psycopg.Connection[Any]) -> bool:
    [row] = run_statement(connection, "database/try_lock", key=WATCH_LOCK)
    return bool(row.is_held)
