"""``agentidp watch``: evaluates the findings of every organization, one instance of all at a time, and sends alerts.

The instance that watches holds an advisory lock on a connection of its own, which ends with the process, also if it is
killed. The others try to take it every few seconds. Every instance sends alerts, because a target is leased to one at a
time.
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
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import load_sql
from agentidp.findings import findings_query
from agentidp.findings.store import evaluate
from agentidp.findings.suspension import suspend_dormant
from agentidp.registry.provisioning import expire
from agentidp.services import Services
from agentidp.usage_history.monthly_sums import store_sums

logger = logging.getLogger("agentidp")

WATCH_LOCK = 0x7761746368
"""Any number that nothing else in the database takes."""

STANDBY = 2.0
"""Seconds after which an instance that does not watch tries again."""


SENDING_INTERVAL = 2.0
"""Seconds between two looks into the outbox of alerts."""


def watch(services: Services, stop: threading.Event, *, once: bool = False) -> None:
    """Evaluate and send alerts until *stop* is set; wait with the evaluation while another instance does it.

    :param once: evaluate each organization once, unless another instance watches; send what is due, and return.
    :raises ConfigurationError: with *once*, the database does not answer.
    :raises DatabaseUnavailable: likewise.
    """
    with contextlib.closing(Dispatcher(services.settings, services.database, services.clock)) as dispatcher:
        if once:
            _evaluate_until(services, stop, once=True)
            dispatcher.deliver_due()
            return
        sender = threading.Thread(target=_send_until, args=(dispatcher, stop), name="sender")
        sender.start()
        try:
            _evaluate_until(services, stop, once=False)
        finally:
            stop.set()
            sender.join()


def _send_until(dispatcher: Dispatcher, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            dispatcher.begin_due()
        except (ConfigurationError, DatabaseUnavailable) as error:
            logger.warning("no alerts were sent", extra={"fields": {"reason": " ".join(str(error).split())}})
        except Exception:
            # Whatever it is, the next look may succeed, and nobody would start this thread again.
            logger.exception("no alerts were sent")
        stop.wait(SENDING_INTERVAL)


def _evaluate_until(services: Services, stop: threading.Event, *, once: bool) -> None:
    while not stop.is_set():
        try:
            with connect(str(services.settings.database_url)) as own:
                _watch_with(own, services, stop, once)
            if once:
                return
        except (psycopg.Error, ConfigurationError) as error:
            if once:
                raise ConfigurationError(f"the findings were not evaluated: {' '.join(str(error).split())}") from None
            logger.warning("watching was interrupted", extra={"fields": {"reason": " ".join(str(error).split())}})
        stop.wait(STANDBY)


def _watch_with(own: psycopg.Connection[Any], services: Services, stop: threading.Event, once: bool) -> None:
    while not stop.is_set():
        begins = time.monotonic()
        if _holds_lock(own):
            look(own, services, stop)
        elif once:
            logger.warning("another instance watches, so nothing was evaluated")
        else:
            stop.wait(STANDBY)
            continue
        if once:
            return
        stop.wait(max(0.0, begins + services.settings.watch_interval - time.monotonic()))


def look(own: psycopg.Connection[Any], services: Services, stop: threading.Event) -> None:
    """What is done in each interval, for one organization after the other: store the sums of its months, delete its
    agents that have expired, suspend its dormant agents if it has set that, evaluate its findings, and forget the
    networks of its failed authentications that are old enough.

    One that fails does not stop the others. It keeps its older findings, which say how old they are.

    :param own: the operator's connection that holds the lock. Without the lock nothing more is done.
    :raises psycopg.Error: that connection is lost, and the lock with it.
    """
    begins, failed, done = time.monotonic(), 0, 0
    try:
        _forget_networks(services.database.of(UNKNOWN_ORGANIZATION, services.clock()))
    except DatabaseUnavailable:
        logger.exception("networks of unknown clients were not forgotten")
    for row in own.execute(load_sql("organizations/all_organizations")).fetchall():
        if stop.is_set() or not _holds_lock(own):
            break
        try:
            at = services.clock()
            store_sums(own, row.organization_id, at)
            database = services.database.of(row.organization_id, at)
            _change_agents(expire, database, "expired agent deleted", "expired agents not deleted")
            _change_agents(suspend_dormant, database, "dormant agent suspended", "dormant agents not suspended")
            evaluate(database.run, database.transaction, findings_query(at, services.settings))
            _forget_networks(database)
            done += 1
        except Exception:
            # Whatever is wrong with one organization's data, the others are evaluated.
            failed += 1
            logger.exception("findings not evaluated", extra={"fields": {"organization": row.organization_id}})
    seconds = round(time.monotonic() - begins, 1)
    logger.info("findings evaluated", extra={"fields": {"organizations": done, "failed": failed, "seconds": seconds}})


def _change_agents(
    change: Callable[[OrganizationDatabase], Iterable[UUID]], database: OrganizationDatabase, done: str, failed: str
) -> None:
    """Let *change* end the use of agents, and log which.

    It fails if tokens were being issued for too long, for example. The next look is soon.
    """
    fields = {"organization": database.organization_id}
    try:
        changed = change(database)
    except DatabaseUnavailable:
        logger.exception(failed, extra={"fields": fields})
        return
    for agent_id in changed:
        logger.info(done, extra={"fields": fields | {"agent": str(agent_id)}})


def _forget_networks(database: OrganizationDatabase) -> None:
    database.fetch_durably("usage/forget_rejected_networks", keep_days=KEEP_NETWORKS)


def _holds_lock(own: psycopg.Connection[Any]) -> bool:
    [row] = own.execute(load_sql("database/try_lock"), {"key": WATCH_LOCK}).fetchall()
    return bool(row.is_held)
