"""The token services of clouds, on the loopback. They check a token as docs/federation.md says that the clouds do, by
the issuer's metadata, its keys and the claims, and with the libraries of others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import requests

from tests.factories import PATIENCE
from tests.federation.https_issuer import https_server

WORKLOAD_POOL = (
    "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/agents/providers/agentidp"
)
HOUR = 3600


class Refused(Exception):
    """The cloud refuses the token."""


def verified(token: str, issuer: str, algorithms: list[str], audience: str) -> dict[str, Any]:
    """Verify a token by the keys that the issuer's metadata name, and return its claims.

    :raises Refused: the message is the reason.
    """
    header = jwt.get_unverified_header(token)
    if "kid" not in header or header["alg"] not in algorithms:
        raise Refused(f"header {header}")
    metadata = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=PATIENCE).json()
    if metadata["issuer"] != issuer or "id_token" not in metadata["response_types_supported"]:
        raise Refused("metadata")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token).key,
            algorithms=algorithms,
            audience=audience,
            issuer=issuer,
            options={"require": ["iss", "sub", "aud", "iat", "exp"], "strict_aud": True},
        )
    except jwt.PyJWTError as error:
        raise Refused(type(error).__name__) from None
    if not all(type(claims[name]) is int for name in ("iat", "exp")) or not claims.keys() <= set(
        metadata["claims_supported"]
    ):
        raise Refused("claims")
    return claims


@dataclass
class Cloud:
    """All token services at one address. Each accepts the tokens of one subject.

    :param issuer: the trusted issuer.
    :param subject: the trusted subject.
    :param seen: the claims of the accepted tokens.
    """

    url: str
    issuer: str
    subject: str = ""
    audience: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the response of the service at an address."""
        services: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
            "/v1/token": self.google,
            "/aws": self.aws,
            "/tenant/oauth2/v2.0/token": self.entra,
            "/v1/auth/jwt/login": self.vault,
        }
        if path == "/v1/auth/jwt/login":
            return services[path](json.loads(body))
        return services[path]({name: value for name, [value] in parse_qs(body.decode(), strict_parsing=True).items()})

    def google(self, form: dict[str, str]) -> dict[str, Any]:
        """Google's Security Token Service."""
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange" or form["audience"] != WORKLOAD_POOL:
            raise Refused("request")
        if form["subject_token_type"] != "urn:ietf:params:oauth:token-type:jwt":
            raise Refused("type")
        claims = verified(form["subject_token"], self.issuer, ["RS256", "ES256"], self.audience)
        if claims["exp"] - claims["iat"] >= 48 * HOUR or len(claims["sub"].encode()) > 127:
            raise Refused("claims")
        self._take(claims)
        token_type = "urn:ietf:params:oauth:token-type:access_token"
        return {"access_token": "google", "issued_token_type": token_type, "token_type": "Bearer", "expires_in": HOUR}

    def aws(self, form: dict[str, str]) -> dict[str, Any]:
        """AWS's Security Token Service. It responds in XML, of which this has the values only."""
        if form["Action"] != "AssumeRoleWithWebIdentity" or not 4 <= len(form["WebIdentityToken"]) <= 20_000:
            raise Refused("request")
        algorithms = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
        claims = verified(form["WebIdentityToken"], self.issuer, algorithms, self.audience)
        if not 6 <= len(claims["sub"]) <= 255 or len(claims["aud"]) > 255:
            raise Refused("claims")
        self._take(claims)
        return {"SubjectFromWebIdentityToken": claims["sub"], "Audience": claims["aud"]}

    def entra(self, form: dict[str, str]) -> dict[str, Any]:
        """Microsoft Entra's token endpoint."""
        type_ = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        if form["grant_type"] != "client_credentials" or form["client_assertion_type"] != type_:
            raise Refused("request")
        claims = verified(form["client_assertion"], self.issuer, ["RS256"], "api://AzureADTokenExchange")
        if max(len(claims["sub"]), len(claims["iss"])) > 600:
            raise Refused("claims")
        self._take(claims)
        return {"access_token": "entra", "token_type": "Bearer", "expires_in": HOUR}

    def vault(self, body: dict[str, str]) -> dict[str, Any]:
        """The login of Vault's auth method jwt."""
        claims = verified(body["jwt"], self.issuer, ["ES256", "RS256"], self.audience)
        if not isinstance(claims["client_id"], str):
            raise Refused("user_claim")
        self._take(claims)
        return {"auth": {"client_token": "vault"}}

    def _take(self, claims: dict[str, Any]) -> None:
        if claims["sub"] != self.subject:
            raise Refused("subject")
        self.seen.append(claims)


@contextmanager
def running_cloud(directory: Path, issuer: str) -> Iterator[Cloud]:
    """Run the services over https. Their certificate is in ``tls.crt`` in *directory*."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Entra's metadata, which MSAL reads first."""
            authority = f"{cloud.url}/tenant"
            self._send(
                200,
                {
                    "issuer": f"{authority}/v2.0",
                    "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{authority}/oauth2/v2.0/token",
                },
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                self._send(200, cloud.answer(self.path, body))
            except Refused as refused:
                self._send(400, {"error": "invalid_grant", "error_description": str(refused)})

        def _send(self, status: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with https_server(directory, Handler) as port:
        cloud = Cloud(f"https://localhost:{port}", issuer)
        yield cloud
