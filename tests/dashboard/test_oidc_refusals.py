"""Whom the provider signs in and we do not, and a provider that says something wrong or nothing at all."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from jwt.algorithms import OKPAlgorithm

from agentidp import create_app
from agentidp.audit import INSTANCE
from agentidp.dashboard import oidc_client
from agentidp.dashboard.oidc_provider import EXTENSION, Provider
from agentidp.dashboard.oidc_sign_in import PATH
from agentidp.federation import issuer_keys
from agentidp.federation.issuer_keys import MAX_BODY, PAUSE_WITHOUT_KEYS, WAITING_OF_ONE
from agentidp.oauth.throttle import FAILURES_A_MINUTE
from tests.audit.conftest import events_of
from tests.conftest import Cast, _fresh_database, settings_for
from tests.dashboard.company import CLIENT_ID, CLIENT_SECRET, Company
from tests.dashboard.conftest import sign_in as sign_in_as_agent
from tests.dashboard.test_oidc import begin, counted, events, refused, sign_in
from tests.factories import NOON, PATIENCE, Clock, free_port, wait_until

REFUSED = "Your company did not sign you in. Try again. The log of the service says why."
EXPIRED = "This sign-in has expired or was completed before. Sign in again."
UNAVAILABLE = "The sign-in of your company cannot be reached now. Try again in a minute, or sign in as an agent."
NO_ORGANIZATION = "Your account belongs to no organization here."
NO_ROLE = "Your account has neither the role of a viewer nor that of an administrator here."


@pytest.fixture(scope="module")
def shared_database(postgres_url: str, template: str) -> Iterator[str]:
    """Of the applications of this module."""
    with contextmanager(_fresh_database)(postgres_url, template) as url:
        yield url


@pytest.fixture
def shared_app(shared_database: str, provider: Company) -> Iterator[Flask]:
    """The application with the provider's settings, which remembers nothing of the provider."""
    app = create_app(settings_for(shared_database, oidc=provider.settings()), clock=Clock())
    yield app
    app.extensions["agentidp"].close()


ADDRESSES = (f"10.{number // 256}.{number % 256}.1" for number in itertools.count())
"""Each test comes from its own site, because failed responses are throttled by address and by site."""


@pytest.fixture
def client(shared_app: Flask) -> FlaskClient:
    """A browser at an address of its own."""
    return browser(shared_app, next(ADDRESSES))


def browser(app: Flask, address: str) -> FlaskClient:
    """A browser at *address*, without a cookie."""
    made = app.test_client()
    made.environ_base["REMOTE_ADDR"] = address
    return made


def log(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Any]]:
    """What the service has logged, with its reason; and no line has a secret in it."""
    lines = [(record.getMessage(), getattr(record, "fields", {})) for record in caplog.records]
    for secret in (CLIENT_SECRET, "theirs", "code_verifier", "hush"):
        assert secret not in json.dumps(lines, default=str)
    return [(message, fields["reason"]) for message, fields in lines if "reason" in fields]


class TestPeopleWithoutAccess:
    """The provider has signed them in."""

    @pytest.mark.parametrize(
        ("claims", "notice", "reason"),
        [
            ({"organization": None}, NO_ORGANIZATION, "no organization"),
            ({"organization": "Acme"}, NO_ORGANIZATION, "no organization"),
            ({"organization": ["org-x", 1, None, {}]}, NO_ORGANIZATION, "no organization"),
            ({"organization": f"org-{'1' * 8}-1111-1111-1111-{'1' * 12}"}, NO_ORGANIZATION, "unknown organization"),
        ],
    )
    def test_without_an_organization_are_recorded_for_the_instance(
        self,
        client: FlaskClient,
        provider: Company,
        cast: Cast,
        caplog: pytest.LogCaptureFixture,
        claims: dict[str, Any],
        notice: str,
        reason: str,
    ) -> None:
        url = str(cast.acme.services.settings.database_url)
        before = len(events_of(url, INSTANCE))
        refused(sign_in(client, provider, cast.acme, sub=reason + str(claims), **claims), 403, notice)
        assert client.get("/dashboard").status_code == 401
        [event] = events_of(url, INSTANCE)[before:]
        assert (event["action"], event["actorType"], event["after"]) == (
            "person.sign_in_refused",
            "person",
            {"reason": reason},
        )
        assert log(caplog) == [("sign-in of a person refused", reason)]
        assert events(cast.acme) == []

    @pytest.mark.parametrize(
        "roles", [None, [], "", "watcher", ["Watchers", "*"], {"watchers": True}, ["keepers,watchers"], [["keepers"]]]
    )
    def test_without_a_role_are_recorded_in_their_organization(
        self, client: FlaskClient, provider: Company, cast: Cast, caplog: pytest.LogCaptureFixture, roles: Any
    ) -> None:
        refused(sign_in(client, provider, cast.acme, roles=roles), 403, NO_ROLE)
        actor = f"anna-1 at {provider.issuer} (Anna Berg)"
        assert events(cast.acme) == [("person.sign_in_refused", "person", actor, {"reason": "no role"})]
        assert log(caplog) == [("sign-in of a person refused", "no role")]
        assert counted(cast.acme) == {0}

    def test_in_two_organizations_get_an_explanation(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        both = [cast.acme.organization_id, cast.outsider.organization_id]
        response = sign_in(client, provider, cast.acme, organization=both)
        refused(response, 403, "Your account belongs to more than one organization here.")

    @pytest.mark.parametrize("subject", ["", "x" * 256, "änna", "anna\n", 7])
    def test_with_a_subject_that_is_none(
        self, client: FlaskClient, provider: Company, cast: Cast, subject: Any
    ) -> None:
        assert sign_in(client, provider, cast.acme, sub=subject).status_code == 403
        assert events(cast.acme) == []

    def test_cannot_fill_the_audit_trail(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        for _ in range(FAILURES_A_MINUTE + 3):
            assert sign_in(client, provider, cast.acme, roles=None, sub="mallory").status_code == 403
        assert len(events(cast.acme)) == FAILURES_A_MINUTE


def unsigned(provider: Company, claims: dict[str, Any]) -> str:
    return jwt.encode(claims, None, algorithm="none")


def signed_with_the_secret(provider: Company, claims: dict[str, Any]) -> str:
    return jwt.encode(claims, CLIENT_SECRET.ljust(32), algorithm="HS256", headers={"kid": "one"})


def signed_with_the_public_key(provider: Company, claims: dict[str, Any]) -> str:
    # By hand: PyJWT refuses to sign with what looks like a public key.
    import hmac

    pem = provider.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "one"}, claims)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(pem, text, "sha256")).rstrip(b"=")
    return (text + b"." + signature).decode()


def signed_with_another_key(provider: Company, claims: dict[str, Any]) -> str:
    return jwt.encode(claims, rsa.generate_private_key(65537, 2048), algorithm="RS256", headers={"kid": "one"})


def signed_with_an_unknown_key(provider: Company, claims: dict[str, Any]) -> str:
    return jwt.encode(claims, provider.key, algorithm="RS256", headers={"kid": "two"})


def changed_after_signing(provider: Company, claims: dict[str, Any]) -> str:
    header, _, signature = provider.signed(claims).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims | {"roles": ["keepers"]}).encode()).rstrip(b"=").decode()
    return f"{header}.{body}.{signature}"


def missing(provider: Company, claims: dict[str, Any]) -> str | None:
    return None


def rubbish(provider: Company, claims: dict[str, Any]) -> str:
    return "ey.not.a-token"


SECONDS = int(NOON.timestamp())


class TestIdTokens:
    """Each is wrong in one way."""

    @pytest.mark.parametrize(
        "claims",
        [
            {"nonce": "another"},
            {"nonce": None},
            {"aud": "another-client"},
            {"aud": "another-client", "azp": CLIENT_ID},
            {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
            {"aud": None},
            {"iss": "https://elsewhere.example"},
            {"iss": None},
            {"exp": SECONDS - oidc_client.CLOCK_DIFFERENCE - 1},
            {"exp": None},
            {"iat": SECONDS + oidc_client.CLOCK_DIFFERENCE + 1},
            {"nbf": SECONDS + oidc_client.CLOCK_DIFFERENCE + 1},
            {"sub": None},
            {"exp": "soon"},
            {"iat": None},
            {"nbf": True},
            {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        ],
        ids=str,
    )
    def test_with_a_wrong_claim(
        self, client: FlaskClient, provider: Company, cast: Cast, caplog: pytest.LogCaptureFixture, claims: Any
    ) -> None:
        refused(sign_in(client, provider, cast.acme, **claims), 403, REFUSED)
        [(message, reason)] = log(caplog)
        assert message == "sign-in of a person refused"
        # azp is what is wrong with an audience of several.
        names = "|".join(claims)
        assert any(f" {name}" in reason for name in names.split("|")), reason
        assert events(cast.acme) == []

    @pytest.mark.parametrize(
        "make",
        [
            unsigned,
            signed_with_the_secret,
            signed_with_the_public_key,
            signed_with_another_key,
            signed_with_an_unknown_key,
            changed_after_signing,
            missing,
            rubbish,
        ],
    )
    def test_with_a_wrong_signature(
        self,
        client: FlaskClient,
        provider: Company,
        cast: Cast,
        caplog: pytest.LogCaptureFixture,
        make: Callable[[Company, dict[str, Any]], str | None],
    ) -> None:
        provider.id_token = lambda claims: make(provider, claims)
        refused(sign_in(client, provider, cast.acme), 403, REFUSED)
        assert [message for message, _ in log(caplog)] == ["sign-in of a person refused"]
        # The same person, by a token that is right.
        provider.id_token = provider.signed
        assert sign_in(client, provider, cast.acme).status_code == 200

    def test_a_clock_may_differ_by_a_minute(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        late = {"iat": SECONDS + oidc_client.CLOCK_DIFFERENCE}
        assert sign_in(client, provider, cast.acme, **late).status_code == 200

    def test_a_hash_of_the_access_token_is_checked(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        half = hashlib.sha256(b"theirs").digest()[:16]
        at_hash = base64.urlsafe_b64encode(half).rstrip(b"=").decode()
        assert sign_in(client, provider, cast.acme, at_hash=at_hash).status_code == 200

    @pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
    def test_algorithms_of_an_rsa_key(self, client: FlaskClient, provider: Company, cast: Cast, alg: str) -> None:
        provider.id_token = lambda claims: jwt.encode(claims, provider.key, algorithm=alg, headers={"kid": "one"})
        provider.alg = alg
        assert sign_in(client, provider, cast.acme).status_code == 200
        # A key is for one algorithm.
        other = "PS256" if alg != "PS256" else "RS256"
        provider.id_token = lambda claims: jwt.encode(claims, provider.key, algorithm=other, headers={"kid": "one"})
        refused(sign_in(client, provider, cast.acme), 403, REFUSED)

    @pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
    def test_algorithms_of_an_edwards_key(self, client: FlaskClient, provider: Company, cast: Cast, alg: str) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "one"}
        provider.replies["/keys"] = lambda: (200, {}, json.dumps({"keys": [jwk]}).encode())
        provider.id_token = lambda claims: jwt.encode(claims, key, algorithm=alg, headers={"kid": "one"})
        half = hashlib.sha512(b"theirs").digest()[:32]
        at_hash = base64.urlsafe_b64encode(half).rstrip(b"=").decode()
        assert sign_in(client, provider, cast.acme, at_hash=at_hash).status_code == 200
        refused(sign_in(client, provider, cast.acme, at_hash=at_hash[::-1]), 403, REFUSED)

    def test_an_access_token_that_is_no_text(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        """As a JSON string can be. Nothing needs it if the ID token says all."""
        path = provider.authorize(begin(client))
        now = int(NOON.timestamp())
        claims = {"iss": provider.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, **provider.claims}
        claims |= {"nonce": next(iter(provider.codes.values()))["nonce"], "organization": cast.acme.organization_id}
        token = {"access_token": "\ud800", "token_type": "Bearer", "id_token": provider.signed(claims)}
        provider.replies["/token"] = lambda: (200, {}, json.dumps(token).encode())
        assert client.get(path).status_code == 200

    def test_a_new_key_of_the_provider_is_found(
        self, client: FlaskClient, provider: Company, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As for any issuer, an unknown key is looked for at most once a minute."""
        monkeypatch.setattr(issuer_keys, "PAUSE", 0.0)
        assert sign_in(client, provider, cast.acme).status_code == 200
        provider.kid = "rotated"
        assert sign_in(client, provider, cast.acme).status_code == 200
        assert provider.requests.count("/keys") == 2
        assert provider.requests.count("/.well-known/openid-configuration") == 2


class TestTheCallback:
    """What arrives there, and from whom."""

    def test_a_response_is_taken_once(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        provider.claims["organization"] = cast.acme.organization_id
        path = provider.authorize(begin(client))
        assert client.get(path).status_code == 200
        refused(client.get(path), 400, EXPIRED)
        assert provider.requests.count("/token") == 1

    @pytest.mark.parametrize("query", ["", "?state=unknown&code=x", "?code=x", "?state=%00&code=%ff", "?state=&code="])
    def test_a_response_that_nobody_asked_for(self, client: FlaskClient, provider: Company, query: str) -> None:
        begin(client)
        refused(client.get(f"{PATH}/callback{query}"), 400, EXPIRED)
        assert "/token" not in provider.requests

    def test_in_another_browser(self, client: FlaskClient, provider: Company, shared_app: Flask) -> None:
        path = provider.authorize(begin(client))
        refused(shared_app.test_client().get(path), 400, EXPIRED)

    def test_too_late(
        self, client: FlaskClient, provider: Company, shared_app: Flask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = provider.authorize(begin(client))
        monkeypatch.setattr(shared_app, "permanent_session_lifetime", timedelta(seconds=-1))
        refused(client.get(path), 400, EXPIRED)

    def test_of_another_issuer(self, client: FlaskClient, provider: Company, caplog: pytest.LogCaptureFixture) -> None:
        path = provider.authorize(begin(client)).partition("&iss=")[0]
        refused(client.get(f"{path}&iss=https://elsewhere.example"), 403, REFUSED)
        assert log(caplog) == [("sign-in of a person refused", "the response is of another issuer")]

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            ("access_denied", "access_denied"),
            ("login_required", "login_required"),
            ("<script>alert(1)</script>", "unreadable error"),
            ("", "unreadable error"),
        ],
    )
    def test_an_error_of_the_provider(
        self, client: FlaskClient, caplog: pytest.LogCaptureFixture, error: str, reason: str
    ) -> None:
        response = client.get(f"{PATH}/callback", query_string={"error": error, "error_description": "<b>x"})
        refused(response, 403, REFUSED)
        assert "<script>alert" not in response.text
        assert log(caplog) == [("sign-in of a person refused", reason)]

    def test_a_code_that_the_provider_refuses(
        self, client: FlaskClient, provider: Company, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = provider.authorize(begin(client))
        provider.codes.clear()
        refused(client.get(path), 403, REFUSED)
        assert log(caplog) == [("sign-in of a person refused", "invalid_grant")]

    def test_a_secret_that_the_provider_refuses(
        self, shared_database: str, provider: Company, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = settings_for(shared_database, oidc=provider.settings(client_secret="hush-hush"))
        app = create_app(settings, clock=Clock())
        client = app.test_client()
        refused(client.get(provider.authorize(begin(client))), 403, REFUSED)
        assert log(caplog) == [("sign-in of a person refused", "invalid_client")]
        app.extensions["agentidp"].close()

    def test_a_secret_can_be_sent_in_a_header(self, client: FlaskClient, provider: Company, cast: Cast) -> None:
        provider.metadata = {"token_endpoint_auth_methods_supported": None}
        assert sign_in(client, provider, cast.acme).status_code == 200


def text(body: str, status: int = 200, **headers: str) -> Callable[[], Any]:
    """A reply of the provider."""
    return lambda: (status, headers, body.encode())


class TestAProviderInTrouble:
    """It is down, slow, or says what nobody expects."""

    def unreachable(self, shared_database: str, provider: Company) -> Flask:
        settings = provider.settings(issuer=f"http://127.0.0.1:{free_port()}")
        return create_app(settings_for(shared_database, oidc=settings), clock=Clock())

    def test_agents_sign_in_while_it_is_down(
        self,
        shared_database: str,
        provider: Company,
        cast: Cast,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        app = self.unreachable(shared_database, provider)
        client = app.test_client()
        response = client.get(PATH)
        refused(response, 503, UNAVAILABLE)
        assert response.headers["Retry-After"] == str(int(PAUSE_WITHOUT_KEYS))
        assert log(caplog) == [("keys of an issuer not fetched", "no connection: Connection refused")]
        # Nobody waits for it again for a while.
        refused(client.get(PATH), 503, UNAVAILABLE)
        assert len(log(caplog)) == 1
        assert sign_in_as_agent(client, cast.acme).status_code == 303
        assert client.get("/dashboard").status_code == 200
        app.extensions["agentidp"].close()

    def test_it_is_tried_again(
        self, client: FlaskClient, provider: Company, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(issuer_keys, "PAUSE_WITHOUT_KEYS", 0.0)
        provider.replies["/.well-known/openid-configuration"] = text("", 500)
        refused(client.get(PATH), 503, UNAVAILABLE)
        provider.reset()
        assert sign_in(client, provider, cast.acme).status_code == 200

    @pytest.mark.parametrize(
        ("metadata", "reason"),
        [
            ({"issuer": "https://elsewhere.example"}, "the metadata is of another issuer"),
            ({"issuer": None}, "the metadata is of another issuer"),
            ({"jwks_uri": None}, "the metadata has no jwks_uri"),
            ({"jwks_uri": "https://192.0.2.1/keys"}, "the address is not public"),
            ({"jwks_uri": "http://192.0.2.1/keys"}, "the address is not an https URL"),
            ({"authorization_endpoint": None}, "authorization_endpoint of the metadata is not an https URL"),
            (
                {"authorization_endpoint": "javascript:alert(1)"},
                "authorization_endpoint of the metadata is not an https URL",
            ),
            (
                {"authorization_endpoint": "http://sso.example/authorize"},
                "authorization_endpoint of the metadata is not an https URL",
            ),
        ],
        ids=str,
    )
    def test_metadata_that_cannot_be_used(
        self, client: FlaskClient, provider: Company, caplog: pytest.LogCaptureFixture, metadata: Any, reason: str
    ) -> None:
        provider.metadata = metadata
        refused(client.get(PATH), 503, UNAVAILABLE)
        assert [logged for _, logged in log(caplog)] == [reason]

    @pytest.mark.parametrize("metadata", [{"token_endpoint": None}, {"token_endpoint": ["x"]}], ids=str)
    def test_metadata_without_a_token_endpoint(
        self, client: FlaskClient, provider: Company, cast: Cast, caplog: pytest.LogCaptureFixture, metadata: Any
    ) -> None:
        provider.metadata = metadata
        refused(sign_in(client, provider, cast.acme), 503, UNAVAILABLE)
        assert [logged for _, logged in log(caplog)] == ["token_endpoint of the metadata is not an https URL"]

    @pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
    @pytest.mark.parametrize(
        "reply",
        [
            text("<html>", **{"Content-Type": "text/html"}),
            text("[]"),
            text('"text"'),
            text("{}"),
            text("", 404),
            text("", 503),
            text("", 302, Location="/elsewhere"),
            text(json.dumps({"x": "y" * MAX_BODY})),
        ],
        ids=["html", "list", "text", "empty object", "404", "503", "redirect", "too large"],
    )
    def test_a_response_that_cannot_be_used_is_a_page(
        self,
        client: FlaskClient,
        provider: Company,
        cast: Cast,
        caplog: pytest.LogCaptureFixture,
        path: str,
        reply: Callable[[], Any],
    ) -> None:
        address = begin(client) if path == "/token" else ""
        provider.replies[path] = reply
        response = client.get(provider.authorize(address) if address else PATH)
        assert response.status_code in (403, 503)
        assert "/elsewhere" not in provider.requests
        assert len(log(caplog)) == 1
        assert client.get("/dashboard").status_code == 401

    @pytest.mark.parametrize("path", ["/token", "/userinfo"])
    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (text("<html>", 403, **{"Content-Type": "text/html"}), "status 403"),
            (text("", 499), "status 499"),
            (text("<html>", **{"Content-Type": "text/html"}), None),
        ],
        ids=["html 403", "499", "html"],
    )
    def test_a_refusal_of_one_person_does_not_pause_the_others(
        self,
        client: FlaskClient,
        provider: Company,
        cast: Cast,
        caplog: pytest.LogCaptureFixture,
        path: str,
        reply: Callable[[], Any],
        reason: str | None,
    ) -> None:
        provider.metadata = {"userinfo_endpoint": f"{provider.issuer}/userinfo"}
        provider.replies[path] = reply
        refused(sign_in(client, provider, cast.acme, roles=None), 403, REFUSED)
        [(message, logged)] = log(caplog)
        assert message == "sign-in of a person refused"
        assert reason in (None, logged)
        provider.replies.clear()
        assert sign_in(client, provider, cast.acme).status_code == 200

    @pytest.mark.parametrize("path", ["/token", "/userinfo"])
    def test_a_server_error_about_one_code_does_not_pause_the_others(
        self,
        client: FlaskClient,
        provider: Company,
        cast: Cast,
        caplog: pytest.LogCaptureFixture,
        path: str,
    ) -> None:
        provider.metadata = {"userinfo_endpoint": f"{provider.issuer}/userinfo"}
        provider.replies[path] = text("", 500)
        refused(sign_in(client, provider, cast.acme, roles=None), 503, UNAVAILABLE)
        assert log(caplog) == [("OpenID Connect provider unreachable", "status 500")]
        provider.replies.clear()
        assert sign_in(client, provider, cast.acme).status_code == 200

    def test_metadata_that_is_too_large(self, client: FlaskClient, provider: Company) -> None:
        provider.metadata = {"description": "x" * (MAX_BODY - 2000)}
        assert client.get(PATH).status_code == 302
        provider.metadata = {"description": "x" * MAX_BODY}
        fresh = create_app(client.application.extensions["agentidp"].settings, clock=Clock())
        refused(fresh.test_client().get(PATH), 503, UNAVAILABLE)
        fresh.extensions["agentidp"].close()

    def test_a_response_that_never_ends(self, client: FlaskClient, provider: Company, shared_app: Flask) -> None:
        shared_app.extensions[EXTENSION] = Provider(provider.settings(), timeout=0.1)
        is_over = threading.Event()

        def late() -> Any:
            is_over.wait(PATIENCE)
            return 200, {}, b"{}"

        provider.replies["/.well-known/openid-configuration"] = late
        refused(client.get(PATH), 503, UNAVAILABLE)
        is_over.set()

    def test_all_requests_of_a_sign_in_together_are_bounded(
        self, client: FlaskClient, provider: Company, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each response takes three seconds of five."""
        provider.metadata = {"userinfo_endpoint": f"{provider.issuer}/userinfo"}
        provider.claims |= {"organization": cast.acme.organization_id, "roles": None}
        path = provider.authorize(begin(client))
        provider.requests.clear()
        now = time.monotonic()
        monkeypatch.setattr(oidc_client, "time", SimpleNamespace(monotonic=lambda: now + len(provider.requests) * 3))
        timeouts: list[float] = []
        send = oidc_client.request

        def recorded(*args: Any, **kwargs: Any) -> Any:
            timeouts.append(kwargs["timeout"])
            return send(*args, **kwargs)

        monkeypatch.setattr(oidc_client, "request", recorded)
        client.get(path)
        assert provider.requests == ["/token", "/userinfo"]
        assert timeouts == pytest.approx([oidc_client.TIMEOUT, oidc_client.TIMEOUT - 3])

    def test_few_threads_wait_for_its_metadata_and_the_others_are_free(
        self, client: FlaskClient, provider: Company, shared_app: Flask
    ) -> None:
        shared_app.extensions[EXTENSION] = Provider(provider.settings(), timeout=PATIENCE)
        is_over = threading.Event()

        def late() -> Any:
            is_over.wait(PATIENCE)
            return 500, {}, b""

        provider.replies["/.well-known/openid-configuration"] = late
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(shared_app.test_client().get(PATH).status_code))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        # Two wait: all others have their page while the provider says nothing.
        wait_until(lambda: len(statuses) == len(threads) - WAITING_OF_ONE)
        refused(client.get(PATH), 503, UNAVAILABLE)
        assert [thread.is_alive() for thread in threads].count(True) == WAITING_OF_ONE == 2
        is_over.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {503}
        # Nobody tried again after the failure.
        assert len(provider.requests) == 1

    def test_signing_out_needs_it_for_nothing(
        self, client: FlaskClient, provider: Company, cast: Cast, shared_app: Flask
    ) -> None:
        assert sign_in(client, provider, cast.acme).status_code == 200
        provider.replies["/.well-known/openid-configuration"] = text("", 500)
        fresh = create_app(shared_app.extensions["agentidp"].settings, clock=Clock())
        cookie = client.get_cookie("agentidp_session", path="/dashboard")
        assert cookie is not None
        client = fresh.test_client()
        client.set_cookie("agentidp_session", cookie.value, path="/dashboard")
        response = client.post("/dashboard/sign-out", headers={"Sec-Fetch-Site": "same-origin"})
        assert (response.status_code, response.headers["Location"]) == (303, "/dashboard/sign-in?signed-out")
        fresh.extensions["agentidp"].close()


class TestSomebodyWhoStopsTheOthers:
    """Responses with bad codes, from one address and from several."""

    def bad(self, client: FlaskClient, provider: Company) -> str:
        """The path of a response whose code the provider does not know."""
        return provider.authorize(begin(client)).replace("code=", "code=not-")

    def test_is_refused_after_some_failures_and_nobody_else_is(
        self, client: FlaskClient, provider: Company, cast: Cast, shared_app: Flask
    ) -> None:
        for _ in range(FAILURES_A_MINUTE):
            refused(client.get(self.bad(client, provider)), 403, REFUSED)
        provider.requests.clear()
        path = provider.authorize(begin(client))
        response = client.get(path)
        refused(response, 429, "Too many failed attempts. Try again in 6 s.")
        assert response.headers["Retry-After"] == "6"
        assert provider.requests == []
        assert sign_in(browser(shared_app, next(ADDRESSES)), provider, cast.acme).status_code == 200
        # The refused response was not consumed, and is accepted when it is admitted.
        shared_app.extensions["agentidp"].clock.advance(seconds=6)
        assert client.get(path).status_code == 200

    def test_failures_that_ask_the_provider_for_nothing_are_not_counted(
        self, client: FlaskClient, provider: Company, cast: Cast
    ) -> None:
        for _ in range(FAILURES_A_MINUTE + 1):
            refused(client.get(f"{PATH}/callback?state=unknown&code=x"), 400, EXPIRED)
            refused(client.get(f"{PATH}/callback?error=access_denied"), 403, REFUSED)
        assert sign_in(client, provider, cast.acme).status_code == 200

    def test_the_provider_s_own_errors_are_counted(
        self, client: FlaskClient, provider: Company, cast: Cast, shared_app: Flask
    ) -> None:
        provider.replies["/token"] = text("", 502)
        for _ in range(FAILURES_A_MINUTE):
            refused(client.get(self.bad(client, provider)), 503, UNAVAILABLE)
        refused(client.get(self.bad(client, provider)), 429, "Too many failed attempts. Try again in 6 s.")
        provider.replies.clear()
        assert sign_in(browser(shared_app, next(ADDRESSES)), provider, cast.acme).status_code == 200

    def test_is_refused_at_all_addresses_of_a_site_after_more_failures(
        self, provider: Company, cast: Cast, shared_app: Flask
    ) -> None:
        """Three times as many, because a site has more people than a host."""
        for number in range(3 * FAILURES_A_MINUTE):
            attacker = browser(shared_app, f"2001:db8:0:{number:x}::1")
            refused(attacker.get(self.bad(attacker, provider)), 403, REFUSED)
        for address, status in (("2001:db8:0:ff::1", 429), ("2001:db8:0:100::1", 200)):
            assert sign_in(browser(shared_app, address), provider, cast.acme).status_code == status

    @pytest.mark.parametrize(
        ("addresses", "tries", "most"),
        [
            ([f"203.0.113.{number}" for number in range(256)], 1, 0),
            ([f"2001:db8:1:{number:x}::1" for number in range(256)], 1, 0),
            ([f"10.200.{number}.1" for number in range(40)], 8, 2),
            ([f"10.201.{number}.1" for number in range(250)], 40, 2),
        ],
        ids=["a /24", "a /56", "40 addresses", "250 addresses"],
    )
    def test_keeps_few_of_the_others_out(
        self,
        provider: Company,
        cast: Cast,
        shared_app: Flask,
        monkeypatch: pytest.MonkeyPatch,
        addresses: list[str],
        tries: int,
        most: int,
    ) -> None:
        """20 people sign in, one after the other, every other one in an office. Before each, 16 connections take what
        places they can get for codes that the provider refuses slowly. One that gets none tries again, from the next
        address. If sites were not told apart by their failures, none of the 20 would get in.
        """
        monkeypatch.setattr(oidc_client, "TIMEOUT", PATIENCE)
        begun, office = browser(shared_app, next(ADDRESSES)), next(ADDRESSES)
        path = self.bad(begun, provider)
        cookie = begun.get_cookie("agentidp_sign_in", path=PATH)
        assert cookie is not None
        sent, attackers, statuses = {"Cookie": f"agentidp_sign_in={cookie.value}"}, itertools.cycle(addresses), []

        def connect(tries: int) -> set[int]:
            attacker = shared_app.test_client(use_cookies=False)
            found = set()
            for _ in range(tries):
                address = {"REMOTE_ADDR": next(attackers)}
                found.add(attacker.get(path, headers=sent, environ_overrides=address).status_code)
                if found & {403}:
                    break
            return found

        with ThreadPoolExecutor(16) as threads:
            for number in range(20):
                refusal = threading.Event()

                def late(refusal: threading.Event = refusal) -> Any:
                    refusal.wait(PATIENCE)
                    return 400, {}, b"{}"

                provider.requests.clear()
                provider.replies["/token"] = late
                # Two rounds are enough to try all addresses.
                connections = [threads.submit(connect, tries if number < 2 else 1) for _ in range(16)]
                wait_until(lambda c=connections: sum(one.done() for one in c) + provider.requests.count("/token") >= 16)
                del provider.replies["/token"]
                person = browser(shared_app, next(ADDRESSES) if number % 2 else office)
                statuses.append(sign_in(person, provider, cast.acme).status_code)
                refusal.set()
                assert set().union(*(one.result(PATIENCE) for one in connections)) <= {403, 429, 503}
        assert set(statuses) <= {200, 503}
        assert statuses.count(503) <= most
