"""The signing keys that a process knows: read from the database in the background, and used from memory.

A key is published as soon as it is created, and signs from ``signs_from`` on. It is retired when all tokens that it
signed have expired, and can be revoked at any time. Every process has the same rows and the same time, so all processes
switch to the next key at the same moment, without a read.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from agentidp.config import MAX_TOKEN_TTL, Settings
from agentidp.db.database import Database
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Rows
from agentidp.jose.access_token import SigningKey, VerificationKey
from agentidp.jose.key_sealing import KeySealer, OpenedKey, UnreadableKey

logger = logging.getLogger("agentidp")

JWKS_MAX_AGE = 600
"""Seconds that a client may cache the JWKS."""

CACHE_SECONDS = 10
"""Seconds after which a process reads the keys again, and so learns of a revocation."""

RETRY_SECONDS = 2
"""Seconds from a failed read to the next one."""

MIN_REREAD_SECONDS = 1
"""Seconds between two reads that unknown kids can cause, so that invented ones cost nothing."""

PATIENCE_SECONDS = 0.1
"""Seconds after the start of a read for which a request waits for the result, if the process knows keys."""

FIRST_PATIENCE_SECONDS = 10
"""The same if the process knows none: longer than the database takes to fail."""

PUBLISH_AHEAD = timedelta(seconds=900)
"""From publication to the first signature: longer than any client or process keeps an older JWKS. That is ten minutes
and ten seconds. The rest is for differing clocks and failed reads.
"""

RETIRE_AFTER = timedelta(seconds=MAX_TOKEN_TTL + 3600)
"""From a successor's first signature to retirement: longer than any token lives."""

NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Keys:
    """The keys in force until an instant. ``generation`` is another number whenever other keys are published."""

    signing: SigningKey
    published: dict[str, VerificationKey]
    jwks: dict[str, Any]
    generation: int = 0
    until: datetime = NEVER


class _Reading:
    """A read that is running in its own thread."""

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self._ended = threading.Event()

    def end(self) -> None:
        """Wake up the requests that wait."""
        self._ended.set()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the read, until *seconds* after its start at most."""
        self._ended.wait(max(0.0, self.began_at + seconds - time.monotonic()))


class SigningKeys:
    """The keys of the instance, read from *database* and decrypted with the secrets of *settings*.

    A request waits for the database only if this process has never read the keys. Otherwise a thread reads them, and
    requests use the known ones, also while the database is unreachable. A request that finds that a read is due starts
    the thread, so it starts after gunicorn's fork.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._sealer = database, KeySealer(settings)
        self._lock = threading.Lock()
        self._keys: Keys | None = None
        self._rows: Rows = []
        self._opened: dict[str, OpenedKey] = {}
        self._ignored: set[str] = set()
        self._reading: _Reading | None = None
        self._read_at = self._attempted_at = float("-inf")
        self._retry_at = float("-inf")
        self._has_failed = False

    def current(self) -> Keys:
        """The keys in force now.

        :raises DatabaseUnavailable: this process has never read a key that it can use.
        """
        keys = self._keys
        if keys is None or time.monotonic() - self._read_at >= CACHE_SECONDS:
            keys = self._refresh(keys)
        if datetime.now(UTC) >= keys.until:
            keys = self._change_over()
        return keys

    def find(self, kid: str) -> VerificationKey | None:
        """The published key *kid*, even if another process has just created it.

        :raises DatabaseUnavailable: this process has never read a key that it can use.
        """
        key = self.current().published.get(kid)
        if key is None:
            reading = self._reading
            now = time.monotonic()
            if reading is None and now >= max(self._attempted_at + MIN_REREAD_SECONDS, self._retry_at):
                reading = self._begin_reading()
            if reading is not None:
                reading.wait(PATIENCE_SECONDS)
                key = self.current().published.get(kid)
        return key

    def _refresh(self, keys: Keys | None) -> Keys:
        now = time.monotonic()
        if now >= self._retry_at:
            reading = self._begin_reading()
            # A process that had no requests for a while may have missed a revocation.
            if keys is None:
                reading.wait(FIRST_PATIENCE_SECONDS)
            elif now - self._read_at >= 2 * CACHE_SECONDS and not self._has_failed:
                reading.wait(PATIENCE_SECONDS)
        if self._keys is None:
            raise DatabaseUnavailable("this process has not read a signing key that it can use")
        return self._keys

    def _begin_reading(self) -> _Reading:
        """Start the thread that reads, unless one is reading already."""
        with self._lock:
            reading = self._reading
            if reading is None:
                self._reading = reading = _Reading()
                self._attempted_at = reading.began_at
                try:
                    threading.Thread(target=self._read, args=(reading,), name="signing-keys", daemon=True).start()
                except RuntimeError as error:
                    logger.error("no thread can be started", extra={"fields": {"error": str(error)}})
                    self._end(reading, has_failed=True)
            return reading

    def _read(self, reading: _Reading) -> None:
        has_failed = True
        try:
            self._learn(self._database.fetch_unscoped("signing_keys/all_keys"), reading.began_at)
            has_failed = False
        except DatabaseUnavailable:
            # It was logged where it was raised.
            pass
        except Exception:
            logger.exception("the signing keys cannot be read")
        finally:
            self._end(reading, has_failed=has_failed)

    def _end(self, reading: _Reading, *, has_failed: bool) -> None:
        self._has_failed = has_failed
        if has_failed:
            self._retry_at = time.monotonic() + RETRY_SECONDS
        self._reading = None
        reading.end()

    def _learn(self, rows: Rows, read_at: float) -> None:
        opened: dict[str, OpenedKey] = {}
        ignored: set[str] = set()
        for row in active(rows):
            try:
                opened[row.kid] = self._opened.get(row.kid) or self._sealer.open(
                    row.kid, bytes(row.private_key_encrypted)
                )
            except UnreadableKey:
                ignored.add(row.kid)
        for kid in sorted(ignored - self._ignored):
            logger.error(
                "a signing key is ignored: the instance secret does not decrypt it", extra={"fields": {"kid": kid}}
            )
        self._ignored = ignored
        if not opened:
            # The known keys stay in use. A command that revokes the last key creates another one.
            reason = "no signing key can be used"
            logger.error(f"{reason}: run agentidp check with this server's settings")
            raise DatabaseUnavailable(reason)
        with self._lock:
            self._opened = opened
            self._rows = [row for row in rows if row.kid not in ignored]
            self._keys = self._in_force(datetime.now(UTC))
            self._read_at = read_at

    def _change_over(self) -> Keys:
        with self._lock:
            now = datetime.now(UTC)
            assert self._keys is not None  # noqa: S101 - only what has an end comes here
            if now >= self._keys.until:
                self._keys = self._in_force(now)
            return self._keys

    def _in_force(self, at: datetime) -> Keys:
        known = self._keys
        kids = [row.kid for row in published(self._rows, at)]
        is_new = known is None or known.published.keys() != set(kids)
        return Keys(
            signing=self._opened[signing_row(self._rows, at).kid].signing,
            published={kid: self._opened[kid].verification for kid in kids},
            jwks={"keys": [self._opened[kid].jwk for kid in kids]},
            generation=(known.generation if known else 0) + is_new,
            until=next_change(self._rows, at),
        )


def active(rows: Rows) -> Rows:
    """Of *rows* those that are not revoked."""
    return [row for row in rows if row.revoked_at is None]


def signing_row(rows: Rows, at: datetime) -> Any:
    """Of *rows* (newest ``signs_from`` first) the key that signs at *at*; the oldest if none does yet."""
    candidates = active(rows)
    return next((row for row in candidates if row.signs_from <= at), candidates[-1])


def published(rows: Rows, at: datetime) -> Rows:
    """Of *rows* (newest ``signs_from`` first) those that verify at *at*: all but the revoked and the retired."""
    signing = signing_row(rows, at)
    retires_at = NEVER
    found = []
    for row in rows:
        if row is signing or (row.revoked_at is None and at < retires_at):
            found.append(row)
        if _has_signed(row):
            retires_at = row.signs_from + RETIRE_AFTER
    return found


def next_change(rows: Rows, at: datetime) -> datetime:
    """The first instant after *at* at which another key of *rows* signs, or one is retired."""
    instants = [moment for row in rows for moment in (row.signs_from, row.signs_from + RETIRE_AFTER)]
    return min((instant for instant in instants if instant > at), default=NEVER)


def _has_signed(row: Any) -> bool:
    """Whether the key has replaced its predecessor, or will. A key that was revoked before it signed never does."""
    return row.revoked_at is None or row.signs_from < row.revoked_at
