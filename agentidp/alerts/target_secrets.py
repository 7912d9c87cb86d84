"""The address of a target in the database: encrypted, because services put their tokens into it."""

from __future__ import annotations

import base64
import json
import secrets
from uuid import UUID

from agentidp.alerts.channels import Address
from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.sql import load_sql
from agentidp.jose.sealing import Sealer, Unreadable

SECRET_BYTES = 32
"""Of the key that signs webhooks. Standard Webhooks asks for 24 to 64."""


def new_secret() -> str:
    """A key for signing webhooks, as Standard Webhooks spells it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


class TargetSealer:
    """Encrypts and decrypts addresses under the instance secret.

    :raises ConfigurationError: *settings* hold no secret.
    """

    def __init__(self, settings: Settings) -> None:
        self._sealer = Sealer(settings, b"agentidp alert targets")

    def seal(self, target_id: UUID, address: Address) -> bytes:
        """Encrypt the address of a target."""
        return self._sealer.seal(str(target_id), json.dumps([address.url, address.secret]).encode())

    def open(self, target_id: UUID, sealed: bytes) -> Address:
        """Decrypt the address of a target.

        :raises Unreadable: no instance secret that we have decrypts it.
        """
        url, secret = json.loads(self._sealer.open(str(target_id), sealed))
        return Address(url=url, secret=secret)


def reencrypt(settings: Settings) -> tuple[int, int]:
    """Encrypt every address under the current instance secret that is still under the previous one.

    :returns: how many were encrypted again, and how many there are.
    :raises ConfigurationError: neither secret decrypts one of them. Then nothing is changed.
    """
    sealer, count = Sealer(settings, b"agentidp alert targets"), 0
    with connect(str(settings.database_url)) as connection, connection.transaction():
        rows = connection.execute(load_sql("alerts/all_targets")).fetchall()
        for row in rows:
            target_id, sealed = str(row.target_id), bytes(row.sealed)
            try:
                plain = sealer.open(target_id, sealed)
            except Unreadable:
                raise ConfigurationError(
                    "neither AGENTIDP_SECRET_KEY nor AGENTIDP_SECRET_KEY_PREVIOUS decrypts the alert target "
                    f"{target_id}: delete it, and create it again"
                ) from None
            if not sealer.is_current(target_id, sealed):
                values = {"organization_id": row.organization_id, "target_id": row.target_id}
                resealed = values | {"sealed": sealer.seal(target_id, plain), "previous": sealed}
                # An address that was changed meanwhile is encrypted under the current secret by the server.
                count += len(connection.execute(load_sql("alerts/reseal_target"), resealed).fetchall())
    return count, len(rows)
