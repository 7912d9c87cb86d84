"""Encrypts signing keys for the database, and derives the public half from a decrypted key."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from agentidp.config import Settings
from agentidp.jose.access_token import SigningKey, VerificationKey
from agentidp.jose.sealing import Sealer


@dataclass(frozen=True)
class OpenedKey:
    """A decrypted private key, with its algorithm and its public key.

    Stored copies of the algorithm and the public key are not used, because nobody would notice a change of a copy.
    """

    signing: SigningKey
    verification: VerificationKey
    jwk: dict[str, str]


class KeySealer(Sealer):
    """Encrypts private keys for the database. The id of a key's row is the kid."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, b"agentidp signing keys")

    def seal_key(self, key: SigningKey) -> bytes:
        """Encrypt a private key under the current instance secret."""
        encoded = key.private_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self.seal(key.kid, encoded)

    def open_key(self, kid: str, sealed: bytes) -> OpenedKey:
        """Decrypt the private key of *kid*, or raise :class:`Unreadable`."""
        return _build_opened_key(kid, serialization.load_der_private_key(self.open(kid, sealed), None))


def generate_key(alg: str) -> OpenedKey:
    """Generate a signing key for *alg*, which is ``ES256`` or ``RS256`` (RFC 7518 section 3.1)."""
    private_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if alg == "ES256":
        private_key = ec.generate_private_key(ec.SECP256R1())
    else:
        private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _build_opened_key(secrets.token_urlsafe(12), private_key)


def _build_opened_key(kid: str, private_key: Any) -> OpenedKey:
    public_key = private_key.public_key()
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        alg, jwk = "ES256", json.loads(jwt.algorithms.ECAlgorithm.to_jwk(public_key))
    else:
        alg, jwk = "RS256", json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public_key))
    jwk.pop("key_ops", None)
    jwk |= {"kid": kid, "alg": alg, "use": "sig"}
    return OpenedKey(SigningKey(kid, alg, private_key), VerificationKey(kid, alg, public_key), jwk)
