"""Delivers the messages in the outbox at least once, in order per finding and target.

A dispatcher leases targets with due messages, and gives each target a thread for a turn, so that a slow target does not
delay other targets. The organization whose last turn is oldest comes first. If the process dies, its leases expire, and
another process sends the messages again with the same idempotency keys.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from agentidp import audit
from agentidp.actor import SYSTEM
from agentidp.alerts.channels import Channels, SendFailed, TargetGone
from agentidp.alerts.messages import Message
from agentidp.alerts.state_change import StateChange
from agentidp.alerts.target_secrets import TargetSealer
from agentidp.config import Settings
from agentidp.db.database import Database, connect
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import run_statement
from agentidp.jose.sealing import Unreadable

logger = logging.getLogger("agentidp")

CONCURRENCY = 8  # maximum number of targets that a process sends to at the same time
MAX_TURNS_PER_ORGANIZATION = 2  # maximum targets of an organization at once, so that it does not delay others
SLOW = 3.0  # seconds from which sending a message counts as slow; with apprise, a message usually takes one or two
SLOW_FOR = timedelta(minutes=10)  # time after a slow message for which its organization counts as slow
MAX_SLOW_TURNS = CONCURRENCY // 2  # maximum targets of all slow organizations together at the same time
TURN = timedelta(seconds=15)  # time after which a thread begins no further message to its target
LEASE = timedelta(seconds=90)  # how long a target is reserved for a process: longer than TURN plus the slowest message
FIRST_DELAY = timedelta(seconds=5)  # delay after the first failure; it doubles with each further failure
LONGEST_DELAY = timedelta(minutes=30)  # maximum delay between two attempts
GIVE_UP_AFTER = timedelta(days=3)  # age of a message after which it is not sent again
DELIVERY_AGE = timedelta(days=7)  # age at which a delivery is deleted
LAST_DELIVERY_AGE = timedelta(days=366)  # age at which an ongoing finding's last accepted delivery is deleted
FORGET_INTERVAL = timedelta(hours=1)  # minimum time between two deletions of old deliveries


def compute_delay(failures: int, jitter: float) -> timedelta:
    """Return the delay until the next attempt after a number of consecutive failures.

    :param jitter: a random number from 0 to 1, so that messages that failed together are not sent again together.
    """
    # A larger exponent than 20 could overflow timedelta. With 20, the delay already exceeds LONGEST_DELAY.
    delay = min(LONGEST_DELAY, FIRST_DELAY * float(2 ** min(failures - 1, 20)))
    return delay * (1 - jitter / 2)


def _schedule_next_attempt(delivery: Any, failures: int, failed_at: datetime) -> dict[str, Any]:
    """Return when to retry a failed delivery, when its target's pause ends, and whether to give up, as parameters.

    :param failures: the number of the target's consecutive failures before this failure.
    """
    jitter = random.random()  # noqa: S311 - no secret
    next_attempt_at = failed_at + compute_delay(delivery.attempts + 1, jitter)
    return {
        "next_attempt_at": next_attempt_at,
        "paused_until": failed_at + compute_delay(failures + 1, jitter),
        "is_last": next_attempt_at > delivery.created_at + GIVE_UP_AFTER,
    }


class Dispatcher:
    """Sends the due messages of all organizations to their alert targets.

    :param settings: the operator's settings. Their ``database_url`` names the database role that owns the tables.
    :param database: the database for the statements of single organizations.
    """

    def __init__(
        self, settings: Settings, database: Database, clock: Callable[[], datetime], *, concurrency: int = CONCURRENCY
    ) -> None:
        self._url, self._database, self._clock = str(settings.database_url), database, clock
        self._sealer, self._channels = TargetSealer(settings), Channels(settings)
        self._concurrency = concurrency
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="alerts")
        self._turns: dict[Future[None], str] = {}
        self._slow_at: dict[str, datetime] = {}  # when the latest slow message of each organization was sent
        self._connection: psycopg.Connection[Any] | None = None
        self._cleaned_at: datetime | None = None

    def start_turns(self) -> int:
        """Start a turn per target with due messages, as far as threads are free, and return the number of new turns.

        A turn sends messages to a target for at most :data:`TURN`. This method does not wait for the turns.

        :raises ConfigurationError: the database does not respond.
        :raises DatabaseUnavailable: the database does not respond, or is too slow.
        """
        self._turns = {turn: organization_id for turn, organization_id in self._turns.items() if not turn.done()}
        at, new_turn_count = self._clock(), 0
        # The items are copied, because other threads may add items during the loop.
        slow_organization_ids = {
            organization_id for organization_id, sent_at in [*self._slow_at.items()] if at - sent_at < SLOW_FOR
        }
        for organization_id in self._list_waiting_organizations(at):
            max_new_turns = self._compute_max_new_turns(organization_id, slow_organization_ids)
            if max_new_turns <= 0:
                continue
            target_rows = self._database.of(organization_id, at).fetch_durably(
                "alerts/claim_targets", leased_until=at + LEASE, max_targets=max_new_turns
            )
            for target in target_rows:
                self._turns[self._threads.submit(self._send_to_target, organization_id, target)] = organization_id
            new_turn_count += len(target_rows)
        return new_turn_count

    def _compute_max_new_turns(self, organization_id: str, slow_organization_ids: set[str]) -> int:
        """Return the maximum number of turns that may start for an organization now; zero or less for none."""
        turn_organization_ids = list(self._turns.values())
        max_new_turns = min(
            self._concurrency - len(turn_organization_ids),
            MAX_TURNS_PER_ORGANIZATION - turn_organization_ids.count(organization_id),
        )
        if organization_id not in slow_organization_ids:
            return max_new_turns
        slow_turn_count = sum(running_id in slow_organization_ids for running_id in turn_organization_ids)
        return min(max_new_turns, MAX_SLOW_TURNS - slow_turn_count)

    def send_due_messages(self) -> int:
        """Send messages until no message is due any more, and return the number of turns.

        Turns and errors are those of :meth:`start_turns`.
        """
        total_turn_count = 0
        while new_turn_count := self.start_turns():
            total_turn_count += new_turn_count
            wait(self._turns)
        return total_turn_count

    def close(self) -> None:
        """Wait for the threads that are sending, and close the database connection."""
        self._threads.shutdown(cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    def _list_waiting_organizations(self, at: datetime) -> list[str]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._url)
            self._delete_old_deliveries(self._connection, at)
            organization_rows = run_statement(self._connection, "alerts/waiting_organizations", at=at)
        except psycopg.Error as error:
            if self._connection is not None:
                self._connection.close()
            raise DatabaseUnavailable(" ".join(str(error).split())) from error
        return [organization_row.organization_id for organization_row in organization_rows]

    def _delete_old_deliveries(self, connection: psycopg.Connection[Any], at: datetime) -> None:
        if self._cleaned_at is not None and at - self._cleaned_at < FORGET_INTERVAL:
            return
        bounds = {"made_before": at - DELIVERY_AGE, "kept_after": at - LAST_DELIVERY_AGE}
        run_statement(connection, "alerts/forget_deliveries", **bounds)
        self._cleaned_at = at

    def _send_to_target(self, organization_id: str, target: Any) -> None:
        """Send a target's due messages until none is left, a message fails or is slow, or the time ``TURN`` is over."""
        try:
            turn_ends_at, failures = self._clock() + TURN, target.failures
            while (at := self._clock()) < turn_ends_at:
                database = self._database.of(organization_id, at)
                delivery_rows = database.fetch("alerts/next_delivery", target_id=target.target_id)
                if not delivery_rows:
                    break
                send_began = time.monotonic()
                is_accepted = self._send_message(organization_id, target, delivery_rows[0], failures, at)
                is_slow = time.monotonic() - send_began >= SLOW
                if is_slow:
                    self._slow_at[organization_id] = at
                if is_slow or not is_accepted:
                    break
                failures = 0
            self._database.of(organization_id, self._clock()).fetch_durably(
                "alerts/release_target", target_id=target.target_id, leased_until=target.leased_until
            )
        except DatabaseUnavailable:
            # The lease could not be ended, so the target gets its next message after the lease has expired.
            logger.warning("alerts are delayed: the database is unavailable")
        except Exception as error:
            logger.exception("unexpected error in the delivery of alerts", exc_info=error)

    def _send_message(self, organization_id: str, target: Any, delivery: Any, failures: int, at: datetime) -> bool:
        """Send one message to a target and record the result. Return whether the target accepted the message.

        :param failures: the number of the target's consecutive failures.
        """
        message = Message(
            message_id=delivery.delivery_id,
            organization_id=organization_id,
            organization_name=delivery.organization_name,
            change=StateChange.from_json(delivery.payload),
            owner=delivery.agent_owner or None,
        )
        log_fields = {
            "organization": organization_id,
            "target": str(target.target_id),
            "delivery": str(message.message_id),
        }
        try:
            address = self._sealer.open(target.target_id, bytes(target.sealed))
            self._channels.send(target.type, address, message, at)
        except Unreadable:
            send_error = SendFailed("the instance secret does not decrypt the address: set the address again")
        except SendFailed as failed:
            send_error = failed
        else:
            delivery_ids = {"target_id": target.target_id, "delivery_id": message.message_id}
            self._database.of(organization_id, self._clock()).fetch_durably("alerts/record_success", **delivery_ids)
            logger.info("alert delivered", extra={"fields": log_fields})
            return True
        self._record_failure(organization_id, target.target_id, delivery, failures, send_error)
        logger.warning("alert not delivered", extra={"fields": log_fields | {"reason": str(send_error)}})
        return False

    def _record_failure(
        self, organization_id: str, target_id: UUID, delivery: Any, failures: int, send_error: SendFailed
    ) -> None:
        """Record a failed delivery and the next attempt, and disable a target that accepts no further messages.

        :param failures: the number of the target's consecutive failures before this failure.
        """
        is_gone = isinstance(send_error, TargetGone)
        with self._database.of(organization_id, self._clock()).transaction(SYSTEM) as transaction:
            target_rows = transaction.fetch("alerts/lock_target", target_id=target_id)
            transaction.fetch(
                "alerts/record_failure",
                target_id=target_id,
                delivery_id=delivery.delivery_id,
                error=str(send_error),
                is_gone=is_gone,
                **_schedule_next_attempt(delivery, failures, transaction.at),
            )
            if is_gone and any(target_row.enabled for target_row in target_rows):
                audited_changes = {"before": {"enabled": True}, "after": {"enabled": False}}
                audit.record(transaction, "alert_target.changed", target_id, **audited_changes)
