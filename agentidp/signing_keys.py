"""The signing keys: made, encrypted, published, rotated; read from the database and kept for a minute.

A key is published as soon as it is made and signs from ``signs_from`` on; it is retired once the tokens that it
signed have all expired. Every process reads the same rows and the same clock, so all switch together.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .config import MAXIMUM_TOKEN_TTL, ConfigurationError, Settings
from .database import NO_ORGANIZATION, Database, Rows
from .tokens import SigningKey, VerificationKey

JWKS_MAX_AGE = 600
"""Seconds that a client may cache the JWKS."""

CACHE_SECONDS = 60
"""Seconds that a process trusts the keys that it has read."""

MINIMUM_REREAD_SECONDS = 5
"""Seconds between two readings that an unknown kid can cause, so that invented ones cost nothing."""

PUBLISH_AHEAD = timedelta(seconds=JWKS_MAX_AGE + CACHE_SECONDS + 240)
"""From publication to the first signature: longer than any client or process keeps an older JWKS."""

RETIRE_AFTER = timedelta(seconds=MAXIMUM_TOKEN_TTL + 3600)
"""From a successor's first signature to retirement: longer than any token lives."""

FIRST_KEY_LOCK = 0x6B6579
"""The advisory lock under which the first key is made."""

_NONCE_BYTES = 12


@dataclass(frozen=True)
class Keys:
    """The keys in force at a moment."""

    signing: SigningKey
    published: dict[str, VerificationKey]
    jwks: dict[str, Any]


class SigningKeys:
    """The keys of the instance, read from *database* and decrypted with ``settings.secret_key``."""

    def __init__(self, database: Database, settings: Settings) -> None:
        if settings.secret_key is None:
            raise ConfigurationError("AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set")
        self._database, self._alg = database, settings.signing_alg
        self._encryption_key = HKDF(
            algorithm=hashes.SHA256(), length=32, salt=None, info=b"agentidp signing keys"
        ).derive(settings.secret_key)
        self._lock = threading.Lock()
        self._keys: Keys | None = None
        self._rows: Rows = []
        self._private_keys: dict[str, SigningKey] = {}
        self._read_at = float("-inf")
        self._valid_until = float("-inf")

    def current(self) -> Keys:
        """The keys in force now; the first call on an empty database makes one.

        :raises ConfigurationError: the instance secret is not the one that the keys were encrypted with.
        """
        now = time.monotonic()
        if self._keys is None or now >= self._valid_until:
            with self._lock:
                if self._keys is None or now >= self._valid_until:
                    self._read()
        assert self._keys is not None  # noqa: S101 - _read sets it or raises
        return self._keys

    def find(self, kid: str) -> VerificationKey | None:
        """The published key *kid*; one that another process has just made is found as well."""
        key = self.current().published.get(kid)
        if key is None and time.monotonic() - self._read_at >= MINIMUM_REREAD_SECONDS:
            with self._lock:
                if time.monotonic() - self._read_at >= MINIMUM_REREAD_SECONDS:
                    self._read()
            key = self.current().published.get(kid)
        return key

    def rotate(self, *, at: datetime, signs_from: datetime | None = None) -> str:
        """Publish a new key of ``settings.signing_alg`` that signs later.

        :param at: now.
        :param signs_from: its first signature; ``PUBLISH_AHEAD`` from *at* when left out.
        :returns: the new key's kid.
        """
        key = self._new_key(at, signs_from or at + PUBLISH_AHEAD)
        with self._lock:
            self._database.fetch("signing_keys/add_key", **key)
            self._read()
        return str(key["kid"])

    def describe(self, *, at: datetime) -> list[dict[str, Any]]:
        """All keys, newest first: kid, alg, createdAt, signsFrom and status at *at*."""
        rows = self._database.fetch("signing_keys/all_keys")
        in_force = published(rows, at)
        signing = signing_row(rows, at)
        return [
            {
                "kid": row.kid,
                "alg": row.alg,
                "createdAt": row.created_at,
                "signsFrom": row.signs_from,
                "status": "signing"
                if row is signing
                else "retired"
                if row not in in_force
                else "next"
                if row.signs_from > at
                else "verifying",
            }
            for row in rows
        ]

    def _read(self) -> None:
        # Both clocks before the reading, however long it takes: what follows from "at" is due from here.
        read_at, at = time.monotonic(), datetime.now(UTC)
        rows = self._database.fetch("signing_keys/all_keys")
        if not rows:
            rows = self._make_first_key(at)
        signing = signing_row(rows, at)
        in_force = published(rows, at)
        self._keys = Keys(
            signing=self._decrypt(signing),
            published={
                row.kid: VerificationKey(row.kid, row.alg, jwt.PyJWK.from_dict(row.public_jwk).key) for row in in_force
            },
            jwks={"keys": [row.public_jwk for row in in_force]},
        )
        # Not beyond the next key's first signature: all processes change over at that moment.
        upcoming = [(row.signs_from - at).total_seconds() for row in rows if row.signs_from > at]
        self._read_at = read_at
        self._valid_until = self._read_at + min([CACHE_SECONDS, *upcoming])

    def _make_first_key(self, at: datetime) -> Rows:
        # Of many processes that start on an empty database one makes the key and the others find it. The lock is a
        # statement of its own, so that the next one sees what was committed while waiting.
        with self._database.transaction(NO_ORGANIZATION) as transaction:
            transaction.fetch("signing_keys/lock_keys", key=FIRST_KEY_LOCK)
            rows = transaction.fetch("signing_keys/all_keys")
            if not rows:
                transaction.fetch("signing_keys/add_key", **self._new_key(at, at))
                rows = transaction.fetch("signing_keys/all_keys")
        return rows

    def _new_key(self, at: datetime, signs_from: datetime) -> dict[str, Any]:
        private_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if self._alg == "ES256":
            private_key = ec.generate_private_key(ec.SECP256R1())
            jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private_key.public_key()))
        else:
            private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private_key.public_key()))
        kid = secrets.token_urlsafe(12)
        jwk = {k: v for k, v in jwk.items() if k != "key_ops"} | {"kid": kid, "alg": self._alg, "use": "sig"}
        encoded = private_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        nonce = os.urandom(_NONCE_BYTES)
        return {
            "kid": kid,
            "alg": self._alg,
            "public_jwk": json.dumps(jwk),
            "private_key_encrypted": nonce + AESGCM(self._encryption_key).encrypt(nonce, encoded, kid.encode()),
            "created_at": at,
            "signs_from": signs_from,
        }

    def _decrypt(self, row: Any) -> SigningKey:
        known = self._private_keys.get(row.kid)
        if known is None:
            sealed = bytes(row.private_key_encrypted)
            try:
                encoded = AESGCM(self._encryption_key).decrypt(
                    sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row.kid.encode()
                )
            except InvalidTag:
                raise ConfigurationError(
                    "AGENTIDP_SECRET_KEY does not decrypt this database's signing keys: "
                    "set the secret that the instance was started with"
                ) from None
            known = SigningKey(row.kid, row.alg, serialization.load_der_private_key(encoded, None))
            self._private_keys = {row.kid: known}
        return known


def signing_row(rows: Rows, at: datetime) -> Any:
    """Of *rows* (newest ``signs_from`` first) the key that signs at *at*; the oldest where none does yet."""
    return next((row for row in rows if row.signs_from <= at), rows[-1])


def published(rows: Rows, at: datetime) -> Rows:
    """Of *rows* (newest ``signs_from`` first) those that verify at *at*: all but the retired."""
    successors = [None, *rows]
    return [
        row
        for row, successor in zip(rows, successors, strict=False)
        if successor is None or at < successor.signs_from + RETIRE_AFTER
    ]
