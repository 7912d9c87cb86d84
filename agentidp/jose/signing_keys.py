"""Caches the signing keys in a process, and reads them from the database in a background thread.

A key is published when it is created, signs from ``signs_from`` on, and is retired when all its tokens have expired.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from agentidp.config import MAX_TOKEN_TTL, Settings
from agentidp.db.database import Database
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Rows
from agentidp.jose.access_token import SigningKey, VerificationKey
from agentidp.jose.key_sealing import KeySealer, OpenedKey
from agentidp.jose.sealing import Unreadable

logger = logging.getLogger("agentidp")

JWKS_MAX_AGE = 600
"""Maximum seconds that a client may cache the JWKS."""

CACHE_SECONDS = 10
"""Seconds after which a process reads the signing keys again."""

RETRY_SECONDS = 2
"""Seconds between a failed read of the signing keys and the next read."""

MIN_REREAD_SECONDS = 1
"""Minimum seconds between two reads of the keys for an unknown ``kid``, which anybody can invent."""

PATIENCE_SECONDS = 0.1
"""Maximum seconds from the start of a read of the keys for which a request waits, if the process already has keys."""

FIRST_PATIENCE_SECONDS = 10
"""Maximum seconds that a request waits for the first keys of its process."""

PUBLISH_AHEAD = timedelta(seconds=900)
"""Time from a key's publication to its first signature. Clients and processes cache the keys for a shorter time."""

RETIRE_AFTER = timedelta(seconds=MAX_TOKEN_TTL + 3600)
"""Time from the first signature by a key's successor until the key is retired and all its tokens have expired."""

NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Keys:
    """The keys that sign and verify until the time ``until``. ``generation`` grows when the published keys change."""

    signing: SigningKey
    published: dict[str, VerificationKey]
    jwks: dict[str, Any]
    generation: int = 0
    until: datetime = NEVER


class _KeyRead(NamedTuple):
    """A read of the signing keys from the database, in a thread of its own."""

    began_at: float
    ended_event: threading.Event

    def wait(self, seconds: float) -> None:
        """Wait until the read ends, at most until *seconds* after its start."""
        self.ended_event.wait(max(0.0, self.began_at + seconds - time.monotonic()))


class SigningKeys:
    """The keys of the instance, read from *database* and decrypted with the secrets of *settings*.

    A thread reads the keys. A request waits for this thread if the process has no keys yet, and waits briefly if the
    ``kid`` is unknown or the cache is old.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._sealer = database, KeySealer(settings)
        self._lock = threading.Lock()
        self._keys: Keys | None = None
        self._rows: Rows = []
        self._opened_keys: dict[str, OpenedKey] = {}
        self._ignored_kids: set[str] = set()
        self._key_read: _KeyRead | None = None
        self._read_at = self._attempted_at = float("-inf")
        self._retry_at = float("-inf")
        self._has_failed = False

    def current(self) -> Keys:
        """Return the signing key and the published keys, or raise ``DatabaseUnavailable`` if they were never read."""
        keys = self._keys
        if keys is None or time.monotonic() - self._read_at >= CACHE_SECONDS:
            keys = self._refresh_keys(keys)
        if datetime.now(UTC) >= keys.until:
            keys = self._switch_keys()
        return keys

    def find_key(self, kid: str) -> VerificationKey | None:
        """Return the published key *kid* or ``None``. An unknown kid may be new, so the keys are read again."""
        verification_key = self.current().published.get(kid)
        if verification_key is None:
            ongoing_read, now = self._key_read, time.monotonic()
            if ongoing_read is None and now >= max(self._attempted_at + MIN_REREAD_SECONDS, self._retry_at):
                ongoing_read = self._start_key_read()
            if ongoing_read is not None:
                ongoing_read.wait(PATIENCE_SECONDS)
                verification_key = self.current().published.get(kid)
        return verification_key

    def _refresh_keys(self, keys: Keys | None) -> Keys:
        now = time.monotonic()
        if now >= self._retry_at:
            ongoing_read = self._start_key_read()
            if keys is None:
                ongoing_read.wait(FIRST_PATIENCE_SECONDS)
            elif now - self._read_at >= 2 * CACHE_SECONDS and not self._has_failed:
                # The request waits briefly for this read, because a cached key may have been revoked since the last
                # read.
                ongoing_read.wait(PATIENCE_SECONDS)
        if self._keys is None:
            raise DatabaseUnavailable("this process has not read a signing key that it can use")
        return self._keys

    def _start_key_read(self) -> _KeyRead:
        with self._lock:
            ongoing_read = self._key_read
            if ongoing_read is None:
                self._key_read = ongoing_read = _KeyRead(time.monotonic(), threading.Event())
                self._attempted_at = ongoing_read.began_at
                try:
                    threading.Thread(
                        target=self._read_keys, args=(ongoing_read,), name="signing-keys", daemon=True
                    ).start()
                except RuntimeError as error:
                    logger.error("no thread can be started", extra={"fields": {"error": str(error)}})
                    self._end_key_read(ongoing_read, has_failed=True)
            return ongoing_read

    def _read_keys(self, key_read: _KeyRead) -> None:
        has_failed = True
        try:
            self._open_keys(self._database.fetch_unscoped("signing_keys/all_keys"), key_read.began_at)
            has_failed = False
        except DatabaseUnavailable:
            # The database layer has logged the error.
            pass
        except Exception:
            logger.exception("the signing keys cannot be read")
        finally:
            self._end_key_read(key_read, has_failed=has_failed)

    def _end_key_read(self, key_read: _KeyRead, *, has_failed: bool) -> None:
        self._has_failed = has_failed
        if has_failed:
            self._retry_at = time.monotonic() + RETRY_SECONDS
        self._key_read = None
        key_read.ended_event.set()

    def _open_keys(self, rows: Rows, read_at: float) -> None:
        opened_keys: dict[str, OpenedKey] = {}
        ignored_kids: set[str] = set()
        for key_row in select_unrevoked(rows):
            try:
                opened_keys[key_row.kid] = self._opened_keys.get(key_row.kid) or self._sealer.open_key(
                    key_row.kid, bytes(key_row.private_key_encrypted)
                )
            except Unreadable:
                ignored_kids.add(key_row.kid)
        for kid in sorted(ignored_kids - self._ignored_kids):
            logger.error(
                "a signing key is ignored: the instance secret does not decrypt it", extra={"fields": {"kid": kid}}
            )
        self._ignored_kids = ignored_kids
        if not opened_keys:
            # The exception is raised before the cached keys are replaced, so that the cached keys stay in use.
            reason = "no signing key can be used"
            logger.error(f"{reason}: run agentidp check with this server's settings")
            raise DatabaseUnavailable(reason)
        with self._lock:
            self._opened_keys = opened_keys
            self._rows = [key_row for key_row in rows if key_row.kid not in ignored_kids]
            self._keys = self._select_keys(datetime.now(UTC))
            self._read_at = read_at

    def _switch_keys(self) -> Keys:
        with self._lock:
            now = datetime.now(UTC)
            assert self._keys is not None  # noqa: S101 - only keys with an end are switched
            if now >= self._keys.until:
                self._keys = self._select_keys(now)
            return self._keys

    def _select_keys(self, at: datetime) -> Keys:
        previous_keys = self._keys
        published_kids = [key_row.kid for key_row in select_published(self._rows, at)]
        have_kids_changed = previous_keys is None or previous_keys.published.keys() != set(published_kids)
        return Keys(
            signing=self._opened_keys[find_signing_row(self._rows, at).kid].signing,
            published={kid: self._opened_keys[kid].verification for kid in published_kids},
            jwks={"keys": [self._opened_keys[kid].jwk for kid in published_kids]},
            generation=(previous_keys.generation if previous_keys else 0) + have_kids_changed,
            until=find_next_change(self._rows, at),
        )


def select_unrevoked(rows: Rows) -> Rows:
    """Return the rows of keys that are not revoked."""
    return [row for row in rows if row.revoked_at is None]


def find_signing_row(rows: Rows, at: datetime) -> Any:
    """Return the row of the key that signs at *at*, or of the oldest key if no key signs yet.

    :param rows: rows of keys, newest first.
    """
    unrevoked_rows = select_unrevoked(rows)
    return next((key_row for key_row in unrevoked_rows if key_row.signs_from <= at), unrevoked_rows[-1])


def select_published(rows: Rows, at: datetime) -> Rows:
    """Return the rows of keys that are neither revoked nor retired at *at*. *rows* are sorted, newest first."""
    signing_row = find_signing_row(rows, at)
    retires_at = NEVER
    published_rows = []
    for key_row in rows:
        if key_row is signing_row or (key_row.revoked_at is None and at < retires_at):
            published_rows.append(key_row)
        # A key that was revoked before its first signature does not replace its predecessor.
        if key_row.revoked_at is None or key_row.signs_from < key_row.revoked_at:
            retires_at = key_row.signs_from + RETIRE_AFTER
    return published_rows


def find_next_change(rows: Rows, at: datetime) -> datetime:
    """Return the next time after *at* at which a key begins to sign or is retired."""
    change_times = [instant for key_row in rows for instant in (key_row.signs_from, key_row.signs_from + RETIRE_AFTER)]
    return min((instant for instant in change_times if instant > at), default=NEVER)
