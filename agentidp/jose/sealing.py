"""Encrypts secrets in the database, cookies and forms under the instance secret."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.sql import run_statement

_NONCE_BYTES = 12


class Unreadable(Exception):
    """A stored value can be decrypted neither with the instance secret nor with the previous secret."""


class Sealer:
    """Encrypts values for the database with the instance secret. Decrypts them with this secret or the previous one.

    The cipher is AES-256-GCM. Its key is derived from the secret and the purpose (HKDF, RFC 5869).
    """

    def __init__(self, settings: Settings, purpose: bytes) -> None:
        self._current = _cipher(settings.instance_secret, purpose)
        self._accepted = [self._current]
        if settings.secret_key_previous is not None:
            self._accepted.append(_cipher(settings.secret_key_previous, purpose))

    def seal(self, row_id: str, plain: bytes) -> bytes:
        """Encrypt a value under the current instance secret. Decryption needs the same *row_id*."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._current.encrypt(nonce, plain, row_id.encode())

    def open(self, row_id: str, sealed: bytes) -> bytes:
        """Decrypt a value of the database row with the id *row_id*, or raise :class:`Unreadable`."""
        for cipher in self._accepted:
            plaintext = _decrypt(cipher, row_id, sealed)
            if plaintext is not None:
                return plaintext
        raise Unreadable(row_id)

    def seal_json(self, label: str, content: Any) -> str:
        """Return a JSON value as encrypted text, which only :meth:`open_json` with the same label can decrypt."""
        plain_json = json.dumps(content, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self.seal(label, plain_json)).decode()

    def open_json(self, label: str, sealed_text: str) -> Any:
        """Return the JSON value that :meth:`seal_json` has encrypted, or raise :exc:`Unreadable`."""
        try:
            sealed = base64.urlsafe_b64decode(sealed_text.encode("ascii", "replace"))
        except ValueError:
            raise Unreadable(label) from None
        return json.loads(self.open(label, sealed))

    def is_current(self, row_id: str, sealed: bytes) -> bool:
        """Return whether a value is encrypted under the current instance secret."""
        return _decrypt(self._current, row_id, sealed) is not None

    def reseal(self, row_id: str, sealed: bytes) -> bytes | None:
        """Encrypt a value again, or return ``None`` if it is already encrypted under the current instance secret."""
        return None if self.is_current(row_id, sealed) else self.seal(row_id, self.open(row_id, sealed))


def reseal_secrets(
    settings: Settings, sealer: Sealer, list_statement: str, store_statement: str, id_name: str, noun: str
) -> tuple[int, int]:
    """Encrypt the stored secrets of all organizations again, under the current instance secret.

    :param list_statement: the statement that returns the secrets.
    :param store_statement: the statement that replaces one secret.
    :param id_name: the column with the ID of the object that has the secret.
    :param noun: the noun for the object in an error, for example ``alert target``.
    :returns: the number of secrets that were encrypted again, and the number of all secrets.
    """
    changed_count = 0
    with connect(str(settings.database_url)) as connection, connection.transaction():
        secret_rows = run_statement(connection, list_statement)
        for secret_row in secret_rows:
            row_id, sealed_secret = getattr(secret_row, id_name), bytes(secret_row.sealed)
            try:
                resealed_secret = sealer.reseal(str(row_id), sealed_secret)
            except Unreadable:
                raise ConfigurationError(
                    f"neither AGENTIDP_SECRET_KEY nor AGENTIDP_SECRET_KEY_PREVIOUS decrypts the {noun} {row_id}: "
                    "delete it, and create it again"
                ) from None
            if resealed_secret is not None:
                store_parameters = {"organization_id": secret_row.organization_id, id_name: row_id}
                store_parameters |= {"previous": sealed_secret, "sealed": resealed_secret}
                # The statement skips a secret that was changed after it was read, because a server encrypts a changed
                # secret under the current instance secret.
                changed_count += len(run_statement(connection, store_statement, **store_parameters))
    return changed_count, len(secret_rows)


def _cipher(secret: bytes, purpose: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose).derive(secret))


def _decrypt(cipher: AESGCM, row_id: str, sealed: bytes) -> bytes | None:
    if len(sealed) <= _NONCE_BYTES:
        return None
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], row_id.encode())
    except InvalidTag:
        return None
