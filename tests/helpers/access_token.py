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


def encoded(data: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Forge:
    """Makes tokens that differ from a valid token of an agent in a few members.

    :param organization_id: the id of an organization that is not the agent's.
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
        """Return a JWS of exactly these bytes, signed with our own key unless *key* is given."""
        signed = f"{encoded(json.dumps(header).encode())}.{encoded(payload)}"
        algorithm = jwt.get_algorithm_by_name(alg or self.key.alg)
        prepared = algorithm.prepare_key(self.key.private_key if key is None else key)
        return f"{signed}.{encoded(algorithm.sign(signed.encode(), prepared))}"

    def with_claims(self, **changes: Any) -> str:
        """Return a token that is signed with our own key and has changed claims. ``None`` removes a claim."""
        claims = {name: value for name, value in (self.claims | changes).items() if value is not None}
        return self.sign(self.header, json.dumps(claims).encode())

    def with_header(self, **changes: Any) -> str:
        """Return a token that is signed with our own key and has a changed header. ``None`` removes a member."""
        header = {name: value for name, value in (self.header | changes).items() if value is not None}
        return self.sign(header, json.dumps(self.claims).encode())

    def unsigned(self, alg: Any, signature: str = "") -> str:
        """Return a token whose header says that it has no signature."""
        header = json.dumps(self.header | {"alg": alg}).encode()
        return f"{encoded(header)}.{encoded(json.dumps(self.claims).encode())}.{signature}"

    def twice(self, name: str, first: object, last: object) -> str:
        """Return a token that is signed with our own key and contains a claim twice."""
        other_claims = json.dumps({key: value for key, value in self.claims.items() if key != name})[1:-1]
        payload = f'{{"{name}":{json.dumps(first)},{other_claims},"{name}":{json.dumps(last)}}}'
        return self.sign(self.header, payload.encode())

    def public(self, encoding: serialization.Encoding) -> bytes:
        """Return our public key as bytes."""
        public_key = self.key.private_key.public_key()
        return bytes(public_key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))

    def confused(self, secret: bytes) -> str:
        """Return a token with an HMAC whose key is public knowledge, such as our public key."""
        header, payload = json.dumps(self.header | {"alg": "HS256"}), json.dumps(self.claims)
        signed = f"{encoded(header.encode())}.{encoded(payload.encode())}"
        algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        return f"{signed}.{encoded(algorithm.sign(signed.encode(), secret))}"

    def by_another_key(self, **header: Any) -> str:
        """Return a token that is signed with a key that is not ours."""
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        header = {name: jwk if value == "its own" else value for name, value in header.items()}
        return self.sign(self.header | header, json.dumps(self.claims).encode(), key)
