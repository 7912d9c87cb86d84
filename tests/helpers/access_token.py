"""Forges access tokens."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.factories import RESOURCE_METADATA, Agent
from tests.oauth.clients import NOW

CHALLENGE = (
    'Bearer realm="agentidp", error="invalid_token", '
    f'error_description="The access token is invalid, expired or revoked", {RESOURCE_METADATA}'
)


def encoded(part: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


class Forge:
    """Makes tokens that differ from a good one in what is asked for.

    :param organization_id: another one than the agent's.
    """

    def __init__(self, agent: Agent, organization_id: str = "") -> None:
        self.agent, self.organization_id = agent, organization_id
        self.key = agent.services.keys.current().signing
        settings = agent.services.settings
        self.claims: dict[str, Any] = {
            "iss": settings.issuer,
            "sub": agent.client_id,
            "client_id": agent.client_id,
            "aud": settings.resource,
            "exp": NOW + 600,
            "iat": NOW,
            "jti": uuid.uuid4().hex,
            "organization_id": agent.organization_id,
            "scope": " ".join(agent.scopes),
        }
        self.header: dict[str, Any] = {"typ": "at+jwt", "alg": self.key.alg, "kid": self.key.kid}

    def sign(self, header: dict[str, Any], payload: bytes, key: Any = None, alg: str | None = None) -> str:
        """A JWS of these very bytes; by our own key unless told otherwise."""
        signed = f"{encoded(json.dumps(header).encode())}.{encoded(payload)}"
        algorithm = jwt.get_algorithm_by_name(alg or self.key.alg)
        prepared = algorithm.prepare_key(self.key.private_key if key is None else key)
        return f"{signed}.{encoded(algorithm.sign(signed.encode(), prepared))}"

    def with_claims(self, **changes: Any) -> str:
        """A token by our own key whose claims differ; ``None`` leaves one out."""
        claims = {name: value for name, value in (self.claims | changes).items() if value is not None}
        return self.sign(self.header, json.dumps(claims).encode())

    def with_header(self, **changes: Any) -> str:
        """A token by our own key whose header differs; ``None`` leaves a member out."""
        header = {name: value for name, value in (self.header | changes).items() if value is not None}
        return self.sign(header, json.dumps(self.claims).encode())

    def unsigned(self, alg: Any, signature: str = "") -> str:
        """A token that says it needs no signature."""
        header = json.dumps(self.header | {"alg": alg}).encode()
        return f"{encoded(header)}.{encoded(json.dumps(self.claims).encode())}.{signature}"

    def twice(self, name: str, first: object, last: object) -> str:
        """A token by our own key with a claim that comes twice."""
        rest = json.dumps({key: value for key, value in self.claims.items() if key != name})[1:-1]
        payload = f'{{"{name}":{json.dumps(first)},{rest},"{name}":{json.dumps(last)}}}'
        return self.sign(self.header, payload.encode())

    def public(self, encoding: serialization.Encoding) -> bytes:
        """The key that verifies, as bytes."""
        public_key = self.key.private_key.public_key()
        return bytes(public_key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))

    def confused(self, secret: bytes) -> str:
        """A token with an HMAC keyed by something that everybody knows."""
        header, payload = json.dumps(self.header | {"alg": "HS256"}), json.dumps(self.claims)
        signed = f"{encoded(header.encode())}.{encoded(payload.encode())}"
        algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        return f"{signed}.{encoded(algorithm.sign(signed.encode(), secret))}"

    def by_another_key(self, **header: Any) -> str:
        """A token by a key that is not ours."""
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        header = {name: jwk if value == "its own" else value for name, value in header.items()}
        return self.sign(self.header | header, json.dumps(self.claims).encode(), key)
