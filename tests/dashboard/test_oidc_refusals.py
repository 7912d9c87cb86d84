"""Whom the provider signs in and we do not, and a provider that says something wrong or nothing at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from jwt.algorithms import OKPAlgorithm
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.audit import INSTANCE
from agentidp.dashboard.oidc_sign_in import PATH
from agentidp.federation.issuer_documents import MAX_BODY
from agentidp.federation.issuer_keys import PAUSE_WITHOUT_KEYS
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from agentidp.openid import client as oidc_client
from agentidp.openid import provider as oidc_provider
from agentidp.openid.flows import LIFETIME
from agentidp.openid.provider import EXTENSION, Provider
from agentidp.services import Services
from tests.audit.conftest import events_of
from tests.conftest import _fresh_database, settings_for
from tests.dashboard.company import CLIENT_ID, CLIENT_SECRET, Company
from tests.dashboard.conftest import Wire, cookie_header, counted, led_to, post, refused, store_cookies, with_cookie
from tests.dashboard.conftest import sign_in as sign_in_as_agent
from tests.factories import NOON, PATIENCE, Agent, Clock, execute, free_port, wait_until
from tests.helpers.oidc import UNKNOWN, begin, events, sign_in

REFUSED = "Your company did not sign you in. Try again. The log of the service says why."
EXPIRED = "This sign-in has expired or was completed before. Sign in again."
UNAVAILABLE = "The sign-in of your company cannot be reached now. Try again in a minute, or sign in as an agent."
NO_ENDPOINT = "{}_endpoint of the metadata is not an https URL"


@pytest.fixture(scope="module")
def shared_database(postgres_url: str, template: str) -> Iterator[str]:
    """The URL of the database of all applications of this module."""
    with contextmanager(_fresh_database)(postgres_url, template) as url:
        yield url


@pytest.fixture(scope="module")
def wired(running_provider: Company) -> Flask:
    """The application without services."""
    return create_app(settings_for("postgresql:///none", oidc=running_provider.settings()))


@pytest.fixture
def shared_app(wired: Flask, shared_database: str, provider: Company) -> Iterator[Flask]:
    """The application with the provider's settings, which remembers nothing of the provider."""
    settings = settings_for(shared_database, oidc=provider.settings())
    services = wired.extensions["agentidp"] = Services.of(settings, Clock())
    # All tests of this module have the same provider, whose failures are throttled.
    execute(shared_database, "delete from throttles")
    oidc_provider.init_app(wired, settings)
    yield wired
    services.close()


ADDRESSES = (f"10.{number // 256}.{number % 256}.1" for number in itertools.count())
"""Each test comes from its own network, because failed responses are throttled by address and by network."""


@pytest.fixture
def client(shared_app: Flask) -> FlaskClient:
    """A browser with an address of its own."""
    return browser(shared_app, next(ADDRESSES))


def browser(app: Flask, address: str) -> FlaskClient:
    """A browser at *address*, without a cookie."""
    made = app.test_client()
    made.environ_base["REMOTE_ADDR"] = address
    return made


def log(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Any]]:
    """Return the logged messages with their reasons. Fail if a line contains a secret."""
    lines = [(record.getMessage(), getattr(record, "fields", {})) for record in caplog.records]
    for secret in (CLIENT_SECRET, "theirs", "code_verifier", "hush"):
        assert secret not in json.dumps(lines, default=str)
    return [(message, fields["reason"]) for message, fields in lines if "reason" in fields]


@dataclass
class Anna:
    """A person at a browser, whom the provider signs in and we may not.

    :param agent: of her organization.
    """

    client: FlaskClient
    provider: Company
    agent: Agent
    caplog: pytest.LogCaptureFixture

    def signs_in(self, client: FlaskClient | None = None, **claims: Any) -> TestResponse:
        """Go the whole way, with other claims."""
        return sign_in(client or self.client, self.provider, self.agent, **claims)

    def comes_back(self) -> str:
        """The path to which the provider leads her back."""
        return self.provider.authorize(begin(self.client))

    def fails_at_the_provider(self, error: str) -> str:
        """The path to which the provider leads her back with an error."""
        return f"{self.comes_back()}&{urlencode({'error': error, 'error_description': '<b>x'})}"

    def is_refused(self, reason: str | None = None, **claims: Any) -> None:
        """Fail unless the sign-in is refused. Only the log shows the reason."""
        refused(self.signs_in(**claims), 403, REFUSED)
        [(message, logged)] = log(self.caplog)
        assert message == "sign-in of a person refused"
        assert reason in (None, logged)


@pytest.fixture
def anna(client: FlaskClient, provider: Company, acme: Agent, caplog: pytest.LogCaptureFixture) -> Anna:
    """Nothing is wrong yet."""
    return Anna(client, provider, acme, caplog)


class TestPeopleWithoutAccess:
    """The provider has signed them in. Which claims are an organization or a role is tested in tests/openid."""

    @pytest.mark.parametrize(
        ("claims", "notice", "reason", "place"),
        [
            ({"organization": None}, "belongs to no organization", "no organization", INSTANCE),
            ({"organization": UNKNOWN}, "belongs to no organization", "unknown organization", INSTANCE),
            (
                {"organization": ["{own}", UNKNOWN]},
                "belongs to more than one organization",
                "several organizations",
                INSTANCE,
            ),
            (
                {"roles": ["Watchers", "keepers,watchers"]},
                "has neither the role of a viewer nor that of an administrator",
                "no role",
                "their own",
            ),
        ],
        ids=str,
    )
    def test_are_recorded(self, anna: Anna, claims: dict[str, Any], notice: str, reason: str, place: str) -> None:
        own = anna.agent.organization_id
        claims = json.loads(json.dumps(claims).replace("{own}", own))
        url = anna.agent.database_url
        before = {chain: len(events_of(url, chain)) for chain in (INSTANCE, own)}
        refused(anna.signs_in(sub=reason, **claims), 403, f"Your account {notice} here.")
        assert anna.client.get("/dashboard").status_code == 401
        recorded = {chain: events_of(url, chain)[count:] for chain, count in before.items()}
        [event] = recorded.pop(INSTANCE if place == INSTANCE else own)
        assert [*recorded.values()] == [[]]
        actor = f"{reason} at {anna.provider.issuer} (Anna Berg)"
        assert (event["action"], event["actorType"], event["actor"], event["after"]) == (
            *("person.sign_in_refused", "person", actor),
            {"reason": reason},
        )
        assert log(anna.caplog) == [("sign-in of a person refused", reason)]
        assert counted(anna.agent) == (0, 0, 0)

    @pytest.mark.parametrize("subject", ["", "x" * 256, "änna", "anna\n", 7])
    def test_with_a_subject_that_is_none(self, anna: Anna, subject: Any) -> None:
        assert anna.signs_in(sub=subject).status_code == 403
        assert events(anna.agent) == []

    def test_cannot_fill_the_audit_trail(self, anna: Anna) -> None:
        for _ in range(MAX_FAILURES_PER_MINUTE + 3):
            assert anna.signs_in(roles=None, sub="mallory").status_code == 403
        assert len(events(anna.agent)) == MAX_FAILURES_PER_MINUTE


def signed_with_the_public_key(provider: Company, claims: dict[str, Any]) -> str:
    """Return a token with an HMAC of the public key, without PyJWT, which refuses such keys."""
    pem = provider.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "one"}, claims)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(pem, text, "sha256")).rstrip(b"=")
    return (text + b"." + signature).decode()


def changed_after_signing(provider: Company, claims: dict[str, Any]) -> str:
    """Return a token whose role was changed to administrator after it was signed."""
    header, _, signature = provider.signed(claims).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims | {"roles": ["keepers"]}).encode()).rstrip(b"=").decode()
    return f"{header}.{body}.{signature}"


def signed(claims: dict[str, Any], key: Any, algorithm: str = "RS256", kid: str = "one") -> str:
    """Return a token that is signed with another key or algorithm than the provider uses."""
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


WRONG: dict[str, Callable[[Company, dict[str, Any]], str | None]] = {
    "unsigned": lambda _, claims: jwt.encode(claims, None, algorithm="none"),
    "by the secret": lambda _, claims: signed(claims, CLIENT_SECRET.ljust(32), "HS256"),
    "by the public key": signed_with_the_public_key,
    "by another key": lambda _, claims: signed(claims, rsa.generate_private_key(65537, 2048)),
    "by an unknown key": lambda provider, claims: signed(claims, provider.key, kid="two"),
    "changed after signing": changed_after_signing,
    "missing": lambda *_: None,
    "rubbish": lambda *_: "ey.not.a-token",
}
"""Functions that return an invalid ID token, by the defect."""

SECONDS = int(NOON.timestamp())


class TestIdTokens:
    """Each ID token has one defect."""

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
    def test_with_a_wrong_claim(self, anna: Anna, claims: Any) -> None:
        anna.is_refused(**claims)
        [(_, reason)] = log(anna.caplog)
        # azp is what is wrong with an audience of several.
        assert any(f" {name}" in reason for name in claims), reason
        assert events(anna.agent) == []

    @pytest.mark.parametrize("wrong", WRONG)
    def test_with_a_wrong_signature(self, anna: Anna, wrong: str) -> None:
        anna.provider.id_token = lambda claims: WRONG[wrong](anna.provider, claims)
        anna.is_refused()
        # The same person, by a token that is right.
        anna.provider.id_token = anna.provider.signed
        assert anna.signs_in().status_code == 200

    def test_a_clock_may_differ_by_a_minute_and_a_hash_of_the_access_token_is_checked(self, anna: Anna) -> None:
        right = {"iat": SECONDS + oidc_client.CLOCK_DIFFERENCE, "at_hash": half_of(hashlib.sha256(b"theirs"))}
        assert anna.signs_in(**right).status_code == 200

    @pytest.mark.parametrize("alg", ["RS384", "PS256"])
    def test_algorithms_of_an_rsa_key(self, anna: Anna, alg: str) -> None:
        provider = anna.provider
        provider.id_token = lambda claims: signed(claims, provider.key, alg)
        provider.alg = alg
        assert anna.signs_in().status_code == 200
        # A key is for one algorithm.
        provider.id_token = lambda claims: signed(claims, provider.key, "RS256")
        anna.is_refused()

    @pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
    def test_algorithms_of_an_edwards_key(self, anna: Anna, alg: str) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "one"}
        anna.provider.replies["/keys"] = lambda: (200, {}, json.dumps({"keys": [jwk]}).encode())
        anna.provider.id_token = lambda claims: signed(claims, key, alg)
        at_hash = half_of(hashlib.sha512(b"theirs"))
        assert anna.signs_in(at_hash=at_hash).status_code == 200
        anna.is_refused(at_hash=at_hash[::-1])

    def test_an_access_token_that_is_no_text(self, anna: Anna) -> None:
        """A JSON string can contain lone surrogates. The access token is not needed if the ID token has all claims."""
        provider, path = anna.provider, anna.comes_back()
        claims = {"iss": provider.issuer, "aud": CLIENT_ID, "iat": SECONDS, "exp": SECONDS + 300, **provider.claims}
        claims |= {"nonce": next(iter(provider.codes.values()))["nonce"], "organization": anna.agent.organization_id}
        token = {"access_token": "\ud800", "token_type": "Bearer", "id_token": provider.signed(claims)}
        provider.replies["/token"] = lambda: (200, {}, json.dumps(token).encode())
        assert anna.client.get(path).status_code == 200


def half_of(digest: Any) -> str:
    """The left half of a digest, as at_hash has it."""
    digested = digest.digest()
    return base64.urlsafe_b64encode(digested[: len(digested) // 2]).rstrip(b"=").decode()


class TestTheCallback:
    """The callback gets unexpected requests."""

    def test_a_response_is_taken_once(self, anna: Anna) -> None:
        anna.provider.claims["organization"] = anna.agent.organization_id
        path = anna.comes_back()
        assert anna.client.get(path).status_code == 200
        refused(anna.client.get(path), 400, EXPIRED)
        assert anna.provider.requests.count("/token") == 1

    @pytest.mark.parametrize("query", ["", "?state=unknown&code=x", "?code=x", "?state=%00&code=%ff", "?state=&code="])
    def test_a_response_that_nobody_asked_for(self, anna: Anna, query: str) -> None:
        begin(anna.client)
        refused(anna.client.get(f"{PATH}/callback{query}"), 400, EXPIRED)
        assert "/token" not in anna.provider.requests

    def test_in_another_browser_or_too_late(self, anna: Anna, shared_app: Flask) -> None:
        path = anna.comes_back()
        refused(shared_app.test_client().get(path), 400, EXPIRED)
        shared_app.extensions["agentidp"].clock.advance(seconds=LIFETIME.total_seconds())
        refused(anna.client.get(path), 400, EXPIRED)

    @pytest.mark.parametrize("value", ["", "x", "é", "A" * 80, "{dashboard}"])
    def test_with_a_cookie_that_is_not_of_this_sign_in(self, anna: Anna, value: str) -> None:
        stored: dict[str, str] = {}
        for _ in range(2):
            begun = anna.client.get(PATH)
            store_cookies(stored, begun)
        [first, second] = stored
        browser = anna.client.application.test_client(use_cookies=False)
        path = anna.provider.authorize(begun.headers["Location"])
        # The cookie of another sign-in of the same browser, under the name of this sign-in's cookie.
        forged = {second: value.replace("{dashboard}", stored[first])}
        refused(browser.get(path, headers=cookie_header(forged)), 400, EXPIRED)
        assert "/token" not in anna.provider.requests

    def test_of_another_issuer(self, anna: Anna) -> None:
        path = anna.comes_back().partition("&iss=")[0]
        refused(anna.client.get(f"{path}&iss=https://elsewhere.example"), 403, REFUSED)
        assert log(anna.caplog) == [("sign-in of a person refused", "the response is of another issuer")]

    def test_without_the_issuer_that_the_provider_always_sends(self, anna: Anna) -> None:
        anna.provider.metadata = {"authorization_response_iss_parameter_supported": True}
        refused(anna.client.get(anna.comes_back().partition("&iss=")[0]), 403, REFUSED)
        assert anna.signs_in().status_code == 200

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            ("access_denied", "access_denied"),
            ("<script>alert(1)</script>", "unreadable error"),
            ("", "unreadable error"),
        ],
    )
    def test_an_error_of_the_provider(self, anna: Anna, error: str, reason: str) -> None:
        response = anna.client.get(anna.fails_at_the_provider(error))
        refused(response, 403, REFUSED)
        assert "<script>alert" not in response.text
        assert log(anna.caplog) == [("sign-in of a person refused", reason)]

    def test_a_code_that_the_provider_refuses(self, anna: Anna) -> None:
        path = anna.comes_back()
        anna.provider.codes.clear()
        refused(anna.client.get(path), 403, REFUSED)
        assert log(anna.caplog) == [("sign-in of a person refused", "invalid_grant")]

    def test_a_secret_that_the_provider_refuses(self, anna: Anna, wire: Wire) -> None:
        anna.client = wire(oidc=anna.provider.settings(client_secret="hush-hush"))
        anna.is_refused("invalid_client")

    def test_a_secret_can_be_sent_in_a_header(self, anna: Anna) -> None:
        anna.provider.metadata = {"token_endpoint_auth_methods_supported": None}
        assert anna.signs_in().status_code == 200


def text(body: str, status: int = 200, **headers: str) -> Callable[[], Any]:
    """A reply of the provider."""
    return lambda: (status, headers, body.encode())


class TestAProviderInTrouble:
    """The provider is down, slow, or sends unexpected responses."""

    def test_agents_sign_in_while_it_is_down(self, anna: Anna, wire: Wire) -> None:
        client = wire(oidc=anna.provider.settings(issuer=f"http://127.0.0.1:{free_port()}"))
        response = client.get(PATH)
        refused(response, 503, UNAVAILABLE)
        assert response.headers["Retry-After"] == str(int(PAUSE_WITHOUT_KEYS))
        # Nobody waits for it again for a while.
        refused(client.get(PATH), 503, UNAVAILABLE)
        assert log(anna.caplog) == [("keys of an issuer not fetched", "no connection: Connection refused")]
        assert sign_in_as_agent(client, anna.agent).status_code == 303
        assert client.get("/dashboard").status_code == 200

    @pytest.mark.parametrize(
        ("metadata", "reason"),
        [
            # tests/federation/test_issuer_keys.py tests the other members of the metadata.
            ({"issuer": "https://elsewhere.example"}, "the metadata is of another issuer"),
            ({"jwks_uri": "https://192.0.2.1/keys"}, "the address is not public"),
            ({"authorization_endpoint": None}, NO_ENDPOINT.format("authorization")),
            ({"authorization_endpoint": "javascript:alert(1)"}, NO_ENDPOINT.format("authorization")),
            ({"authorization_endpoint": "http://sso.example/authorize"}, NO_ENDPOINT.format("authorization")),
            ({"token_endpoint": None}, NO_ENDPOINT.format("token")),
            ({"token_endpoint": ["x"]}, NO_ENDPOINT.format("token")),
        ],
        ids=str,
    )
    def test_metadata_that_cannot_be_used(self, anna: Anna, metadata: Any, reason: str) -> None:
        anna.provider.metadata = metadata
        # Where to exchange a code is of interest when there is one.
        refused(anna.signs_in() if "token_endpoint" in metadata else anna.client.get(PATH), 503, UNAVAILABLE)
        assert [logged for _, logged in log(anna.caplog)] == [reason]

    @pytest.mark.parametrize("path", ["/token", "/userinfo"])
    @pytest.mark.parametrize(
        ("reply", "status", "reason"),
        [
            (text("<html>", 403, **{"Content-Type": "text/html"}), 403, "status 403"),
            (text("", 499), 403, "status 499"),
            (text("", 302, Location="/elsewhere"), 403, "status 302"),
            (text("<html>", **{"Content-Type": "text/html"}), 403, "the response is not a JSON object"),
            (text("[]"), 403, "the response is not a JSON object"),
            (text("", 500), 503, "status 500"),
            (text(json.dumps({"x": "y" * MAX_BODY})), 503, f"the response has more than {MAX_BODY} bytes"),
        ],
        ids=["html 403", "499", "redirect", "html", "list", "500", "too large"],
    )
    def test_an_error_about_one_person_does_not_pause_the_others(
        self, anna: Anna, path: str, reply: Callable[[], Any], status: int, reason: str
    ) -> None:
        anna.provider.metadata = {"userinfo_endpoint": f"{anna.provider.issuer}/userinfo"}
        anna.provider.replies[path] = reply
        refused(anna.signs_in(roles=None), status, REFUSED if status == 403 else UNAVAILABLE)
        message = "sign-in of a person refused" if status == 403 else "OpenID Connect provider unreachable"
        assert log(anna.caplog) == [(message, reason)]
        assert "/elsewhere" not in anna.provider.requests
        anna.provider.replies.clear()
        assert anna.signs_in().status_code == 200

    def test_cannot_fill_the_log(self, anna: Anna) -> None:
        """Anyone can begin a sign-in."""
        anna.provider.metadata = {"authorization_endpoint": None}
        for _ in range(MAX_FAILURES_PER_MINUTE + 3):
            refused(anna.client.get(PATH), 503, UNAVAILABLE)
        assert (
            log(anna.caplog)
            == [("OpenID Connect provider unreachable", NO_ENDPOINT.format("authorization"))] * MAX_FAILURES_PER_MINUTE
        )

    def test_a_response_that_never_ends(self, anna: Anna, shared_app: Flask) -> None:
        shared_app.extensions[EXTENSION] = Provider(anna.provider.settings(), timeout=0.1)
        is_over = threading.Event()

        def late() -> Any:
            is_over.wait(PATIENCE)
            return 200, {}, b"{}"

        anna.provider.replies["/.well-known/openid-configuration"] = late
        refused(anna.client.get(PATH), 503, UNAVAILABLE)
        is_over.set()

    def test_all_requests_of_a_sign_in_together_are_bounded(self, anna: Anna, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each response takes three seconds of five."""
        provider = anna.provider
        provider.metadata = {"userinfo_endpoint": f"{provider.issuer}/userinfo"}
        provider.claims |= {"organization": anna.agent.organization_id, "roles": None}
        path = anna.comes_back()
        provider.requests.clear()
        now = time.monotonic()
        monkeypatch.setattr(oidc_client, "time", SimpleNamespace(monotonic=lambda: now + len(provider.requests) * 3))
        timeouts: list[float] = []
        send = oidc_client.request

        def recorded(*args: Any, **kwargs: Any) -> Any:
            timeouts.append(kwargs["timeout"])
            return send(*args, **kwargs)

        monkeypatch.setattr(oidc_client, "request", recorded)
        anna.client.get(path)
        assert provider.requests == ["/token", "/userinfo"]
        assert timeouts == pytest.approx([oidc_client.TIMEOUT, oidc_client.TIMEOUT - 3])

    def test_signing_out_needs_it_for_nothing(self, anna: Anna, wire: Wire) -> None:
        assert anna.signs_in().status_code == 200
        anna.provider.replies["/.well-known/openid-configuration"] = text("", 500)
        cookie = anna.client.get_cookie("agentidp_session", path="/dashboard")
        assert cookie is not None
        client = with_cookie(wire(), cookie.value)
        assert led_to(post(client, "/dashboard/sign-out")) == "/dashboard/sign-in?signed-out"


class TestSomebodyWhoStopsTheOthers:
    """A client sends callbacks with invalid codes, from one address or from several."""

    def bad(self, client: FlaskClient, provider: Company) -> str:
        """The path of a response whose code the provider does not know."""
        return provider.authorize(begin(client)).replace("code=", "code=not-")

    @pytest.mark.parametrize(
        ("replies", "status", "notice"),
        [({}, 403, REFUSED), ({"/token": text("", 502)}, 503, UNAVAILABLE)],
        ids=["refuses the codes", "fails"],
    )
    def test_is_refused_after_some_failures_and_nobody_else_is(
        self, anna: Anna, shared_app: Flask, replies: dict[str, Any], status: int, notice: str
    ) -> None:
        anna.provider.replies |= replies
        for _ in range(MAX_FAILURES_PER_MINUTE):
            refused(anna.client.get(self.bad(anna.client, anna.provider)), status, notice)
        anna.provider.replies.clear()
        anna.provider.requests.clear()
        path = anna.comes_back()
        response = anna.client.get(path)
        refused(response, 429, "Too many failed attempts. Try again in 6 s.")
        assert response.headers["Retry-After"] == "6"
        assert anna.provider.requests == []
        assert anna.signs_in(browser(shared_app, next(ADDRESSES))).status_code == 200
        # The refused response was not consumed, and is accepted when it is admitted.
        shared_app.extensions["agentidp"].clock.advance(seconds=6)
        assert anna.client.get(path).status_code == 200

    def test_failures_that_ask_the_provider_for_nothing_are_not_counted(self, anna: Anna) -> None:
        for _ in range(MAX_FAILURES_PER_MINUTE + 1):
            refused(anna.client.get(f"{PATH}/callback?state=unknown&code=x"), 400, EXPIRED)
            refused(anna.client.get(f"{PATH}/callback?error=access_denied"), 400, EXPIRED)
        assert log(anna.caplog) == []
        assert anna.signs_in().status_code == 200

    def test_cannot_fill_the_log_by_errors(self, anna: Anna) -> None:
        begun = anna.client.get(PATH)
        path = f"{anna.provider.authorize(begun.headers['Location'])}&error=access_denied"
        stored: dict[str, str] = {}
        store_cookies(stored, begun)
        attacker = anna.client.application.test_client(use_cookies=False)
        attacker.environ_base["REMOTE_ADDR"] = anna.client.environ_base["REMOTE_ADDR"]
        for _ in range(MAX_FAILURES_PER_MINUTE + 3):
            # The cookie of the sign-in is sent again, although the response has deleted the cookie.
            response = attacker.get(path, headers=cookie_header(stored))
        refused(response, 429, "Too many failed attempts. Try again in 6 s.")
        assert len(log(anna.caplog)) == MAX_FAILURES_PER_MINUTE

    def test_is_refused_at_all_addresses_of_a_site_after_more_failures(
        self, provider: Company, acme: Agent, shared_app: Flask
    ) -> None:
        """Three times as many, because a site has more people than a host."""
        for number in range(3 * MAX_FAILURES_PER_MINUTE):
            attacker = browser(shared_app, f"2001:db8:0:{number:x}::1")
            refused(attacker.get(self.bad(attacker, provider)), 403, REFUSED)
        for address, status in (("2001:db8:0:ff::1", 429), ("2001:db8:0:100::1", 200)):
            assert sign_in(browser(shared_app, address), provider, acme).status_code == status

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
        acme: Agent,
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
        office, stored = next(ADDRESSES), dict[str, str]()
        begun = browser(shared_app, next(ADDRESSES)).get(PATH)
        path = provider.authorize(begun.headers["Location"]).replace("code=", "code=not-")
        store_cookies(stored, begun)
        sent, attackers, statuses = cookie_header(stored), itertools.cycle(addresses), []

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
                wait_until(
                    lambda c=connections: sum(call.done() for call in c) + provider.requests.count("/token") >= 16
                )
                del provider.replies["/token"]
                person = browser(shared_app, next(ADDRESSES) if number % 2 else office)
                statuses.append(sign_in(person, provider, acme).status_code)
                refusal.set()
                assert set().union(*(call.result(PATIENCE) for call in connections)) <= {403, 429, 503}
        assert set(statuses) <= {200, 503}
        assert statuses.count(503) <= most
