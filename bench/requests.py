"""Builds the requests that the benchmark sends."""

from __future__ import annotations

import base64
import http.client
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from bench.load import LoadFailed

TREND = "/api/v1/analytics/tokens"
HEATMAP = "/api/v1/analytics/agents/activity"
AGENT_USAGE = "/api/v1/analytics/agents"
TOKEN = "/api/v1/token"  # noqa: S105 - a path
INTROSPECT = "/api/v1/token/introspect"
GRANT = "grant_type=client_credentials"
ASSERTION = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion="


def get(path: str, bearer: str) -> bytes:
    """Return the bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\n\r\n".encode()


def post(path: str, body: str, client: tuple[str, str] | None = None) -> bytes:
    """Return the bytes of a POST of a form, with ``client_secret_basic`` if there is a *client*."""
    authorization = f"Authorization: {basic(client)}\r\n" if client else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def basic(client: tuple[str, str]) -> str:
    """Return the Authorization header of a client_id and its client_secret."""
    return "Basic " + base64.b64encode(":".join(client).encode()).decode()


def exchange_of(subject_token: str, resource: str) -> str:
    """Return the form that exchanges a token of an agent."""
    type_ = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
    grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"
    return f"{grant}&subject_token={subject_token}&subject_token_type={type_}&resource={resource}"


def post_assertions(client_id: str, key: ec.EllipticCurvePrivateKey, issuer: str, forms: Iterable[str]) -> list[bytes]:
    """Return token requests with ``private_key_jwt``, each with its own ``jti``.

    :param forms: the rest of the form of each request.
    """
    claims = {"iss": client_id, "sub": client_id, "aud": issuer, "exp": int(time.time()) + 3000}
    return [post(TOKEN, f"{form}&{_assertion(claims | {'jti': uuid.uuid4().hex}, key)}") for form in forms]


def post_federated(client_id: str, key: ec.EllipticCurvePrivateKey, rule: Mapping[str, str]) -> bytes:
    """Return a token request with a token of another issuer, which may be sent repeatedly."""
    now = int(time.time())
    claims = {"iss": rule["issuer"], "sub": rule["subject"], "aud": rule["audience"], "iat": now, "exp": now + 3000}
    return post(TOKEN, f"{GRANT}&client_id={client_id}&{_assertion(claims, key)}")


def _assertion(claims: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    return ASSERTION + jwt.encode(claims, key, "ES256", headers={"kid": "bench"})


def send(port: int, method: str, path: str, authorization: str, body: str | None = None) -> tuple[str, str]:
    """Send a request and return content type and body of the response, which must be a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"Authorization": authorization, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read().decode()
        if response.status != 200:
            raise LoadFailed(f"{method} {path} answered {response.status}: {content[:500]}")
        return response.headers["Content-Type"], content
    finally:
        connection.close()
