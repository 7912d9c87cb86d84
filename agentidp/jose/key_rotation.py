"""Creates, rotates, revokes, re-encrypts and lists the signing keys, for the operator. The service only reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg

from agentidp import audit
from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.organization import Transaction, operator_transaction
from agentidp.db.sql import Rows, run_statement
from agentidp.jose.key_sealing import KeySealer, generate_key
from agentidp.jose.sealing import Unreadable
from agentidp.jose.signing_keys import PUBLISH_AHEAD, find_signing_row, select_published, select_unrevoked

KEYS_LOCK = 0x6B6579
"""Key of the advisory lock that every change of the signing keys takes."""


def has_signing_keys(settings: Settings) -> bool:
    """Return whether the database has a signing key that is not revoked."""
    with connect(str(settings.database_url)) as connection:
        return bool(select_unrevoked(_read_all_keys(connection)))


def ensure_signing_key(settings: Settings, *, at: datetime) -> None:
    """Create the first signing key of an empty database. Otherwise, check that the current key can be decrypted."""
    with connect(str(settings.database_url)) as connection:
        if not select_unrevoked(_read_all_keys(connection)):
            with _lock_keys(connection, at) as transaction:
                # The keys are read again, because another process may have created a key during the wait for the lock.
                if not select_unrevoked(_read_all_keys(connection)):
                    _add_key(transaction, settings, signs_from=at)
        key_row = find_signing_row(_read_all_keys(connection), at)
    try:
        KeySealer(settings).open_key(key_row.kid, bytes(key_row.private_key_encrypted))
    except Unreadable:
        raise ConfigurationError(
            f"AGENTIDP_SECRET_KEY does not decrypt {key_row.kid}, the key that signs tokens: set the secret that the "
            f"instance was started with, or if it is lost, run agentidp keys revoke {key_row.kid}"
        ) from None


def rotate_keys(settings: Settings, *, at: datetime, signs_from: datetime | None = None) -> str:
    """Publish a new key that signs from *signs_from*, by default ``PUBLISH_AHEAD`` after *at*. Return its kid."""
    with connect(str(settings.database_url)) as connection, _lock_keys(connection, at) as transaction:
        return _add_key(transaction, settings, signs_from=signs_from or at + PUBLISH_AHEAD)


def revoke_key(settings: Settings, kid: str, *, at: datetime) -> str | None:
    """Revoke the key *kid*. If it was the signing key, create a key that signs at once, and return the new kid."""
    with connect(str(settings.database_url)) as connection, _lock_keys(connection, at) as transaction:
        key_rows = _read_all_keys(connection)
        key_row = next((key_row for key_row in key_rows if key_row.kid == kid), None)
        if key_row is None:
            raise build_unknown_key_error(kid)
        if key_row.revoked_at is not None:
            return None
        # Keys that cannot be decrypted are left out, because servers ignore them when they choose the signing key.
        usable_rows = select_unrevoked(_select_usable_rows(KeySealer(settings), key_rows))
        transaction.fetch("signing_keys/revoke_key", kid=kid)
        audit.record(transaction, "signing_key.revoked", kid)
        if usable_rows and find_signing_row(usable_rows, at) is not key_row:
            return None
        return _add_key(transaction, settings, signs_from=at)


def build_unknown_key_error(kid: str) -> ConfigurationError:
    """Return the error for a *kid* that no key has."""
    return ConfigurationError(f"there is no signing key {kid!r}: agentidp keys list shows them")


def reencrypt_keys(settings: Settings, *, at: datetime) -> tuple[int, int]:
    """Encrypt the private keys again, under the current instance secret instead of the previous one.

    :returns: the number of keys that were encrypted again, and the number of all keys that are not revoked.
    """
    sealer = KeySealer(settings)
    changed_count = 0
    with connect(str(settings.database_url)) as connection, _lock_keys(connection, at) as transaction:
        key_rows = select_unrevoked(_read_all_keys(connection))
        for key_row in key_rows:
            try:
                resealed_key = sealer.reseal(key_row.kid, bytes(key_row.private_key_encrypted))
            except Unreadable:
                raise ConfigurationError(
                    "neither AGENTIDP_SECRET_KEY nor AGENTIDP_SECRET_KEY_PREVIOUS decrypts the signing key "
                    f"{key_row.kid!r}: nothing was changed"
                ) from None
            if resealed_key is not None:
                transaction.fetch("signing_keys/reseal_key", kid=key_row.kid, private_key_encrypted=resealed_key)
                audit.record(transaction, "signing_key.reencrypted", key_row.kid)
                changed_count += 1
    return changed_count, len(key_rows)


def describe_keys(settings: Settings, *, at: datetime) -> list[dict[str, Any]]:
    """Return all signing keys, newest first, each with its status at *at*."""
    with connect(str(settings.database_url)) as connection:
        return describe_key_rows(settings, _read_all_keys(connection), at=at)


def describe_key_rows(settings: Settings, rows: Rows, *, at: datetime) -> list[dict[str, Any]]:
    """Return the signing keys in *rows*, in the format of :func:`describe_keys`."""
    usable_rows = _select_usable_rows(KeySealer(settings), rows)
    has_signing_key = bool(select_unrevoked(usable_rows))
    signing_row = find_signing_row(usable_rows, at) if has_signing_key else None
    published_rows = select_published(usable_rows, at) if has_signing_key else []

    def status(key_row: Any) -> str:
        if key_row.revoked_at is not None:
            return "revoked"
        if key_row not in usable_rows:
            return "unreadable"
        if key_row is signing_row:
            return "signing"
        if key_row not in published_rows:
            return "retired"
        return "next" if key_row.signs_from > at else "verifying"

    return [
        {
            "kid": key_row.kid,
            "alg": key_row.alg,
            "createdAt": key_row.created_at,
            "signsFrom": key_row.signs_from,
            "status": status(key_row),
        }
        for key_row in rows
    ]


@contextlib.contextmanager
def _lock_keys(connection: psycopg.Connection[Any], at: datetime) -> Iterator[Transaction]:
    # A separate statement takes the lock, so that the next statement sees keys that were committed during the wait for
    # the lock.
    with operator_transaction(connection, audit.INSTANCE, at) as transaction:
        transaction.fetch("database/lock_transaction", key=KEYS_LOCK)
        yield transaction


def _read_all_keys(connection: psycopg.Connection[Any]) -> Rows:
    return run_statement(connection, "signing_keys/all_keys")


def _add_key(transaction: Transaction, settings: Settings, *, signs_from: datetime) -> str:
    key = generate_key(settings.signing_alg).signing
    sealed_key = KeySealer(settings).seal_key(key)
    transaction.fetch(
        "signing_keys/add_key", kid=key.kid, alg=key.alg, private_key_encrypted=sealed_key, signs_from=signs_from
    )
    audit.record(transaction, "signing_key.created", key.kid, after={"alg": key.alg, "signsFrom": signs_from})
    return key.kid


def _select_usable_rows(sealer: KeySealer, rows: Rows) -> Rows:
    """Return the rows of revoked keys, and of keys that *sealer* can decrypt. Servers ignore all other keys."""
    usable_rows = []
    for key_row in rows:
        with contextlib.suppress(Unreadable):
            if key_row.revoked_at is None:
                sealer.open(key_row.kid, bytes(key_row.private_key_encrypted))
            usable_rows.append(key_row)
    return usable_rows
