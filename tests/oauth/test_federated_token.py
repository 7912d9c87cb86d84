"""Tokens of other issuers at the token endpoint, in the slot of the client assertion."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from flask import Flask
from flask.testing import FlaskClient
from psycopg.types.json import Jsonb
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.federation import issuer_keys
from agentidp.federation.issuer_keys import FETCHES_OF_ONE, MAX_BODY, MAX_KEYS_TRIED, WAITING_OF_ONE, IssuerKeys
from agentidp.federation.rule import found_by
from agentidp.jose.jwk import MAX_KEYS
from agentidp.oauth import client_assertion, rule_results
from agentidp.oauth.client_assertion import CLIENT_LEEWAY
from agentidp.oauth.federated_token import MAX_LIFETIME, MAX_RULES, MAX_SIGNATURES, SPIFFE_TYPE
from agentidp.oauth.throttle import FAILURES_A_MINUTE
from agentidp.outbound.networks import LOOPBACK, AllowedNetworks
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import ON_CITUS_TOO, Cast, settings_for
from tests.factories import PATIENCE, Agent, Clock, database_of, make_agent, make_organization, usage_sums, wait_until
from tests.federation.https_issuer import DISCOVERY, HttpsIssuer, https_issuer
from tests.federation.issuer import NOW, SUBJECT, Issuer, trust
from tests.oauth.test_token_endpoint import FAILED, claims_of, reasons, refused, whole
from tests.wire import overheard

GRANT = {"grant_type": "client_credentials"}
US = "http://localhost:3000"
UNKNOWN_KEYS = "the keys of the issuer of the token are not known now; try again"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer whose keys rules have inline."""
    return Issuer()


@pytest.fixture
def worker(cast: Cast) -> Agent:
    """An agent of Acme with a scope, and nothing yet that it trusts."""
    return make_agent(cast.acme.services, cast.acme.organization_id, "worker", ["analytics:read"])


@pytest.fixture
def trusted(worker: Agent, issuer: Issuer) -> Agent:
    """An agent that trusts a subject of the issuer."""
    trust(worker, issuer=issuer.url, subject=SUBJECT, jwks=issuer.jwks())
    return worker


def ours(agent: Agent) -> str:
    """An audience that names the agent's organization."""
    return f"{US}/{agent.organization_id}"


def ask(client: FlaskClient, agent: Agent | str | None, token: str, **form: str) -> TestResponse:
    """A token request with a platform's token as client assertion."""
    client_id = agent.client_id if isinstance(agent, Agent) else agent
    sent = GRANT | {"client_assertion_type": client_assertion.TYPE, "client_assertion": token}
    return client.post("/api/v1/token", data=sent | ({"client_id": client_id} if client_id else {}) | form)


def test_authenticates_as_often_as_it_is_sent_until_it_expires(
    client: FlaskClient, trusted: Agent, issuer: Issuer, clock: Clock, database_url: str
) -> None:
    token = issuer.token(US)
    for _ in range(3):
        answer = ask(client, trusted, token)
        assert answer.status_code == 200, answer.text
        claims = claims_of(answer)
        assert (claims["sub"], claims["scope"]) == (trusted.client_id, "analytics:read")
    clock.advance(seconds=3600 + CLIENT_LEEWAY - 1)
    assert ask(client, trusted, token).status_code == 200
    clock.advance(seconds=1)
    assert whole(ask(client, trusted, token)) == FAILED
    sums = usage_sums(database_url, trusted.organization_id)
    assert (sums["agent_tokens"], sums["agent_rejected"]) == (4, 1)


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
@pytest.mark.parametrize("header", [{}, {"typ": "JOSE"}, {"typ": "at+jwt"}, {"typ": None}, {"kid": None}], ids=str)
def test_takes_what_platforms_send(
    client: FlaskClient, worker: Agent, issuer: Issuer, alg: str, header: dict[str, Any]
) -> None:
    same_key = Issuer(alg=alg, key=issuer.key, kid=None)
    trust(worker, issuer=issuer.url, subject=SUBJECT, jwks={"keys": [same_key.jwk(kid="first")]})
    named = {} if "kid" in header else {"kid": "first"}
    token = same_key.sign(issuer.claims([US]), named | {k: v for k, v in header.items() if k != "kid"})
    assert ask(client, worker, token).status_code == 200


def unsigned(claims: dict[str, Any]) -> str:
    """A token with ``alg: none`` and what would be a signature."""
    return f"{encoded({'alg': 'none'})}.{encoded(claims)}.{encoded('x')}"


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def by_public_key(issuer: Issuer) -> str:
    """A token with HS256, whose secret is the public key as everyone can read it."""
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{encoded({'alg': 'HS256', 'kid': 'first'})}.{encoded(issuer.claims(US))}"
    digest = hmac.digest(public, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@pytest.mark.parametrize("make", [lambda issuer: unsigned(issuer.claims(US)), by_public_key], ids=["none", "HS256"])
def test_only_a_key_pair_signs(
    client: FlaskClient, trusted: Agent, issuer: Issuer, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert whole(ask(client, trusted, make(issuer))) == FAILED
    assert reasons(caplog) == ["unreadable assertion"]


@pytest.mark.parametrize("way", ["assertion", "grant", "svid"])
def test_what_cannot_be_read_is_counted_for_the_client_that_is_named(
    client: FlaskClient,
    trusted: Agent,
    issuer: Issuer,
    way: str,
    caplog: pytest.LogCaptureFixture,
    database_url: str,
) -> None:
    """A file that ends with a line break, for example."""
    sent = ["x", issuer.token(US) + "\n", issuer.token(US, header={"crit": ["b64"]}), "x" * 9000]
    named = [trusted.client_id, str(uuid.UUID(int=7))]
    for token in sent:
        for client_id in named:
            if way == "grant":
                answer = client.post(
                    "/api/v1/token", data={"grant_type": JWT_BEARER, "client_id": client_id, "assertion": token}
                )
                assert whole(answer) == NO_GRANT
            else:
                type_ = {"client_assertion_type": SPIFFE_TYPE} if way == "svid" else {}
                assert whole(ask(client, client_id, token, **type_)) == FAILED
    assert reasons(caplog) == ["unreadable assertion", "unknown client"] * len(sent)
    assert usage_sums(database_url, trusted.organization_id)["rejected"] == len(sent)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"aud": "https://other.example"}, "wrong audience"),
    ({"aud": f"{US}/api/v1/token"}, "wrong audience"),
    ({"aud": [US, "https://other.example"]}, "wrong audience"),
    ({"aud": None}, "wrong audience"),
    ({"sub": "system:serviceaccount:shop:builder2"}, "token matches no rule"),
    ({"sub": "system:serviceaccount:shop"}, "token matches no rule"),
    ({"sub": [SUBJECT]}, "token matches no rule"),
    ({"sub": None}, "token matches no rule"),
    ({"sub": "x", "aud": "y"}, "token matches no rule"),
    ({"iss": "https://issuer.example/"}, "no rule of trust"),
    ({"iss": "https://issuer.example/other"}, "no rule of trust"),
    ({"iss": US}, "no rule of trust"),
    ({"iss": None}, "no rule of trust"),
    ({"iss": 7}, "no rule of trust"),
    ({"exp": None}, "wrong times"),
    ({"exp": str(NOW + 60)}, "wrong times"),
    ({"exp": NOW - CLIENT_LEEWAY}, "assertion expired"),
    ({"exp": NOW + MAX_LIFETIME + CLIENT_LEEWAY + 1}, "assertion valid for too long"),
    ({"nbf": NOW + CLIENT_LEEWAY + 1}, "assertion not yet valid"),
    ({"iat": NOW + CLIENT_LEEWAY + 1}, "assertion not yet valid"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=str)
def test_every_failure_looks_the_same_and_has_its_reason(
    client: FlaskClient,
    trusted: Agent,
    issuer: Issuer,
    changes: dict[str, Any],
    reason: str,
    caplog: pytest.LogCaptureFixture,
    database_url: str,
) -> None:
    assert whole(ask(client, trusted, issuer.token(US, **changes))) == FAILED
    assert reasons(caplog) == [reason]
    [fields] = [record.fields for record in caplog.records if record.getMessage() == "authentication rejected"]
    assert (fields["agent"], fields["credential"]) == (trusted.client_id, "federated token")
    with psycopg.connect(database_url) as connection:
        counted = connection.execute(
            "select agent_id, reason, rejections from rejected_networks where organization_id = %s",
            [trusted.organization_id],
        ).fetchall()
    assert counted == [(trusted.agent_id, reason, 1)]


def test_another_key_is_not_the_issuers(
    client: FlaskClient, trusted: Agent, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert whole(ask(client, trusted, Issuer().token(US))) == FAILED
    assert whole(ask(client, trusted, Issuer(kid="second").token(US))) == FAILED
    assert whole(ask(client, trusted, Issuer.with_curve().token(US))) == FAILED
    assert reasons(caplog) == ["wrong signature", "unknown key", "unknown key"]
    assert ask(client, trusted, issuer.token(US)).status_code == 200


def test_a_key_for_encryption_verifies_nothing(client: FlaskClient, worker: Agent, issuer: Issuer) -> None:
    answer = client.post(
        f"/api/v1/agents/{worker.client_id}/credentials",
        json={"type": "federated", "issuer": issuer.url, "subject": "a", "jwks": {"keys": [issuer.jwk(use="enc")]}},
        headers=worker.services and make_admin(worker).bearer(),
    )
    assert (answer.status_code, answer.json["details"]) == (400, {"jwks": ["use must be sig"]})


def make_admin(agent: Agent) -> Agent:
    """An agent of the same organization that may change agents."""
    return make_agent(agent.services, agent.organization_id, "admin")


def test_a_rule_is_of_its_agent_and_organization_alone(
    client: FlaskClient, cast: Cast, trusted: Agent, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """The confused deputy: whatever one organization trusts, nobody gets a token of another one's agent by it."""
    trust(cast.outsider, issuer=issuer.url, subject="job:7", jwks=issuer.jwks())
    token = issuer.token(US)
    for other in (cast.outsider, cast.acme):
        assert whole(ask(client, other, token)) == FAILED
    assert whole(ask(client, str(uuid.uuid4()), token)) == FAILED
    assert whole(ask(client, "nobody", token)) == FAILED
    assert reasons(caplog) == ["token matches no rule", "no rule of trust", "unknown client", "unknown client"]
    assert ask(client, trusted, token).status_code == 200


def test_keys_of_one_rule_do_not_verify_for_another(
    client: FlaskClient, trusted: Agent, cast: Cast, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody says that his keys are those of the same issuer."""
    evil = Issuer()
    trust(cast.outsider, issuer=issuer.url, subject=SUBJECT, jwks=evil.jwks())
    assert ask(client, cast.outsider, evil.token(US)).status_code == 200
    assert whole(ask(client, trusted, evil.token(US))) == FAILED
    assert whole(ask(client, cast.outsider, issuer.token(US))) == FAILED
    assert reasons(caplog) == ["wrong signature", "wrong signature"]


def test_two_agents_may_have_the_same_rule(client: FlaskClient, trusted: Agent, cast: Cast, issuer: Issuer) -> None:
    """And client_id chooses."""
    trust(cast.acme, issuer=issuer.url, subject=SUBJECT, jwks=issuer.jwks())
    for agent in (trusted, cast.acme):
        assert claims_of(ask(client, agent, issuer.token(US)))["sub"] == agent.client_id


def test_an_agent_may_have_several_rules(client: FlaskClient, worker: Agent) -> None:
    first, second = Issuer.with_curve(), Issuer.with_curve("https://second.example", kid=None)
    trust(worker, issuer=first.url, subject="job:1", jwks=first.jwks())
    trust(worker, issuer=first.url, subject="job:2", audience="https://other.example", jwks=first.jwks())
    trust(worker, issuer=second.url, subject="job:1", jwks=second.jwks())
    assert ask(client, worker, first.token(US, sub="job:1")).status_code == 200
    assert ask(client, worker, first.token("https://other.example", sub="job:2")).status_code == 200
    assert ask(client, worker, second.token(US, sub="job:1")).status_code == 200
    assert whole(ask(client, worker, first.token("https://other.example", sub="job:1"))) == FAILED
    assert whole(ask(client, worker, second.token(US, sub="job:2"))) == FAILED


def test_a_new_rule_of_an_issuer_counts_at_once_and_a_revoked_one_no_longer(
    client: FlaskClient, cast: Cast, trusted: Agent, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(client, trusted, issuer.token(US)).status_code == 200
    added = trust(trusted, issuer=issuer.url, subject="job:2", jwks=issuer.jwks())
    assert ask(client, trusted, issuer.token(US, sub="job:2")).status_code == 200
    path = f"/api/v1/agents/{trusted.client_id}/credentials/{added}"
    assert client.delete(path, headers=cast.acme.bearer()).status_code == 204
    # From memory the rule is met, but the database has it no more.
    assert whole(ask(client, trusted, issuer.token(US, sub="job:2"))) == FAILED
    assert reasons(caplog) == ["revoked or expired rule"]
    assert ask(client, trusted, issuer.token(US)).status_code == 200
    # Another process does not remember it.
    trusted.services.client_rules.clear()
    assert whole(ask(client, trusted, issuer.token(US, sub="job:2"))) == FAILED
    assert reasons(caplog)[1:] == ["token matches no rule"]


def test_our_own_token_is_no_credential(
    client: FlaskClient, cast: Cast, trusted: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of the agent itself nor of another one; and nobody can trust this server."""
    for agent in (trusted, cast.acme):
        for audience in (US, f"{US}/api/v1"):
            assert whole(ask(client, trusted, agent.token(audience=audience))) == FAILED
    assert set(reasons(caplog)) == {"no rule of trust"}
    body = {"type": "federated", "issuer": US, "subject": trusted.client_id}
    answer = client.post(f"/api/v1/agents/{trusted.client_id}/credentials", json=body, headers=cast.acme.bearer())
    assert answer.status_code == 400
    assert list(answer.json["details"]) == ["issuer"]


def test_a_pattern_ends_behind_a_whole_part(client: FlaskClient, worker: Agent) -> None:
    github = Issuer.with_curve("https://token.actions.githubusercontent.com")
    trust(worker, issuer=github.url, subject="repo:acme/app:*", jwks=github.jwks())
    assert ask(client, worker, github.token(US, sub="repo:acme/app:ref:refs/heads/main")).status_code == 200
    for subject in ("repo:acme/app-evil:ref:refs/heads/main", "repo:acme/app", "repo:acme/app:", "repo:acme/apps:x"):
        assert whole(ask(client, worker, github.token(US, sub=subject))) == FAILED


def test_a_jwt_svid_names_its_trust_domain_by_its_subject(client: FlaskClient, worker: Agent) -> None:
    """draft-ietf-oauth-spiffe-client-auth: there need be no iss, and none counts."""
    domain = Issuer.with_curve("spiffe://acme.example")
    identity = "spiffe://acme.example/ns/shop/sa/builder"
    trust(worker, issuer=domain.url, subject=identity, jwks=domain.jwks())
    svid = domain.token([US], iss=None, sub=identity, nbf=None)
    for type_ in (SPIFFE_TYPE, client_assertion.TYPE):
        assert ask(client, worker, svid, client_assertion_type=type_).status_code == 200
    with_issuer = domain.token([US], iss="https://spire.acme.example", sub=identity)
    assert ask(client, worker, with_issuer, client_assertion_type=SPIFFE_TYPE).status_code == 200
    other = domain.token([US], iss=None, sub="spiffe://acme.example.evil/ns/shop/sa/builder")
    assert whole(ask(client, worker, other, client_assertion_type=SPIFFE_TYPE)) == FAILED


def test_what_is_no_svid_is_not_accepted_as_one(client: FlaskClient, trusted: Agent, issuer: Issuer) -> None:
    assert whole(ask(client, trusted, issuer.token(US), client_assertion_type=SPIFFE_TYPE)) == FAILED
    assert ask(client, trusted, issuer.token(US)).status_code == 200


def test_a_suspended_agent_gets_nothing_by_it(
    client: FlaskClient, cast: Cast, trusted: Agent, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/api/v1/agents/{trusted.client_id}"
    assert client.patch(path, json={"status": "suspended"}, headers=cast.acme.bearer()).status_code == 200
    assert whole(ask(client, trusted, issuer.token(US))) == FAILED
    assert reasons(caplog) == ["suspended agent"]


def test_an_expired_rule_trusts_nobody(client: FlaskClient, cast: Cast, worker: Agent, issuer: Issuer) -> None:
    body = {"type": "federated", "issuer": issuer.url, "subject": SUBJECT, "jwks": issuer.jwks()}
    path = f"/api/v1/agents/{worker.client_id}/credentials"
    body |= {"expiresAt": "2026-04-15T12:00:10Z"}
    assert client.post(path, json=body, headers=cast.acme.bearer()).status_code == 201
    assert ask(client, worker, issuer.token(US)).status_code == 200
    worker.services.clock.advance(seconds=10)  # type: ignore[attr-defined]
    assert whole(ask(client, worker, issuer.token(US))) == FAILED


def test_introspects_and_revokes_as_any_client(client: FlaskClient, trusted: Agent, issuer: Issuer) -> None:
    issued = ask(client, trusted, issuer.token(US)).json["access_token"]
    form = {
        "client_id": trusted.client_id,
        "client_assertion_type": client_assertion.TYPE,
        "client_assertion": issuer.token(US),
        "token": issued,
    }
    assert client.post("/api/v1/token/introspect", data=form).json["active"] is True
    assert client.post("/api/v1/token/revoke", data=form).status_code == 200
    assert client.post("/api/v1/token/introspect", data=form).json == {"active": False}


@COMPARES_STATEMENTS
def test_what_is_remembered_costs_one_round_trip(client: FlaskClient, trusted: Agent, issuer: Issuer) -> None:
    token = issuer.token(US)
    assert ask(client, trusted, token).status_code == 200
    with overheard(trusted.services.database) as conversation:
        assert ask(client, trusted, token).status_code == 200
    assert (conversation.statements, conversation.round_trips) == (["oauth/issue_access_token"], 1)


def test_half_of_it_is_an_error_that_names_it(client: FlaskClient, trusted: Agent, issuer: Issuer) -> None:
    form = GRANT | {"client_assertion": issuer.token(US), "client_id": trusted.client_id}
    answer = client.post("/api/v1/token", data=form)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")
    assert "client_assertion_type must be" in answer.json["error_description"]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsIssuer]:
    """An issuer that publishes its keys over https."""
    with https_issuer(tmp_path) as running:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.crt"))
        yield running


@pytest.fixture
def reachable(database_url: str, clock: Clock) -> Iterator[Flask]:
    """An application that may connect to the loopback."""
    app = create_app(settings_for(database_url, issuer_networks=LOOPBACK), clock=clock)
    yield app
    app.extensions["agentidp"].close()


def member(app: Flask, published: HttpsIssuer) -> Agent:
    """An agent that trusts a subject of the issuer."""
    services = app.extensions["agentidp"]
    agent = make_agent(services, make_organization(services))
    trust(agent, issuer=published.url, subject=SUBJECT)
    return agent


class TestPublishedKeys:
    """The issuer publishes its keys over https."""

    def test_are_found_and_remembered(self, reachable: Flask, published: HttpsIssuer) -> None:
        agent = member(reachable, published)
        for _ in range(3):
            assert ask(reachable.test_client(), agent, published.keys.token(US)).status_code == 200
        assert published.requests == [DISCOVERY, "/keys"]

    def test_a_token_that_cannot_be_judged_is_no_failure(
        self, reachable: Flask, published: HttpsIssuer, caplog: pytest.LogCaptureFixture, database_url: str
    ) -> None:
        """At any endpoint and however it is sent. It is logged, counted for nobody and never throttled."""
        agent, client = member(reachable, published), reachable.test_client()
        trust(agent, issuer=published.url, subject=SUBJECT, audience=ours(agent))
        published.pages[DISCOVERY] = 500, {}, b""
        token = published.keys.token(US)
        form = {"client_assertion_type": client_assertion.TYPE, "client_assertion": token, "token": "x"}
        inspected = form | {"client_id": agent.client_id}
        answers = [
            ask(client, agent, token),
            exchange(client, token, client_id=agent.client_id),
            exchange(client, published.keys.token(ours(agent))),
            client.post("/api/v1/token/introspect", data=inspected),
            client.post("/api/v1/token/revoke", data=inspected),
            *(ask(client, agent, token) for _ in range(FAILURES_A_MINUTE)),
        ]
        unknown = refused("temporarily_unavailable", UNKNOWN_KEYS, 503, **{"Retry-After": "10"})
        assert [whole(answer) for answer in answers] == [unknown] * len(answers)
        lines = [one.fields for one in caplog.records if one.getMessage() == "token not judged"]  # type: ignore[attr-defined]
        assert lines[0] == {
            "organization": agent.organization_id,
            "agent": agent.client_id,
            "issuer": published.url,
            "reason": "the status is 500, not 200",
            "request_id": answers[0].headers["X-Request-Id"],
        }
        assert (len(lines), len(published.requests), reasons(caplog)) == (len(answers), 1, [])
        assert set(usage_sums(database_url, agent.organization_id).values()) == {0}

    def test_a_token_that_another_rule_refuses_or_no_rule_matches_is_a_failure(
        self, reachable: Flask, published: HttpsIssuer
    ) -> None:
        """While one rule cannot be judged, another still accepts, and what it would not accept is refused."""
        agent, client = member(reachable, published), reachable.test_client()
        published.pages[DISCOVERY] = 500, {}, b""
        assert whole(ask(client, agent, published.keys.token(US, sub="job:7"))) == FAILED
        trust(agent, issuer=published.url, subject=SUBJECT, jwks=published.keys.jwks())
        assert ask(client, agent, published.keys.token(US)).status_code == 200
        assert ask(client, agent, Issuer.with_curve(published.url).token(US)).status_code == 503

    def test_of_64_first_tokens_at_once_none_is_refused(
        self, reachable: Flask, published: HttpsIssuer, database_url: str
    ) -> None:
        """Two wait for the keys, and the others are told to come again."""
        agent, token, released = member(reachable, published), published.keys.token(US), threading.Event()
        page = published.pages["/keys"]
        published.pages["/keys"] = lambda: released.wait(PATIENCE) and page
        with ThreadPoolExecutor(64) as threads:
            asked = [threads.submit(ask, reachable.test_client(), agent, token) for _ in range(64)]
            wait_until(lambda: sum(one.done() for one in asked) == 64 - WAITING_OF_ONE)
            released.set()
            answers = [one.result(PATIENCE) for one in asked]
        told = [whole(answer) for answer in answers if answer.status_code != 200]
        put_off = refused("temporarily_unavailable", UNKNOWN_KEYS, 503, **{"Retry-After": "1"})
        assert told == [put_off] * (64 - WAITING_OF_ONE)
        assert ask(reachable.test_client(), agent, token).status_code == 200
        assert published.requests == [DISCOVERY, "/keys"]
        sums = usage_sums(database_url, agent.organization_id)
        assert (sums["agent_tokens"], sums["agent_rejected"]) == (WAITING_OF_ONE + 1, 0)

    def test_slow_issuers_of_three_organizations_keep_nobody_elses_workloads_out(
        self, reachable: Flask, published: HttpsIssuer
    ) -> None:
        """Each has twelve, and asks all the time. The first tokens of 40 others get through meanwhile."""
        services, page, released = reachable.extensions["agentidp"], published.pages["/keys"], threading.Event()
        networks = AllowedNetworks(LOOPBACK, plain=(), setting=None)
        reachable.extensions["agentidp"] = replace(services, issuer_keys=IssuerKeys(networks, timeout=PATIENCE))
        organization_id = make_organization(services)

        def agent_of(organization_id: str, path: str, rules: int) -> Agent:
            agent = make_agent(services, organization_id, path)
            for n in range(rules):
                jwks_uri = f"{published.url}/{path}/{n}"
                trust(agent, issuer=published.url, subject=f"job:{n}", jwksUri=jwks_uri)
                published.pages[f"/{path}/{n}"] = page if rules == 1 else lambda: released.wait(PATIENCE) and page
            return agent

        def attack(agent: Agent, first: int) -> None:
            for n in itertools.count(first):
                answer = ask(reachable.test_client(), agent, published.keys.token(US, sub=f"job:{n % 12}"))
                if released.wait(0.02):
                    return
                assert answer.status_code == 503, answer.text

        def first_token(agent: Agent) -> int:
            """How often it was put off."""
            for put_off in range(1000):
                answer = ask(reachable.test_client(), agent, published.keys.token(US, sub="job:0"))
                if answer.status_code == 200:
                    return put_off
                assert answer.status_code == 503, answer.text
                time.sleep(0.02)
            raise AssertionError("put off for ever")

        slow = [agent_of(make_organization(services), f"slow-{n}", 12) for n in range(3)]
        others = [agent_of(organization_id, f"other-{n}", 1) for n in range(40)]
        with ThreadPoolExecutor(6) as threads:
            attacks = [threads.submit(attack, agent, first) for agent in slow for first in range(FETCHES_OF_ONE)]
            try:
                wait_until(lambda: len(published.requests) == 3 * FETCHES_OF_ONE)
                put_off = [first_token(agent) for agent in others]
                asked = [path for path in published.requests if path.startswith("/slow")]
            finally:
                released.set()
            assert all(one.result(PATIENCE) is None for one in attacks)
        # The slow ones had no more places than their own.
        assert len(asked) == 3 * FETCHES_OF_ONE
        assert len(put_off) == 40

    def test_of_as_many_keys_as_can_be_fetched_one_is_parsed(
        self, reachable: Flask, published: HttpsIssuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So a token does not take longer because the issuer has many."""
        agent, own = member(reachable, published), published.keys.jwk()
        another = Issuer.with_curve().jwk()
        others = [another | {"kid": f"{n:03}"} for n in range(1000)]
        number = (MAX_BODY - 100) // (len(json.dumps(others[0])) + 2)
        assert number > 300
        published.publish(*others[: number - 1], own)
        parsed: list[str] = []
        check = issuer_keys.public_jwk

        def recorded(jwk: Any) -> dict[str, Any]:
            parsed.append(jwk["kid"])
            return check(jwk)

        monkeypatch.setattr(issuer_keys, "public_jwk", recorded)
        for _ in range(2):
            assert ask(reachable.test_client(), agent, published.keys.token(US)).status_code == 200
        assert parsed == ["first"]
        # Without kid, few are tried, and the right one is the last.
        published.keys.kid = None
        assert whole(ask(reachable.test_client(), agent, published.keys.token(US))) == FAILED
        assert parsed[1:] == [f"{n:03}" for n in range(MAX_KEYS_TRIED)]

    def test_of_too_many_none_is_known(
        self, reachable: Flask, published: HttpsIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        agent, own = member(reachable, published), published.keys.jwk()
        published.publish(*(own | {"kid": str(n)} for n in range(999)), own)
        assert ask(reachable.test_client(), agent, published.keys.token(US)).status_code == 503
        [warning] = [one for one in caplog.records if one.getMessage() == "keys of an issuer not fetched"]
        assert warning.fields["reason"] == f"the response has more than {MAX_BODY} bytes"  # type: ignore[attr-defined]

    def test_a_private_address_is_not_asked(self, client: FlaskClient, app: Flask, published: HttpsIssuer) -> None:
        agent = member(app, published)
        assert ask(client, agent, published.keys.token(US)).status_code == 503
        assert published.requests == []

    def test_nothing_is_fetched_for_a_token_that_matches_no_rule(
        self, reachable: Flask, published: HttpsIssuer
    ) -> None:
        agent = member(reachable, published)
        for changes in ({"sub": "someone"}, {"aud": "https://other.example"}, {"iss": "https://localhost:1"}):
            assert whole(ask(reachable.test_client(), agent, published.keys.token(US, **changes))) == FAILED
        assert published.requests == []

    def test_no_other_client_waits_for_a_slow_issuer(self, reachable: Flask, published: HttpsIssuer) -> None:
        agent = member(reachable, published)
        other = make_agent(agent.services, agent.organization_id, "other")
        released, page = threading.Event(), published.pages["/keys"]
        published.pages["/keys"] = lambda: released.wait(PATIENCE) and page
        with ThreadPoolExecutor(1) as thread:
            slow = thread.submit(ask, reachable.test_client(), agent, published.keys.token(US))
            wait_until(lambda: len(published.requests) == 2)
            # While the issuer does not respond.
            form = GRANT | {"client_id": other.client_id, "client_secret": other.client_secret}
            assert reachable.test_client().post("/api/v1/token", data=form).status_code == 200
            assert not slow.done()
            released.set()
            assert slow.result(PATIENCE).status_code == 200


JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
NO_GRANT = refused("invalid_grant", "the assertion is not accepted")


def exchange(client: FlaskClient, token: str, **form: str) -> TestResponse:
    """A token request with a platform's token as the grant."""
    return client.post("/api/v1/token", data={"grant_type": JWT_BEARER, "assertion": token} | form)


class TestGrant:
    """RFC 7523 section 2.1: the token is the grant, and there is no other authentication."""

    def test_gets_a_token_with_scope_and_resource(self, client: FlaskClient, trusted: Agent, issuer: Issuer) -> None:
        answer = exchange(client, issuer.token(US), client_id=trusted.client_id, scope="analytics:read")
        claims = claims_of(answer)
        assert (claims["sub"], claims["scope"]) == (trusted.client_id, "analytics:read")
        assert set(answer.json) == {"access_token", "token_type", "expires_in", "scope"}

    @pytest.mark.parametrize(("changes", "reason"), WRONG[:8], ids=str)
    def test_every_failure_looks_the_same(
        self,
        client: FlaskClient,
        trusted: Agent,
        issuer: Issuer,
        changes: dict[str, Any],
        reason: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        assert whole(exchange(client, issuer.token(US, **changes), client_id=trusted.client_id)) == NO_GRANT
        assert reasons(caplog) == [reason]

    @pytest.mark.parametrize("token", ["x", "x.y.z", unsigned({"iss": "https://issuer.example"})])
    def test_what_is_no_token_is_no_grant(self, client: FlaskClient, trusted: Agent, token: str) -> None:
        assert whole(exchange(client, token, client_id=trusted.client_id)) == NO_GRANT

    def test_a_clients_own_assertion_is_no_grant(self, client: FlaskClient, trusted: Agent, issuer: Issuer) -> None:
        own = issuer.token(ours(trusted), iss=trusted.client_id, sub=trusted.client_id, jti="7")
        assert whole(exchange(client, own, client_id=trusted.client_id)) == NO_GRANT
        assert whole(exchange(client, own)) == NO_GRANT

    @pytest.mark.parametrize(
        "more",
        [{"client_secret": "x"}, {"client_assertion": "x"}, {"client_assertion_type": client_assertion.TYPE}],
        ids=str,
    )
    def test_other_authentication_beside_it_is_a_mistake(
        self, client: FlaskClient, trusted: Agent, issuer: Issuer, more: dict[str, str]
    ) -> None:
        message = "the assertion says who the client is: send no other authentication"
        assert whole(exchange(client, issuer.token(US), **more)) == refused("invalid_request", message)
        assert whole(exchange(client, "")) == refused("invalid_request", "assertion is missing")

    def test_too_many_failures_are_throttled(self, client: FlaskClient, worker: Agent, issuer: Issuer) -> None:
        audience = ours(worker)
        for _ in range(FAILURES_A_MINUTE):
            assert exchange(client, issuer.token(audience)).status_code == 400
        assert exchange(client, issuer.token(audience)).status_code == 429
        # Somebody else's token is not that one.
        assert exchange(client, issuer.token(audience, sub="someone")).status_code == 400


def store_rules(database_url: str, agent: Agent, how_many: int, **rule: Any) -> None:
    """Store rules of an agent as they are, more than an agent may have."""
    trust_selector = found_by(rule["issuer"], rule.get("subject"))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into credentials (organization_id, agent_id, credential_id, trust, trust_selector, created_at) "
            "select %s, %s, gen_random_uuid(), %s, %s, now() from generate_series(1, %s)",
            [agent.organization_id, agent.agent_id, Jsonb(rule), trust_selector, how_many],
        )


class TestWithoutClientId:
    """The token says by its audience which organization's agent the client is."""

    UNNAMED = refused(
        "invalid_request", "client_id is missing, and the token has no audience that contains an organization's id"
    )
    AMBIGUOUS = refused("invalid_request", "several agents trust the token: choose an agent by client_id")
    TOO_MANY = refused("invalid_request", "too many rules for the token: choose an agent by client_id")

    @ON_CITUS_TOO
    @pytest.mark.parametrize("way", ["assertion", "grant"])
    def test_the_audience_says_whose_agent_is_meant(
        self, client: FlaskClient, trusted: Agent, cast: Cast, issuer: Issuer, way: str
    ) -> None:
        agents = (make_agent(trusted.services, trusted.organization_id, "named"), cast.outsider)
        for agent in agents:
            trust(agent, issuer=issuer.url, subject=SUBJECT, audience=ours(agent), jwks=issuer.jwks())
        for agent in agents:
            token = issuer.token(ours(agent))
            answer = exchange(client, token) if way == "grant" else ask(client, None, token)
            claims = claims_of(answer)
            assert (claims["sub"], claims["organization_id"]) == (agent.client_id, agent.organization_id)

    @ON_CITUS_TOO
    def test_rules_of_another_organization_hide_nobody(self, client: FlaskClient, cast: Cast, issuer: Issuer) -> None:
        attacker, victim = sorted((cast.acme, cast.outsider), key=lambda agent: agent.organization_id)
        trust(victim, issuer=issuer.url, subject=SUBJECT, audience=ours(victim), jwks=issuer.jwks())
        for number in range(10):
            other = make_agent(attacker.services, attacker.organization_id, f"agent {number}")
            trust(other, issuer=issuer.url, subject=SUBJECT, audience=ours(other), jwks=issuer.jwks())
        assert claims_of(exchange(client, issuer.token(ours(victim))))["sub"] == victim.client_id

    @pytest.mark.parametrize("audience", ["none", "the other's"])
    def test_a_rule_of_another_organization_never_gets_the_token(
        self, client: FlaskClient, cast: Cast, issuer: Issuer, audience: str, database_url: str
    ) -> None:
        """Not even one that no organization can make, because its audience names another one."""
        aud = US if audience == "none" else ours(cast.acme)
        rule = {"issuer": issuer.url, "subject": SUBJECT, "audience": aud, "jwks": issuer.jwks()}
        store_rules(database_url, cast.outsider, 1, **rule)
        expected = self.UNNAMED if audience == "none" else NO_GRANT
        assert whole(exchange(client, issuer.token(aud))) == expected

    @pytest.mark.parametrize("audience", [US, [US, "x"], ["org-1"], 7, None], ids=str)
    def test_a_token_that_names_no_organization_needs_client_id(
        self, client: FlaskClient, trusted: Agent, issuer: Issuer, audience: object
    ) -> None:
        token = issuer.token(audience)
        assert whole(exchange(client, token)) == self.UNNAMED
        assert whole(ask(client, None, token)) == self.UNNAMED
        status = ask(client, trusted, token).status_code
        assert status == (200 if audience == US else 401)

    @pytest.mark.parametrize(
        "rule",
        [
            {"subject": "repo:acme/app:*"},
            {"subject": "repo:acme/*", "claims": {"repository_id": "7"}},
            {"claims": {"repository_id": "7"}},
            {"claims": {"ref": ["a", "b", "refs/heads/main"]}},
            {"claims": {"workflow": ["x/*", "acme/flows/*"]}},
            {"claims": {"/kubernetes.io/serviceaccount/uid": "u-1"}},
        ],
        ids=str,
    )
    def test_whatever_its_rule_says(
        self, client: FlaskClient, worker: Agent, cast: Cast, issuer: Issuer, rule: dict[str, Any]
    ) -> None:
        trust(worker, issuer=issuer.url, audience=ours(worker), jwks=issuer.jwks(), **rule)
        evil = {"issuer": issuer.url, "audience": ours(worker), "jwks": issuer.jwks()}
        trust(cast.acme, subject="repo:acme/app-evil:*", **evil)
        trust(cast.acme, claims={"repository_id": "8"}, **evil)
        claims = {
            "sub": "repo:acme/app:ref:refs/heads/main",
            "repository_id": "7",
            "ref": "refs/heads/main",
            "workflow": "acme/flows/x.yml",
            "kubernetes.io": {"serviceaccount": {"uid": "u-1"}},
        }
        assert claims_of(exchange(client, issuer.token(ours(worker), **claims)))["sub"] == worker.client_id

    @ON_CITUS_TOO
    def test_of_two_agents_client_id_chooses(
        self, client: FlaskClient, worker: Agent, cast: Cast, issuer: Issuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        for agent in (worker, cast.acme):
            trust(agent, issuer=issuer.url, subject=SUBJECT, audience=ours(agent), jwks=issuer.jwks())
        token = issuer.token(ours(worker))
        assert whole(exchange(client, token)) == self.AMBIGUOUS
        assert whole(ask(client, None, token)) == self.AMBIGUOUS
        assert reasons(caplog) == ["several agents trust the token"] * 2
        for agent in (worker, cast.acme):
            assert claims_of(exchange(client, token, client_id=agent.client_id))["sub"] == agent.client_id
        # Nobody learns of them by a token that the issuer has not signed.
        assert whole(exchange(client, Issuer().token(ours(worker)))) == NO_GRANT

    def test_what_is_not_in_force_is_not_ambiguous(
        self, client: FlaskClient, worker: Agent, cast: Cast, issuer: Issuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        rule = {"issuer": issuer.url, "subject": SUBJECT, "audience": ours(worker), "jwks": issuer.jwks()}
        other = make_agent(worker.services, worker.organization_id, "other", ["analytics:read"])
        trust(worker, **rule)
        trust(other, **rule)
        trust(cast.acme, **rule | {"jwks": Issuer().jwks()})
        body = {"type": "federated", **rule, "expiresAt": "2026-04-15T12:00:10Z"}
        path = f"/api/v1/agents/{cast.acme.client_id}/credentials"
        assert client.post(path, json=body, headers=cast.acme.bearer()).status_code == 201
        worker.services.clock.advance(seconds=10)  # type: ignore[attr-defined]
        token = issuer.token(ours(worker))
        assert whole(exchange(client, token)) == self.AMBIGUOUS
        path = f"/api/v1/agents/{other.client_id}"
        assert client.patch(path, json={"status": "suspended"}, headers=cast.acme.bearer()).status_code == 200
        assert claims_of(exchange(client, token))["sub"] == worker.client_id
        assert client.delete(path, headers=cast.acme.bearer()).status_code == 204
        assert claims_of(exchange(client, token))["sub"] == worker.client_id

    def test_a_failure_is_counted_for_the_only_agent_that_it_can_be(
        self, client: FlaskClient, worker: Agent, cast: Cast, issuer: Issuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        rule = {"issuer": issuer.url, "audience": ours(worker), "jwks": issuer.jwks()}
        credential = trust(worker, **rule, subject=SUBJECT, claims={"ref": "a"})
        assert whole(exchange(client, issuer.token(ours(worker)))) == NO_GRANT
        # Another agent's, which the next tokens do not meet.
        trust(cast.acme, **rule, claims={"ref": "b"})
        assert whole(exchange(client, Issuer().token(ours(worker), ref="a"))) == NO_GRANT
        path = f"/api/v1/agents/{worker.client_id}"
        assert client.patch(path, json={"status": "suspended"}, headers=cast.acme.bearer()).status_code == 200
        assert whole(exchange(client, issuer.token(ours(worker), ref="a"))) == NO_GRANT
        path += f"/credentials/{credential}"
        assert client.delete(path, headers=cast.acme.bearer()).status_code == 204
        assert whole(exchange(client, issuer.token(ours(worker), ref="a"))) == NO_GRANT
        assert reasons(caplog) == ["token matches no rule", "wrong signature", "suspended agent", "unknown client"]

    def test_an_audience_with_an_organizations_id_is_nobody_elses(
        self, client: FlaskClient, worker: Agent, cast: Cast, issuer: Issuer
    ) -> None:
        body = {"type": "federated", "issuer": issuer.url, "subject": SUBJECT, "audience": ours(worker)}
        path = f"/api/v1/agents/{cast.outsider.client_id}/credentials"
        answer = client.post(path, json=body, headers=cast.outsider.bearer())
        assert answer.json["details"] == {"audience": ["must not name another organization"]}

    def test_more_rules_than_are_compared_hide_nobody(
        self, client: FlaskClient, worker: Agent, cast: Cast, issuer: Issuer, database_url: str
    ) -> None:
        common = {"issuer": issuer.url, "audience": ours(worker), "jwks": issuer.jwks()}
        store_rules(database_url, cast.acme, MAX_RULES - 1, **common, claims={"ref": "other"})
        trust(worker, **common, subject=SUBJECT)
        # Those of other issuers and subjects do not count.
        store_rules(database_url, cast.acme, MAX_RULES, **common | {"issuer": "https://b.example"}, claims={"ref": "b"})
        store_rules(database_url, cast.acme, MAX_RULES, **common, subject="job:7")
        token = issuer.token(ours(worker))
        assert claims_of(exchange(client, token))["sub"] == worker.client_id
        store_rules(database_url, cast.acme, 1, **common, claims={"ref": "other"})
        assert whole(exchange(client, token)) == self.TOO_MANY
        assert claims_of(exchange(client, token, client_id=worker.client_id))["sub"] == worker.client_id

    def test_more_keys_than_are_tried_hide_nobody(
        self, client: FlaskClient, worker: Agent, cast: Cast, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The signature is verified a bounded number of times, also if the rules of many agents are met."""
        unnamed = Issuer.with_curve(kid=None)
        rule = {"issuer": unnamed.url, "subject": SUBJECT, "audience": ours(worker)}
        for number in range(MAX_SIGNATURES // MAX_KEYS):
            keys = [Issuer.with_curve(kid=None).jwk() for _ in range(MAX_KEYS)]
            other = make_agent(worker.services, worker.organization_id, f"agent {number}")
            trust(other, **rule, jwks={"keys": keys})
        trust(worker, **rule, jwks=unnamed.jwks())
        token = unnamed.token(ours(worker))
        assert whole(exchange(client, token)) == self.TOO_MANY
        assert reasons(caplog) == ["too many rules for the token"]
        assert claims_of(exchange(client, token, client_id=worker.client_id))["sub"] == worker.client_id

    def test_who_tests_a_token_learns_that_it_needs_client_id(self, worker: Agent, cast: Cast, issuer: Issuer) -> None:
        def notes(audience: str) -> list[bool]:
            database = database_of(worker.services, worker.organization_id)
            token = issuer.token(audience)
            found = rule_results.examine(worker.services, database, token, agent_id=None, at=database.at)
            return [one.note is not None for one in found if one.is_accepted]

        for audience in (US, ours(worker)):
            trust(worker, issuer=issuer.url, subject=SUBJECT, audience=audience, jwks=issuer.jwks())
        assert (notes(US), notes(ours(worker))) == ([True], [False])
        trust(cast.acme, issuer=issuer.url, subject=SUBJECT, audience=ours(worker), jwks=issuer.jwks())
        assert notes(ours(worker)) == [True, True]
