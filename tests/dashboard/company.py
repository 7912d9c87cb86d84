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
"""With characters that clients and providers encode in different ways in a header."""

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Company:
    """The provider. A test changes what it says; :meth:`reset` makes it right again.

    :param claims: of the person who signs in, beside those of every ID token; ``None`` leaves one of those out.
    :param id_token: makes the ID token of its claims.
    :param replies: path -> what is sent there instead.
    :param requests: the paths that were asked for.
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
        """Say nothing wrong. Anna is a viewer of no organization."""
        self.claims = {"sub": "anna-1", "name": "Anna Berg", "roles": ["staff", "watchers"]}
        self.metadata, self.userinfo, self.replies, self.requests, self.codes = {}, {}, {}, [], {}
        self.id_token, self.kid = self.signed, "one"
        self.alg, self.is_public = None, False

    @property
    def issuer(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def settings(self, **changes: Any) -> OidcSettings:
        """The settings of AgentIdP for it: the claim ``organization`` has the organization's ID."""
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
        """An ID token as it should be."""
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": self.kid})

    def authorize(self, address: str) -> str:
        """What a person does who is led to *address* and signs in: the path to which the browser is led back."""
        url = urlsplit(address)
        assert f"{url.scheme}://{url.netloc}{url.path}" == f"{self.issuer}/authorize"
        sent = {name: value for name, [value] in parse_qs(url.query).items()}
        assert sent["response_type"] == "code"
        assert (sent["client_id"], sent["code_challenge_method"]) == (CLIENT_ID, "S256")
        code = secrets.token_urlsafe(16)
        self.codes[code] = sent
        back = urlsplit(sent["redirect_uri"])
        return f"{back.path}?{urlencode({'code': code, 'state': sent['state'], 'iss': self.issuer})}"

    def reply(self, path: str, form: dict[str, str], authorization: str) -> Reply:
        """The response to a request."""
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
        made = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "id_token_signing_alg_values_supported": ["none", "HS256", "RS256"],
            # What a client must not take from here.
            "verify": False,
            "timeout": 3600,
        }
        return {name: value for name, value in (made | self.metadata).items() if value is not None}

    def _token(self, form: dict[str, str], authorization: str) -> Reply:
        sent = self.codes.pop(form["code"], None)
        if authorization:
            credentials = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        else:
            secret = CLIENT_SECRET if self.is_public and "client_secret" not in form else form["client_secret"]
            credentials = f"{form['client_id']}:{secret}"
        if credentials != f"{CLIENT_ID}:{CLIENT_SECRET}":
            return _json({"error": "invalid_client", "error_description": CLIENT_SECRET}, 401)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if (
            sent is None
            or sent["code_challenge"] != challenge.decode()
            or sent["redirect_uri"] != form["redirect_uri"]
            or form["grant_type"] != "authorization_code"
        ):
            return _json({"error": "invalid_grant"}, 400)
        now = int(NOON.timestamp())
        made = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": sent["nonce"]}
        claims = {name: value for name, value in (made | self.claims).items() if value is not None}
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
                # Whoever asked waits no more, or has read enough.
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
