"""Encrypts secrets in the database under the instance secret."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agentidp.config import Settings

_NONCE_BYTES = 12


class Unreadable(Exception):
    """A stored value can be decrypted neither with the instance secret nor with the previous secret."""


class Sealer:
    """Encrypts values for the database under the instance secret. Decrypts them under this or the previous secret.

    Uses AES-256-GCM with a key derived from the secret (HKDF, RFC 5869) for each purpose.
    """

    def __init__(self, settings: Settings, purpose: bytes) -> None:
        self._current = _cipher(settings.instance_secret, purpose)
        self._accepted = [self._current]
        if settings.secret_key_previous is not None:
            self._accepted.append(_cipher(settings.secret_key_previous, purpose))

    def seal(self, row_id: str, plain: bytes) -> bytes:
        """Encrypt a value under the current instance secret. Only the row with this id can use it."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._current.encrypt(nonce, plain, row_id.encode())

    def open(self, row_id: str, sealed: bytes) -> bytes:
        """Decrypt a value of the database row with the id *row_id*, or raise :class:`Unreadable`."""
        for cipher in self._accepted:
            plaintext = _decrypt(cipher, row_id, sealed)
            if plaintext is not None:
                return plaintext
        raise Unreadable(row_id)

    def is_current(self, row_id: str, sealed: bytes) -> bool:
        """Return whether a value is encrypted under the current instance secret."""
        return _decrypt(self._current, row_id, sealed) is not None

    def reseal(self, row_id: str, sealed: bytes) -> bytes | None:
        """Encrypt a value again under the current instance secret. Return ``None`` if it already is."""
        return None if self.is_current(row_id, sealed) else self.seal(row_id, self.open(row_id, sealed))


def _cipher(secret: bytes, purpose: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose).derive(secret))


def _decrypt(cipher: AESGCM, row_id: str, sealed: bytes) -> bytes | None:
    if len(sealed) <= _NONCE_BYTES:
        return None
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row_id.encode())
    except InvalidTag:
        return None
