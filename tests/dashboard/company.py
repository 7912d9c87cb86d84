"""An OpenID Connect provider of our own, by which a test can say anything wrong: a real server with a real key."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from agentidp.config.oidc import OidcSettings
from tests.factories import NOON

CLIENT_ID = "the-dashboard"
CLIENT_SECRET = "hush: 100% +secret"
"""A client secret with characters that clients and providers encode differently in a header."""

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Company:
    """The provider. A test changes its responses; :meth:`reset` restores the correct responses.

    :param claims: claims of the person who signs in, in addition to those of every ID token; ``None`` removes a claim.
    :param id_token: returns the ID token with given claims.
    :param replies: functions that return the response instead, by path.
    :param requests: the paths of the requests.
    """

    server: ThreadingHTTPServer
    key: rsa.RSAPrivateKey = field(repr=False)
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    id_token: Callable[[dict[str, Any]], str | None] = field(init=False)
    replies: dict[str, Callable[[], Reply]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    kid: str = "one"
    alg: str | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    is_public: bool = False

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Restore the correct responses. Anna is a viewer without an organization."""
        self.claims = {"sub": "anna-1", "name": "Anna Berg", "roles": ["staff", "watchers"]}
        self.metadata, self.userinfo, self.replies, self.requests, self.codes = {}, {}, {}, [], {}
        self.id_token, self.kid = self.signed, "one"
        self.alg, self.is_public = None, False

    @property
    def issuer(self) -> str:
        """The issuer: the address of the server."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def settings(self, **changes: Any) -> OidcSettings:
        """Return AgentIdP's settings for the provider. The claim ``organization`` contains the organization's ID."""
        values: dict[str, Any] = {
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "label": "Contoso",
            "organization_claim": "organization",
            "role_claim": "roles",
            "administrators": frozenset({"keepers"}),
            "viewers": frozenset({"watchers"}),
        }
        return OidcSettings(**(values | changes))

    def signed(self, claims: dict[str, Any]) -> str:
        """Return a correctly signed ID token."""
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": self.kid})

    def authorize(self, address: str) -> str:
        """Sign in like a person who is redirected to *address*. Return the path to which the browser is redirected."""
        url = urlsplit(address)
        assert f"{url.scheme}://{url.netloc}{url.path}" == f"{self.issuer}/authorize"
        parameters = {name: value for name, [value] in parse_qs(url.query).items()}
        assert parameters["response_type"] == "code"
        assert (parameters["client_id"], parameters["code_challenge_method"]) == (CLIENT_ID, "S256")
        code = secrets.token_urlsafe(16)
        self.codes[code] = parameters
        redirect_uri = urlsplit(parameters["redirect_uri"])
        query = {"code": code, "state": parameters["state"], "iss": self.issuer}
        return f"{redirect_uri.path}?{urlencode(query)}"

    def reply(self, path: str, form: dict[str, str], authorization: str) -> Reply:
        """Return the response to a request."""
        self.requests.append(path)
        if path in self.replies:
            return self.replies[path]()
        if path == "/.well-known/openid-configuration":
            return _json(self._metadata())
        if path == "/keys":
            jwk = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True) | {"kid": self.kid}
            return _json({"keys": [jwk | ({} if self.alg is None else {"alg": self.alg})]})
        if path == "/userinfo":
            return _json(self.userinfo)
        assert path == "/token", path
        return self._token(form, authorization)

    def _metadata(self) -> dict[str, Any]:
        metadata = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "id_token_signing_alg_values_supported": ["none", "HS256", "RS256"],
            # A client must ignore these members.
            "verify": False,
            "timeout": 3600,
        }
        return {name: value for name, value in (metadata | self.metadata).items() if value is not None}

    def _token(self, form: dict[str, str], authorization: str) -> Reply:
        request_parameters = self.codes.pop(form["code"], None)
        if authorization:
            credentials = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        else:
            secret = CLIENT_SECRET if self.is_public and "client_secret" not in form else form["client_secret"]
            credentials = f"{form['client_id']}:{secret}"
        if credentials != f"{CLIENT_ID}:{CLIENT_SECRET}":
            return _json({"error": "invalid_client", "error_description": CLIENT_SECRET}, 401)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if (
            request_parameters is None
            or request_parameters["code_challenge"] != challenge.decode()
            or request_parameters["redirect_uri"] != form["redirect_uri"]
            or form["grant_type"] != "authorization_code"
        ):
            return _json({"error": "invalid_grant"}, 400)
        now = int(NOON.timestamp())
        valid_claims: dict[str, Any] = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300}
        valid_claims["nonce"] = request_parameters["nonce"]
        claims = {name: value for name, value in (valid_claims | self.claims).items() if value is not None}
        token = {"access_token": "theirs", "token_type": "Bearer", "id_token": self.id_token(claims)}
        return _json({name: value for name, value in token.items() if value is not None})


def _json(body: Any, status: int = 200) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


@contextmanager
def company() -> Iterator[Company]:
    """Run the provider on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: value for name, [value] in parse_qs(sent).items()})

        def _answer(self, form: dict[str, str]) -> None:
            status, headers, body = running.reply(self.path, form, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            try:
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                # The client has closed the connection, or has read enough.
                return

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Company(server, rsa.generate_private_key(65537, 2048))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
