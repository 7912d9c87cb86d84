"""A signing key in the database: sealed under the instance secret, opened again, and all that is derived from it."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agentidp.config import Settings
from agentidp.jose.access_token import SigningKey, VerificationKey

_NONCE_BYTES = 12


class UnreadableKey(Exception):
    """No instance secret that we have opens this private key."""


@dataclass(frozen=True)
class OpenedKey:
    """A key whose private half was decrypted. The algorithm and the public half are derived from that half: what
    else the database says of them is not authenticated, and anyone who can write to it could have put it there.
    """

    signing: SigningKey
    verification: VerificationKey
    jwk: dict[str, str]


class KeySealer:
    """Encrypts private keys under the instance secret, and decrypts those of the previous one as well.

    AES-256-GCM with a key derived from the secret (HKDF, RFC 5869) and the kid as associated data.

    :raises ConfigurationError: *settings* hold no secret.
    """

    def __init__(self, settings: Settings) -> None:
        _, secret_key = settings.database_and_secret()
        self._current = _cipher(secret_key)
        self._accepted = [self._current]
        if settings.secret_key_previous is not None:
            self._accepted.append(_cipher(settings.secret_key_previous))

    def seal(self, key: SigningKey) -> bytes:
        """Encrypt the private half of *key* under the current secret."""
        encoded = key.private_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._current.encrypt(nonce, encoded, key.kid.encode())

    def open(self, kid: str, sealed: bytes) -> OpenedKey:
        """Decrypt the key *kid*.

        :raises UnreadableKey: it was not sealed as *kid* under a secret that we have.
        """
        for cipher in self._accepted:
            encoded = _decrypt(cipher, kid, sealed)
            if encoded is not None:
                return _opened(kid, serialization.load_der_private_key(encoded, None))
        raise UnreadableKey(kid)

    def is_current(self, kid: str, sealed: bytes) -> bool:
        """Whether the key *kid* is sealed under the current secret."""
        return _decrypt(self._current, kid, sealed) is not None


def new_key(alg: str) -> OpenedKey:
    """Make a key.

    :param alg: ``ES256`` or ``RS256`` (RFC 7518 section 3.1).
    """
    private_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if alg == "ES256":
        private_key = ec.generate_private_key(ec.SECP256R1())
    else:
        private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _opened(secrets.token_urlsafe(12), private_key)


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"agentidp signing keys").derive(secret))


def _decrypt(cipher: AESGCM, kid: str, sealed: bytes) -> bytes | None:
    if len(sealed) <= _NONCE_BYTES:
        return None
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], kid.encode())
    except InvalidTag:
        return None


def _opened(kid: str, private_key: Any) -> OpenedKey:
    public_key = private_key.public_key()
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        alg, jwk = "ES256", json.loads(jwt.algorithms.ECAlgorithm.to_jwk(public_key))
    else:
        alg, jwk = "RS256", json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public_key))
    jwk = {name: value for name, value in jwk.items() if name != "key_ops"} | {"kid": kid, "alg": alg, "use": "sig"}
    return OpenedKey(SigningKey(kid, alg, private_key), VerificationKey(kid, alg, public_key), jwk)
