"""Secrets in the database: encrypted under the instance secret, and decrypted with the previous one as well."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agentidp.config import Settings

_NONCE_BYTES = 12


class Unreadable(Exception):
    """No instance secret that we have decrypts this."""


class Sealer:
    """Encrypts under the instance secret, and decrypts what was encrypted under the previous one as well.

    AES-256-GCM with a key derived from the secret (HKDF, RFC 5869) and the row's id as associated data.

    :param purpose: of the secrets. Each purpose has a key of its own.
    :raises ConfigurationError: *settings* hold no secret.
    """

    def __init__(self, settings: Settings, purpose: bytes) -> None:
        _, secret_key = settings.database_and_secret()
        self._current = _cipher(secret_key, purpose)
        self._accepted = [self._current]
        if settings.secret_key_previous is not None:
            self._accepted.append(_cipher(settings.secret_key_previous, purpose))

    def seal(self, row: str, plain: bytes) -> bytes:
        """Encrypt *plain* for the row with this id under the current secret."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._current.encrypt(nonce, plain, row.encode())

    def open(self, row: str, sealed: bytes) -> bytes:
        """Decrypt what was sealed for the row.

        :raises Unreadable: it was not sealed for this row under a secret that we have.
        """
        for cipher in self._accepted:
            plain = _decrypt(cipher, row, sealed)
            if plain is not None:
                return plain
        raise Unreadable(row)

    def is_current(self, row: str, sealed: bytes) -> bool:
        """Whether it is sealed under the current secret."""
        return _decrypt(self._current, row, sealed) is not None


def _cipher(secret: bytes, purpose: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose).derive(secret))


def _decrypt(cipher: AESGCM, row: str, sealed: bytes) -> bytes | None:
    if len(sealed) <= _NONCE_BYTES:
        return None
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row.encode())
    except InvalidTag:
        return None
