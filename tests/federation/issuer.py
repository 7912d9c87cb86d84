"""An issuer of platform tokens for tests: a key, and tokens that the key signs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from agentidp.registry.credentials import add_credential, check_trust
from tests.factories import NOON, Agent, database_of

NOW = int(NOON.timestamp())
ISSUER = "https://issuer.example"
SUBJECT = "system:serviceaccount:shop:builder"


@dataclass
class Issuer:
    """The token service of another platform.

    :param kid: the id of its key; ``None`` if its tokens name no key.
    """

    url: str = ISSUER
    alg: str = "RS256"
    kid: str | None = "first"
    key: Any = field(default_factory=lambda: rsa.generate_private_key(65_537, 2048))

    @classmethod
    def with_curve(cls, url: str = ISSUER, kid: str | None = "first") -> Issuer:
        """Return an issuer whose key is an elliptic curve key, which is generated quickly."""
        return cls(url, "ES256", kid, ec.generate_private_key(ec.SECP256R1()))

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as the issuer publishes it."""
        algorithm = jwt.get_algorithm_by_name(self.alg)
        jwk: dict[str, Any] = json.loads(algorithm.to_jwk(self.key.public_key()))
        jwk.pop("key_ops", None)
        jwk |= {"use": "sig", "alg": self.alg} | ({} if self.kid is None else {"kid": self.kid}) | changes
        return {name: value for name, value in jwk.items() if value is not None}

    def jwks(self) -> dict[str, Any]:
        """The JWK Set with the public key."""
        return {"keys": [self.jwk()]}

    def claims(self, audience: object, now: int = NOW, **changes: Any) -> dict[str, Any]:
        """Return the claims of a valid token, with *changes*. The value ``None`` removes a claim."""
        claims = {"iss": self.url, "sub": SUBJECT, "aud": audience, "iat": now, "nbf": now, "exp": now + 3600} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, audience: object, now: int = NOW, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a signed token."""
        return self.sign(self.claims(audience, now, **changes), header)

    def trusted_by(self, agent: Agent, **rule: Any) -> UUID:
        """Give an agent a rule with the issuer's key that trusts a subject, and return the credential's id."""
        return trust(agent, **{"issuer": self.url, "subject": SUBJECT, "jwks": self.jwks()} | rule)

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """Sign any claims, valid or not."""
        headers = ({} if self.kid is None else {"kid": self.kid}) | (header or {})
        # Not jwt.encode, which refuses some of what a test must send.
        return jwt.PyJWS().encode(json.dumps(claims).encode(), self.key, self.alg, headers=headers)


def trust(agent: Agent, **rule: Any) -> UUID:
    """Give an agent a rule of trust, and return the credential's id."""
    settings = agent.services.settings
    with database_of(agent.services, agent.organization_id).transaction() as opened:
        checked = check_trust(rule, settings, agent.organization_id)
        row, _ = add_credential(opened, agent.agent_id, expires_at=None, rule=checked)
    credential_id: UUID = row.credential_id
    return credential_id
