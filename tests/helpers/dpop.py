"""Holds a key and sends requests with DPoP proofs."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient
from joserfc.jwk import JWKRegistry
from werkzeug.test import TestResponse

from tests.factories import Agent, Clock
from tests.oauth.clients import ISSUER, KEYS, jwk_of

TOKEN_URL = f"{ISSUER}/api/v1/token"


TREND = "/api/v1/analytics/tokens"


class Holder:
    """A client that has a key and makes DPoP proofs with it."""

    def __init__(self, clock: Clock, alg: str = "ES256", key: Any = None) -> None:
        self.clock, self.alg = clock, alg
        self.key = key or KEYS[alg]()
        self.jwk = jwk_of(self.key, alg)
        self.jwk.pop("key_ops", None)
        self.jkt = JWKRegistry.import_key(self.jwk).thumbprint()

    def proof(self, method: str, url: str, token: str | None = None, **changes: Any) -> str:
        """Return a proof. *changes* replace claims, or ``typ``, ``jwk`` or ``crit``. ``None`` removes the member."""
        claims = {"jti": uuid.uuid4().hex, "htm": method, "htu": url, "iat": int(self.clock().timestamp())}
        if token is not None:
            claims["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        header = {"typ": "dpop+jwt", "jwk": self.jwk, "crit": None}
        header |= {name: changes.pop(name) for name in list(changes) if name in header}
        return jwt.encode(
            {name: value for name, value in (claims | changes).items() if value is not None},
            self.key,
            self.alg,
            headers={name: value for name, value in header.items() if value is not None},
        )


def ask(client: FlaskClient, agent: Agent, *proofs: str) -> TestResponse:
    return client.post(
        "/api/v1/token",
        data={"grant_type": "client_credentials"},
        auth=(agent.client_id, agent.client_secret),
        headers=[("DPoP", proof) for proof in proofs],
    )


def bound_token(client: FlaskClient, agent: Agent, holder: Holder) -> str:
    response = ask(client, agent, holder.proof("POST", TOKEN_URL))
    assert response.status_code == 200, response.json
    return str(response.json["access_token"])


def call(client: FlaskClient, token: str, *proofs: str, scheme: str = "DPoP", path: str = TREND) -> TestResponse:
    return client.get(path, headers=[("Authorization", f"{scheme} {token}"), *(("DPoP", proof) for proof in proofs)])


@pytest.fixture
def holder(clock: Clock) -> Holder:
    return Holder(clock)
