"""Encrypts the addresses of alert targets, because they can contain services' tokens."""

from __future__ import annotations

import base64
import json
import secrets
from uuid import UUID

from agentidp.alerts.channels import Address
from agentidp.config import Settings
from agentidp.jose.sealing import Sealer, reseal_secrets

SECRET_BYTES = 32  # length of a key that signs webhooks; Standard Webhooks requires 24 to 64 bytes


def new_secret() -> str:
    """Return a new key for signing webhooks, in the format of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


class TargetSealer:
    """Encrypts and decrypts the addresses of alert targets with the instance secret."""

    def __init__(self, settings: Settings) -> None:
        self._sealer = Sealer(settings, b"agentidp alert targets")

    def seal(self, target_id: UUID, address: Address) -> bytes:
        """Encrypt the address of a target."""
        return self._sealer.seal(str(target_id), json.dumps([address.url, address.secret]).encode())

    def open(self, target_id: UUID, sealed: bytes) -> Address:
        """Decrypt the address of a target.

        :raises Unreadable: neither the current nor the previous instance secret decrypts the address.
        """
        url, signing_secret = json.loads(self._sealer.open(str(target_id), sealed))
        return Address(url=url, secret=signing_secret)


def reencrypt(settings: Settings) -> tuple[int, int]:
    """Encrypt the addresses of alert targets with the current instance secret instead of the previous one.

    :returns: the number of addresses that were encrypted again, and the number of all addresses.
    :raises ConfigurationError: neither of the two secrets decrypts an address. No address is changed.
    """
    sealer = Sealer(settings, b"agentidp alert targets")
    return reseal_secrets(settings, sealer, "alerts/all_targets", "alerts/reseal_target", "target_id", "alert target")
