"""Requests of clients to the OAuth endpoints, and the expected responses."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.config import Settings
from agentidp.jose.jwk import check_public_jwk
from agentidp.oauth import client_assertion
from agentidp.registry.credentials import add_credential
from tests.conftest import settings_for
from tests.factories import NOON, Agent, database_of, execute
from tests.routes import CLIENT_PATHS

NOW = int(NOON.timestamp())
ISSUER = "http://localhost:3000"
PATH = CLIENT_PATHS[0]
FORM = "application/x-www-form-urlencoded"
GRANT = {"grant_type": "client_credentials"}
COMMON = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Whole = tuple[int, Any, dict[str, str]]


def failed(description: str) -> Whole:
    """Return the whole response for a failed authentication."""
    headers = {**COMMON, "WWW-Authenticate": 'Basic realm="agentidp", charset="UTF-8"'}
    return 401, {"error": "invalid_client", "error_description": description}, headers


FAILED = failed("client authentication failed; the owner of the agent sees why on the page of the agent")
"""The response if neither a secret nor a signature has verified."""

USED_BEFORE = failed("the assertion was used before: sign a new one with a new jti for each request")
numbers = itertools.count(1)


def refused(error: str, description: str, status: int = 400, **headers: str) -> Whole:
    """Return the whole response for an error of RFC 6749 section 5.2."""
    return status, {"error": error, "error_description": description}, {**COMMON, **headers}


def whole(response: TestResponse) -> Whole:
    """Return a whole response, without the id of the request."""
    headers = {name: value for name, value in response.headers if name not in ("X-Request-Id", "Content-Length")}
    return response.status_code, response.json, headers


def basic(client_id: str, client_secret: str, scheme: str = "Basic") -> dict[str, str]:
    """Return the header of ``client_secret_basic``."""
    return {"Authorization": f"{scheme} {base64.b64encode(f'{client_id}:{client_secret}'.encode()).decode()}"}


def ask(client: FlaskClient, data: Any = GRANT, headers: Any = None, path: str = PATH, **more: Any) -> TestResponse:
    """Send a request to an OAuth endpoint. Each request has its own address, so that it is not throttled."""
    number = next(numbers)
    environ = {"REMOTE_ADDR": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}
    return client.post(path, data=data, headers=headers, environ_base=environ, **{"content_type": FORM} | more)


def ask_as(client: FlaskClient, agent: Agent, path: str = PATH, **form: str) -> TestResponse:
    """Send a request of *agent* with its secret."""
    return ask(client, GRANT | form, basic(agent.client_id, agent.client_secret), path)


def claims_of(response: TestResponse) -> dict[str, Any]:
    """Return the claims of the token in a response."""
    assert response.status_code == 200, response.json
    return jwt.decode(response.json["access_token"], options={"verify_signature": False})


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged reasons for rejected authentications."""
    return [record.fields["reason"] for record in caplog.records if record.getMessage() == "authentication rejected"]


def rejections(agent: Agent) -> list[tuple[Any, ...]]:
    """Return an agent's reasons for rejections with their numbers, as the dashboard and the metrics show them."""
    statement = "select reason, rejections from rejected_networks where organization_id = %s and agent_id = %s"
    return execute(agent.database_url, statement, agent.organization_id, agent.agent_id)


def change(client: FlaskClient, operator: Agent, agent: Agent, **changes: Any) -> None:
    """Change an agent by the API."""
    path = f"/api/v1/agents/{agent.agent_id}"
    assert client.patch(path, json=changes, headers=operator.bearer()).status_code == 200


@contextmanager
def application(settings: Settings, clock: Callable[[], datetime]) -> Iterator[FlaskClient]:
    """Return a test client of an application with its own memory, like another process."""
    app = create_app(settings, clock=clock)
    with closing(app.extensions["agentidp"]):
        yield app.test_client()


def process(url: str, clock: Callable[[], datetime], **settings: object) -> AbstractContextManager[FlaskClient]:
    """Return a test client of another application on a database, with other settings."""
    return application(settings_for(url, **settings), clock)


@contextmanager
def commits_to(url: str, table: str) -> Iterator[Callable[[], set[str]]]:
    """Yield a function that returns the values of ``synchronous_commit`` at the commits of the transactions that have
    written to a table since its previous call.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table seen (setting text)")
        connection.execute(
            "create function look() returns trigger language plpgsql security definer as $$ "
            "begin insert into seen values (current_setting('synchronous_commit')); return new; end $$"
        )
        connection.execute(
            f"create constraint trigger look after insert or update on {table} "
            "deferrable initially deferred for each row execute function look()".encode()
        )
        yield lambda: {setting for (setting,) in connection.execute("delete from seen returning setting").fetchall()}


def hand_made(header: Any, claims: Any, by: ec.EllipticCurvePrivateKey | bytes) -> str:
    """Return a JWT that no library makes. *by* signs it, or is its signature in bytes (for HS256 the secret)."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    signed = ".".join(parts)
    if isinstance(by, ec.EllipticCurvePrivateKey):
        by = jwt.get_algorithm_by_name("ES256").sign(signed.encode(), by)
    elif isinstance(header, dict) and header.get("alg") == "HS256":
        by = hmac.digest(by, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(by).rstrip(b'=').decode()}"


KEYS = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    # EdDSA and Ed25519 name the same algorithm (RFC 9864).
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
"""Functions that return a new private key, by algorithm."""


def jwk_of(key: Any, alg: str, /, **members: Any) -> dict[str, Any]:
    """Return the public JWK of a private key."""
    return {**json.loads(jwt.get_algorithm_by_name(alg).to_jwk(key.public_key())), **members}


def register(agent: Agent, *jwks: dict[str, Any]) -> None:
    """Register keys as one credential of an agent."""
    with database_of(agent.services, agent.organization_id).transaction() as opened:
        add_credential(opened, agent.agent_id, expires_at=None, jwks=list(jwks))


@dataclass
class KeyHolder:
    """A client that authenticates with a key."""

    agent: Agent
    key: Any
    alg: str = "ES256"

    @classmethod
    def make(cls, agent: Agent, alg: str = "ES256", kid: str | None = "mine") -> KeyHolder:
        """Register a new key of *agent*."""
        key = KEYS[alg]()
        register(agent, check_public_jwk(jwk_of(key, alg, alg=alg) | ({} if kid is None else {"kid": kid})))
        return cls(agent, key, alg)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of an accepted assertion, with *changes*. The value ``None`` removes a claim."""
        now = int(self.agent.services.clock().timestamp())
        claims = {
            "iss": self.agent.client_id,
            "sub": self.agent.client_id,
            "aud": self.agent.services.settings.issuer,
            "iat": now,
            "exp": now + 60,
            "jti": uuid.uuid4().hex,
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def form(self, text: str | None = None, kid: str | None = "mine", **changes: Any) -> dict[str, str]:
        """Return the form of a token request with an assertion."""
        header = {} if kid is None else {"kid": kid}
        text = text or jwt.encode(self.claims(**changes), self.key, self.alg, headers=header)
        return GRANT | {"client_assertion_type": client_assertion.TYPE, "client_assertion": text}

    def form_of(self, client_id: str) -> dict[str, str]:
        """Return the form of another client, with an assertion that this key has signed."""
        return self.form(iss=client_id, sub=client_id)
