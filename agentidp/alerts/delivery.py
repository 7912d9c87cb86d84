"""The delivery of what is in the outbox: at least once, in order for each finding, with a lease for each target.

A dispatcher claims targets with something due, and each gets a thread for a turn, so a slow target does not delay the
others. The organization whose last turn is longest ago comes first, and within it the target. A turn ends after a slow
message, and organizations with slow messages leave half of the threads to the others. If the process dies, its leases
end, and another process sends again with the same idempotency keys. A target that fails is left alone for longer each
time, and so is a message.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from typing import Any

import psycopg

from agentidp import audit
from agentidp.actor import SYSTEM
from agentidp.alerts.channels import Address, Channels, Gone, Message, SendFailed
from agentidp.alerts.messages import Organization
from agentidp.alerts.state_change import StateChange
from agentidp.alerts.target_secrets import TargetSealer
from agentidp.config import Settings
from agentidp.db.database import Database, connect
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import load_sql
from agentidp.jose.sealing import Unreadable

logger = logging.getLogger("agentidp")

CONCURRENCY = 8
"""Targets that a process sends to at the same time."""

CONCURRENCY_OF_ONE = 2
"""At most this many of them are of one organization, so that its slow targets do not delay those of others."""

SLOW = 3.0
"""Seconds that a message takes that is slow. One by apprise usually takes one or two."""

SLOW_FOR = timedelta(minutes=10)
"""For which an organization counts as slow after a slow message."""

CONCURRENCY_OF_SLOW = CONCURRENCY // 2
"""At most this many targets of slow organizations are sent to at the same time."""

TURN = timedelta(seconds=15)
"""How long a target keeps a thread, unless one message takes longer."""

LEASE = timedelta(seconds=90)
"""After which another process may send to a target. Longer than a turn and the slowest message together."""

FIRST_DELAY = timedelta(seconds=5)
"""After the first failure. It doubles with each further one, and is shortened at random by up to a half."""

LONGEST_DELAY = timedelta(minutes=30)
"""Between two attempts. A target that was down for a day gets its alerts within this time."""

GIVE_UP_AFTER = timedelta(days=3)
"""Age of a message that is attempted for the last time."""

KEPT = timedelta(days=7)
"""Age at which deliveries are deleted, except the last accepted one of a finding that goes on."""

KEPT_FOR_THE_END = timedelta(days=366)
"""Age at which that one is deleted as well."""

FORGET_INTERVAL = timedelta(hours=1)
"""Between two deletions of old deliveries."""


def delay_after(failures: int, jitter: float) -> timedelta:
    """The time to the next attempt.

    :param failures: in a row, at least 1.
    :param jitter: from 0 to 1, at random, so that what failed together is not attempted together.
    """
    # 2**20 times five seconds is more than any limit.
    longest = min(LONGEST_DELAY, FIRST_DELAY * float(2 ** min(failures - 1, 20)))
    return longest * (1 - jitter / 2)


def _next_attempts(delivery: Any, failures: int, ended_at: datetime) -> dict[str, Any]:
    """When a delivery that has failed once more, and its target, are tried again.

    :param failures: of the target, in a row, before this one.
    """
    jitter = random.random()  # noqa: S311 - no secret
    next_attempt_at = ended_at + delay_after(delivery.attempts + 1, jitter)
    return {
        "next_attempt_at": next_attempt_at,
        "paused_until": ended_at + delay_after(failures + 1, jitter),
        "is_last": next_attempt_at > delivery.created_at + GIVE_UP_AFTER,
    }


class Dispatcher:
    """Sends what is due, for all organizations.

    :param settings: of a command: ``database_url`` is that of the role that owns the tables.
    :param database: for the rows of one organization at a time.
    :param clock: gives the current time, aware.
    """

    def __init__(
        self, settings: Settings, database: Database, clock: Callable[[], datetime], *, concurrency: int = CONCURRENCY
    ) -> None:
        self._url, self._database, self._clock = str(settings.database_url), database, clock
        self._sealer, self._channels = TargetSealer(settings), Channels(settings)
        self._concurrency = concurrency
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="alerts")
        self._turns: dict[Future[None], str] = {}
        self._slow_at: dict[str, datetime] = {}
        self._connection: psycopg.Connection[Any] | None = None
        self._forgot_at: datetime | None = None

    def begin_due(self) -> int:
        """Begin to send what is due, as far as threads are free, and do not wait for it.

        :returns: the number of targets that are sent to.
        :raises ConfigurationError: the database does not answer.
        :raises DatabaseUnavailable: the same, or it is too slow.
        """
        self._turns = {turn: whose for turn, whose in self._turns.items() if not turn.done()}
        at, begun = self._clock(), 0
        # A copy, because turns add to it. An organization that was slow long ago is forgotten.
        slow = {whose for whose, slow_at in list(self._slow_at.items()) if at - slow_at < SLOW_FOR}
        self._slow_at = {whose: slow_at for whose, slow_at in list(self._slow_at.items()) if whose in slow}
        for organization_id in self._waiting_organizations(at):
            busy = list(self._turns.values())
            if len(busy) == self._concurrency:
                break
            free = min(self._concurrency - len(busy), CONCURRENCY_OF_ONE - busy.count(organization_id))
            if organization_id in slow:
                free = min(free, CONCURRENCY_OF_SLOW - sum(whose in slow for whose in busy))
            if free <= 0:
                continue
            targets = self._database.of(organization_id, at).fetch_durably(
                "alerts/claim_targets", leased_until=at + LEASE, most=free
            )
            for target in targets:
                self._turns[self._threads.submit(self._turn, organization_id, target)] = organization_id
            begun += len(targets)
        return begun

    def deliver_due(self) -> int:
        """Send what is due until nothing is, and wait for it.

        :returns: the number of turns that targets had.
        :raises ConfigurationError: the database does not answer.
        :raises DatabaseUnavailable: the same, or it is too slow.
        """
        count = 0
        while begun := self.begin_due():
            count += begun
            wait(self._turns)
        return count

    def close(self) -> None:
        """Wait for the turns that have begun, and close the connection."""
        self._threads.shutdown(cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    def _waiting_organizations(self, at: datetime) -> list[str]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._url)
            if self._forgot_at is None or at - self._forgot_at >= FORGET_INTERVAL:
                ages = {"made_before": at - KEPT, "kept_after": at - KEPT_FOR_THE_END}
                self._connection.execute(load_sql("alerts/forget_deliveries"), ages)
                self._forgot_at = at
            rows = self._connection.execute(load_sql("alerts/waiting_organizations"), {"at": at}).fetchall()
        except psycopg.Error as error:
            if self._connection is not None:
                self._connection.close()
            raise DatabaseUnavailable(" ".join(str(error).split())) from error
        return [row.organization_id for row in rows]

    def _turn(self, organization_id: str, target: Any) -> None:
        """Send to one target until nothing is due, a message fails or is slow, or the turn is over."""
        try:
            begun_at, failures = self._clock(), target.failures
            while (at := self._clock()) < begun_at + TURN:
                database = self._database.of(organization_id, at)
                rows = database.fetch("alerts/next_delivery", target_id=target.target_id)
                if not rows:
                    break
                begins = time.monotonic()
                is_accepted = self._send(organization_id, target, rows[0], failures, at)
                is_slow = time.monotonic() - begins >= SLOW
                if is_slow:
                    self._slow_at[organization_id] = at
                if is_slow or not is_accepted:
                    break
                failures = 0
            self._release(organization_id, target)
        except DatabaseUnavailable:
            # The lease ends by itself. What was sent and could not be recorded is sent again.
            logger.warning("alerts are delayed: the database is unavailable")
        except Exception as error:
            logger.exception("unexpected error in the delivery of alerts", exc_info=error)

    def _send(self, organization_id: str, target: Any, delivery: Any, failures: int, at: datetime) -> bool:
        """Send one message and record the result.

        :param failures: of the target, in a row.
        :returns: whether it was accepted.
        """
        message = Message(
            message_id=delivery.delivery_id,
            organization=Organization(organization_id, delivery.organization_name),
            change=StateChange.from_json(delivery.payload),
            owner=delivery.agent_owner or None,
        )
        fields = {"organization": organization_id, "target": str(target.target_id), "delivery": str(message.message_id)}
        error, is_gone = None, False
        try:
            self._channels.send(target.type, self._address(target), message, at)
        except SendFailed as failed:
            error, is_gone = str(failed), isinstance(failed, Gone)
        database = self._database.of(organization_id, self._clock())
        ids = {"target_id": target.target_id, "delivery_id": message.message_id}
        if error is None:
            database.fetch_durably("alerts/record_success", **ids)
            logger.info("alert delivered", extra={"fields": fields})
            return True
        with database.transaction(SYSTEM) as opened:
            locked = opened.fetch("alerts/lock_target", target_id=target.target_id)
            attempts = _next_attempts(delivery, failures, opened.at)
            opened.fetch("alerts/record_failure", **ids, error=error, is_gone=is_gone, **attempts)
            if is_gone and any(row.enabled for row in locked):
                changes = {"before": {"enabled": True}, "after": {"enabled": False}}
                audit.record(opened, "alert_target.changed", target.target_id, **changes)
        logger.warning("alert not delivered", extra={"fields": fields | {"reason": error}})
        return False

    def _address(self, target: Any) -> Address:
        try:
            return self._sealer.open(target.target_id, bytes(target.sealed))
        except Unreadable:
            raise SendFailed("the instance secret does not decrypt the address: set the address again") from None

    def _release(self, organization_id: str, target: Any) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            self._database.of(organization_id, self._clock()).fetch_durably(
                "alerts/release_target", target_id=target.target_id, leased_until=target.leased_until
            )
