"""Tokens of other issuers at the token endpoint, as client assertions and as grants."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient
from psycopg.types.json import Jsonb
from werkzeug.test import TestResponse

from agentidp.federation.issuer_keys import MAX_FETCHES_PER_ORGANIZATION, MAX_WAITING_PER_ORGANIZATION, IssuerKeys
from agentidp.federation.issuer_tokens import MAX_CHARACTERS, MAX_LIFETIME, IssuerTokens
from agentidp.federation.rule import rule_selector
from agentidp.federation.rule_cache import CHARACTERS_PER_RULE, RuleCache
from agentidp.jose.assertion import CLIENT_LEEWAY, MAX_SIGNATURES
from agentidp.oauth import client_assertion, rule_results
from agentidp.oauth.federated_token import SPIFFE_TYPE
from agentidp.oauth.issuance import JWT_BEARER
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from agentidp.outbound.networks import LOOPBACK, AllowedNetworks
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import PATIENCE, Agent, Api, Clock, database_of, execute, make_agent, make_organization, wait_until
from tests.federation.conftest import published
from tests.federation.https_issuer import DISCOVERY, HttpsIssuer
from tests.federation.issuer import NOW, SUBJECT, Issuer, trust
from tests.oauth.clients import (
    FAILED,
    GRANT,
    ISSUER,
    Whole,
    change,
    claims_of,
    failed,
    hand_made,
    process,
    reasons,
    refused,
    rejections,
    whole,
)
from tests.oauth.test_token_endpoint import ADVICE
from tests.routes import CLIENT_PATHS
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url", "published"]

US = ISSUER
NO_GRANT = refused(
    "invalid_grant", "the assertion is not accepted; the owner of the agent sees why on the page of the agent"
)
UNKNOWN_KEYS = "the keys of the token's issuer cannot be read now; try again"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer whose keys are in the rules."""
    return Issuer()


@pytest.fixture
def worker(cast: Cast) -> Agent:
    """An agent of Acme with a scope, and without a rule of trust."""
    return cast.acme.colleague("worker", ["analytics:read"])


@pytest.fixture
def trusted(worker: Agent, issuer: Issuer) -> Agent:
    """An agent that trusts a subject of the issuer."""
    issuer.trusted_by(worker)
    return worker


def ours(agent: Agent) -> str:
    """An audience that names the agent's organization."""
    return f"{US}/{agent.organization_id}"


def ask(client: FlaskClient, agent: Agent | str | None, token: str, **form: str) -> TestResponse:
    """Send a token request with a platform's token as client assertion."""
    client_id = agent.client_id if isinstance(agent, Agent) else agent
    sent = GRANT | {"client_assertion_type": client_assertion.TYPE, "client_assertion": token}
    return client.post("/api/v1/token", data=sent | ({"client_id": client_id} if client_id else {}) | form)


def test_authenticates_as_often_as_it_is_sent_until_it_expires(
    client: FlaskClient, trusted: Agent, issuer: Issuer, clock: Clock
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
    assert whole(ask(client, trusted, token)) == failed(ADVICE["assertion expired"])
    sums = trusted.sums()
    assert (sums["agent_tokens"], sums["agent_rejected"]) == (4, 1)


def exchange(client: FlaskClient, token: str, **form: str) -> TestResponse:
    """Send a token request with a platform's token as the grant."""
    return client.post("/api/v1/token", data={"grant_type": JWT_BEARER, "assertion": token} | form)


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


@pytest.mark.parametrize("way", ["assertion", "grant", "svid"])
def test_what_cannot_be_read_is_counted_for_the_client_that_is_named(
    client: FlaskClient, trusted: Agent, issuer: Issuer, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For example, a token from a file that ends with a line break."""
    sent = ["x", "x.y.z", issuer.token(US) + "\n", issuer.token(US, header={"crit": ["b64"]}), "x" * 9000]
    if way == "assertion":
        public = issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        confused = hand_made({"alg": "HS256", "kid": "first"}, issuer.claims(US), public)
        sent = [*sent[2:], hand_made({"alg": "none"}, issuer.claims(US), b"x"), confused]
    for token in sent:
        for client_id in (trusted.client_id, str(uuid.UUID(int=7))):
            if way == "grant":
                assert whole(exchange(client, token, client_id=client_id)) == NO_GRANT
            else:
                type_ = {"client_assertion_type": SPIFFE_TYPE} if way == "svid" else {}
                assert whole(ask(client, client_id, token, **type_)) == FAILED
    assert reasons(caplog) == ["unreadable assertion", "unknown client"] * len(sent)
    assert trusted.sums()["rejected"] == len(sent)


AUDIENCES = ["https://other.example", f"{US}/api/v1/token", [US, "https://other.example"], None]
SUBJECTS = ["system:serviceaccount:shop:builder2", "system:serviceaccount:shop", [SUBJECT], None]
ISSUERS = ["https://issuer.example/", "https://issuer.example/other", US, None, 7]
WRONG: list[tuple[dict[str, Any], str]] = [
    *[({"aud": aud}, "wrong audience") for aud in AUDIENCES],
    *[({"sub": sub}, "token matches no rule") for sub in SUBJECTS],
    ({"sub": "x", "aud": "y"}, "token matches no rule"),
    *[({"iss": iss}, "no rule of trust") for iss in ISSUERS],
    *[({"exp": exp}, "wrong times") for exp in (None, str(NOW + 60))],
    ({"exp": NOW - CLIENT_LEEWAY}, "assertion expired"),
    ({"exp": NOW + MAX_LIFETIME + CLIENT_LEEWAY + 1}, "assertion valid for too long"),
    ({"nbf": NOW + CLIENT_LEEWAY + 1}, "assertion not yet valid"),
    ({"iat": NOW + CLIENT_LEEWAY + 1}, "assertion not yet valid"),
]


BEFORE_THE_SIGNATURE = {"wrong audience", "token matches no rule", "no rule of trust"}


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=str)
def test_only_who_has_a_token_of_the_issuer_learns_the_reason(
    client: FlaskClient,
    trusted: Agent,
    issuer: Issuer,
    changes: dict[str, Any],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    description = ADVICE.get(reason) if reason not in BEFORE_THE_SIGNATURE else None
    answer = FAILED if description is None else failed(description)
    assert whole(ask(client, trusted, issuer.token(US, **changes))) == answer
    assert rejections(trusted) == [(reason, 1)]
    answer = NO_GRANT if description is None else refused("invalid_grant", description)
    assert whole(exchange(client, issuer.token(US, **changes), client_id=trusted.client_id)) == answer
    assert reasons(caplog) == [reason] * 2
    [fields, _] = [record.fields for record in caplog.records if record.getMessage() == "authentication rejected"]
    assert (fields["agent"], fields["credential"]) == (trusted.client_id, "federated token")


def test_another_key_is_not_the_issuers(
    client: FlaskClient, trusted: Agent, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert whole(ask(client, trusted, Issuer().token(US))) == FAILED
    assert whole(ask(client, trusted, Issuer(kid="second").token(US))) == FAILED
    assert whole(ask(client, trusted, Issuer.with_curve().token(US))) == FAILED
    assert reasons(caplog) == ["wrong signature", "unknown key", "unknown key"]
    assert ask(client, trusted, issuer.token(US)).status_code == 200


def test_a_rule_is_of_its_agent_and_organization_alone(
    client: FlaskClient, cast: Cast, trusted: Agent, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """The confused deputy: by a rule of one organization, nobody gets a token of an agent of another organization."""
    issuer.trusted_by(cast.outsider, subject="job:7")
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
    """Another organization claims that its own keys are those of the same issuer."""
    evil = Issuer()
    evil.trusted_by(cast.outsider)
    assert ask(client, cast.outsider, evil.token(US)).status_code == 200
    assert whole(ask(client, trusted, evil.token(US))) == FAILED
    assert whole(ask(client, cast.outsider, issuer.token(US))) == FAILED
    assert reasons(caplog) == ["wrong signature", "wrong signature"]


def test_a_new_rule_of_an_issuer_counts_at_once_and_a_revoked_one_no_longer(
    client: FlaskClient, cast: Cast, trusted: Agent, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(client, trusted, issuer.token(US)).status_code == 200
    added = issuer.trusted_by(trusted, subject="job:2")
    assert ask(client, trusted, issuer.token(US, sub="job:2")).status_code == 200
    path = f"agents/{trusted.client_id}/credentials/{added}"
    assert Api(client, cast.acme).delete(path).status_code == 204
    # The remembered rule accepts the token, but the database no longer has the rule.
    assert whole(ask(client, trusted, issuer.token(US, sub="job:2"))) == FAILED
    assert reasons(caplog) == ["revoked or expired rule"]
    assert ask(client, trusted, issuer.token(US)).status_code == 200
    # Another process does not remember it.
    trusted.services.issuer_tokens.rule_cache = RuleCache()
    assert whole(ask(client, trusted, issuer.token(US, sub="job:2"))) == FAILED
    assert reasons(caplog)[1:] == ["token matches no rule"]


@pytest.mark.parametrize(("path", "status"), [*((path, 200) for path in CLIENT_PATHS), ("/dashboard/sign-in", 303)])
def test_a_rule_that_replaces_another_counts_at_once(
    client: FlaskClient, cast: Cast, trusted: Agent, issuer: Issuer, path: str, status: int
) -> None:
    """A process that remembers the first rule reads the stored rules before it refuses a token."""
    first = issuer.trusted_by(trusted, subject="job:2")
    assert ask(client, trusted, issuer.token(US, sub="job:2")).status_code == 200
    rotated = {"keys": issuer.jwks()["keys"] + Issuer.with_curve(kid="next").jwks()["keys"]}
    trust(trusted, issuer=issuer.url, subject="job:2", jwks=rotated)
    assert Api(client, cast.acme).delete(f"agents/{trusted.client_id}/credentials/{first}").status_code == 204
    sent = {"client_assertion_type": client_assertion.TYPE, "client_id": trusted.client_id, "token": "no token"}
    data = GRANT | sent | {"client_assertion": issuer.token(US, sub="job:2")}
    if path == "/dashboard/sign-in":
        del data["token"]
    assert client.post(path, data=data, headers={"Sec-Fetch-Site": "same-origin"}).status_code == status


def test_our_own_token_is_no_credential(
    client: FlaskClient, cast: Cast, trusted: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    for agent in (trusted, cast.acme):
        for audience in (US, f"{US}/api/v1"):
            assert whole(ask(client, trusted, agent.token(audience=audience))) == FAILED
    assert set(reasons(caplog)) == {"no rule of trust"}


def test_a_jwt_svid_names_its_trust_domain_by_its_subject(client: FlaskClient, worker: Agent, issuer: Issuer) -> None:
    """draft-ietf-oauth-spiffe-client-auth: ``iss`` may be missing, and is ignored."""
    domain = Issuer.with_curve("spiffe://acme.example")
    identity = "spiffe://acme.example/ns/shop/sa/builder"
    domain.trusted_by(worker, subject=identity)
    svid = domain.token([US], iss=None, sub=identity, nbf=None)
    for type_ in (SPIFFE_TYPE, client_assertion.TYPE):
        assert ask(client, worker, svid, client_assertion_type=type_).status_code == 200
    with_issuer = domain.token([US], iss="https://spire.acme.example", sub=identity)
    assert ask(client, worker, with_issuer, client_assertion_type=SPIFFE_TYPE).status_code == 200
    other = domain.token([US], iss=None, sub="spiffe://acme.example.evil/ns/shop/sa/builder")
    assert whole(ask(client, worker, other, client_assertion_type=SPIFFE_TYPE)) == FAILED
    # A token that is not a JWT-SVID is not accepted as a JWT-SVID.
    issuer.trusted_by(worker)
    assert whole(ask(client, worker, issuer.token(US), client_assertion_type=SPIFFE_TYPE)) == FAILED
    assert ask(client, worker, issuer.token(US)).status_code == 200


def test_what_is_remembered_is_bounded_with_the_issuer_that_a_token_names(
    client: FlaskClient, worker: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JWT-SVID may have any ``iss``."""
    domain, identity = Issuer.with_curve("spiffe://acme.example"), "spiffe://acme.example/builder"
    domain.trusted_by(worker, subject=identity)
    remembered = worker.services.issuer_tokens.rule_cache
    monkeypatch.setattr(remembered, "_max_characters", 3 * CHARACTERS_PER_RULE)
    for length, is_remembered in ((100, True), (3 * CHARACTERS_PER_RULE, False)):
        named = "https://" + "a" * length
        assert ask(client, worker, domain.token(US, iss=named, sub=identity)).status_code == 200
        assert bool(remembered.get(worker.organization_id, (worker.agent_id, (named, domain.url)))) is is_remembered


@pytest.fixture
def reachable(database_url: str, clock: Clock) -> Iterator[FlaskClient]:
    """A client of an application that may connect to the loopback."""
    with process(database_url, clock, issuer_networks=LOOPBACK) as client:
        yield client


def member(client: FlaskClient, published: HttpsIssuer) -> Agent:
    """An agent that trusts a subject of the issuer."""
    services = client.application.extensions["agentidp"]
    agent = make_agent(services, make_organization(services))
    trust(agent, issuer=published.url, subject=SUBJECT)
    return agent


class TestPublishedKeys:
    """The issuer publishes its keys over https."""

    def test_a_token_that_cannot_be_judged_is_no_failure(
        self, reachable: FlaskClient, published: HttpsIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At every endpoint, as assertion and as grant, the token is logged, but neither counted nor throttled."""
        agent, client = member(reachable, published), reachable
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
            *(ask(client, agent, token) for _ in range(MAX_FAILURES_PER_MINUTE)),
        ]
        unknown = refused("temporarily_unavailable", UNKNOWN_KEYS, 503, **{"Retry-After": "10"})
        assert [whole(answer) for answer in answers] == [unknown] * len(answers)
        lines = [record.fields for record in caplog.records if record.getMessage() == "token not judged"]  # type: ignore[attr-defined]
        assert lines[0] == {
            "organization": agent.organization_id,
            "agent": agent.client_id,
            "issuer": published.url,
            "reason": "the status is 500, not 200",
            "request_id": answers[0].headers["X-Request-Id"],
        }
        assert (len(lines), len(published.requests), reasons(caplog)) == (len(answers), 1, [])
        assert set(agent.sums().values()) == {0}

    def test_a_token_that_another_rule_refuses_or_no_rule_matches_is_a_failure(
        self, reachable: FlaskClient, published: HttpsIssuer
    ) -> None:
        """While the keys of one rule are missing, another rule still accepts or refuses tokens."""
        agent, client = member(reachable, published), reachable
        published.pages[DISCOVERY] = 500, {}, b""
        assert whole(ask(client, agent, published.keys.token(US, sub="job:7"))) == FAILED
        published.keys.trusted_by(agent)
        assert ask(client, agent, published.keys.token(US)).status_code == 200
        assert ask(client, agent, Issuer.with_curve(published.url).token(US)).status_code == 503

    def test_of_64_first_tokens_at_once_none_is_refused(self, reachable: FlaskClient, published: HttpsIssuer) -> None:
        """Two requests wait for the keys, and the others are asked to retry."""
        agent, token, released = member(reachable, published), published.keys.token(US), threading.Event()
        page = published.pages["/keys"]
        published.pages["/keys"] = lambda: released.wait(PATIENCE) and page
        with ThreadPoolExecutor(64) as threads:
            asked = [threads.submit(ask, reachable.application.test_client(), agent, token) for _ in range(64)]
            wait_until(lambda: sum(future.done() for future in asked) == 64 - MAX_WAITING_PER_ORGANIZATION)
            released.set()
            answers = [future.result(PATIENCE) for future in asked]
        told = [whole(answer) for answer in answers if answer.status_code != 200]
        put_off = refused("temporarily_unavailable", UNKNOWN_KEYS, 503, **{"Retry-After": "1"})
        assert told == [put_off] * (64 - MAX_WAITING_PER_ORGANIZATION)
        assert ask(reachable, agent, token).status_code == 200
        assert published.requests == [DISCOVERY, "/keys"]
        sums = agent.sums()
        assert (sums["agent_tokens"], sums["agent_rejected"]) == (MAX_WAITING_PER_ORGANIZATION + 1, 0)

    def test_a_slow_issuer_keeps_nobody_else_waiting(self, reachable: FlaskClient, published: HttpsIssuer) -> None:
        """Clients with other credentials and workloads of other organizations do not wait."""
        app, page, released = reachable.application, published.pages["/keys"], threading.Event()
        services, networks = app.extensions["agentidp"], AllowedNetworks(LOOPBACK, plain=(), setting=None)
        tokens = IssuerTokens(IssuerKeys(networks, timeout=PATIENCE), services.settings.issuer)
        app.extensions["agentidp"] = replace(services, issuer_tokens=tokens)
        slow = make_agent(services, make_organization(services))
        for n in range(MAX_FETCHES_PER_ORGANIZATION + 1):
            trust(slow, issuer=published.url, subject=f"job:{n}", jwksUri=f"{published.url}/slow/{n}")
            published.pages[f"/slow/{n}"] = lambda: released.wait(PATIENCE) and page

        def job(n: int) -> TestResponse:
            return ask(app.test_client(), slow, published.keys.token(US, sub=f"job:{n}"))

        with ThreadPoolExecutor(MAX_FETCHES_PER_ORGANIZATION) as threads:
            waiting = [threads.submit(job, n) for n in range(MAX_FETCHES_PER_ORGANIZATION)]
            try:
                wait_until(lambda: len(published.requests) == MAX_FETCHES_PER_ORGANIZATION)
                # The organization has its maximum of fetches, and other organizations have their own.
                assert job(MAX_FETCHES_PER_ORGANIZATION).status_code == 503
                other = member(reachable, published)
                assert ask(reachable, other, published.keys.token(US)).status_code == 200
                assert reachable.post("/api/v1/token", data=slow.form).status_code == 200
                assert not any(future.done() for future in waiting)
            finally:
                released.set()
            assert [future.result(PATIENCE).status_code for future in waiting] == [200] * MAX_FETCHES_PER_ORGANIZATION

    def test_nothing_is_fetched_from_a_private_address_or_for_a_token_that_matches_no_rule(
        self, client: FlaskClient, reachable: FlaskClient, published: HttpsIssuer
    ) -> None:
        assert ask(client, member(client, published), published.keys.token(US)).status_code == 503
        agent = member(reachable, published)
        for changes in ({"sub": "someone"}, {"aud": "https://other.example"}, {"iss": "https://localhost:1"}):
            assert whole(ask(reachable, agent, published.keys.token(US, **changes))) == FAILED
        assert published.requests == []


class TestGrant:
    """RFC 7523 section 2.1: the token is the grant, and the only authentication."""

    def test_a_clients_own_assertion_is_no_grant(self, client: FlaskClient, trusted: Agent, issuer: Issuer) -> None:
        own = issuer.token(ours(trusted), iss=trusted.client_id, sub=trusted.client_id, jti="7")
        assert whole(exchange(client, own, client_id=trusted.client_id)) == NO_GRANT
        assert whole(exchange(client, own)) == NO_GRANT

    def test_other_authentication_beside_it_is_a_mistake(self, client: FlaskClient, issuer: Issuer) -> None:
        message = "the assertion says who the client is: send no other authentication"
        for name in ("client_secret", "client_assertion", "client_assertion_type"):
            assert whole(exchange(client, issuer.token(US), **{name: "x"})) == refused("invalid_request", message)
        assert whole(exchange(client, "")) == refused("invalid_request", "assertion is missing")

    def test_too_many_failures_are_throttled_whatever_the_tokens_say(
        self, client: FlaskClient, cast: Cast, trusted: Agent
    ) -> None:
        """The sender can write anything into the claims of a token."""
        agents = itertools.cycle((trusted, cast.outsider))
        strangers = [Issuer.with_curve(f"https://{n}.example") for n in range(MAX_FAILURES_PER_MINUTE)]
        for n, stranger in enumerate(strangers):
            assert exchange(client, stranger.token(ours(next(agents)), sub=f"job:{n}")).status_code == 400
        assert exchange(client, strangers[0].token(ours(trusted), sub="new")).status_code == 429
        assert ask(client, None, strangers[0].token(ours(cast.outsider))).status_code == 429


@dataclass
class Platform:
    """An issuer whose tokens name Acme but no agent, and two agents of Acme."""

    client: FlaskClient
    issuer: Issuer
    worker: Agent
    acme: Agent

    @property
    def rule(self) -> dict[str, Any]:
        """Return a rule that trusts a subject of the issuer in tokens for Acme."""
        return {"issuer": self.issuer.url, "audience": ours(self.acme), "jwks": self.issuer.jwks()}

    def trusted_by(self, agent: Agent, **rule: Any) -> UUID:
        """Give an agent such a rule, and return the credential's id."""
        return trust(agent, **self.rule | rule)

    def stored(self, agent: Agent, how_many: int, **rule: Any) -> None:
        """Store rules of an agent without checks, so that there can be more than an agent may have."""
        rule = self.rule | rule
        statement = (
            "insert into credentials (organization_id, agent_id, credential_id, trust, trust_selector, trust_length, "
            "created_at) select %s, %s, gen_random_uuid(), %s::jsonb, %s, length((%s::jsonb)::text), now() "
            "from generate_series(1, %s)"
        )
        selector = rule_selector(rule["issuer"], rule.get("subject"))
        execute(
            agent.database_url,
            statement,
            agent.organization_id,
            agent.agent_id,
            Jsonb(rule),
            selector,
            Jsonb(rule),
            how_many,
        )

    def token(self, **claims: Any) -> str:
        """Return a token for Acme."""
        return self.issuer.token(ours(self.acme), **claims)

    def exchange(self, token: str | None = None, **form: str) -> Whole:
        """Return the response to a token that is sent as the grant."""
        return whole(exchange(self.client, token or self.token(), **form))

    def agent(self, token: str | None = None, **form: str) -> str:
        """Return the agent that gets an access token by this token as the grant."""
        return str(claims_of(exchange(self.client, token or self.token(), **form))["sub"])


@pytest.fixture
def platform(client: FlaskClient, issuer: Issuer, worker: Agent, cast: Cast) -> Platform:
    """The platform of the issuer, which no rule trusts yet."""
    return Platform(client, issuer, worker, cast.acme)


class TestWithoutClientId:
    """The audience of the token names the organization of the client."""

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
        agents = (trusted.colleague("named"), cast.outsider)
        for agent in agents:
            issuer.trusted_by(agent, audience=ours(agent))
        for agent in agents:
            token = issuer.token(ours(agent))
            answer = exchange(client, token) if way == "grant" else ask(client, None, token)
            claims = claims_of(answer)
            assert (claims["sub"], claims["organization_id"]) == (agent.client_id, agent.organization_id)

    @ON_CITUS_TOO
    def test_rules_of_another_organization_hide_nobody(self, cast: Cast, platform: Platform) -> None:
        attacker, victim = sorted((cast.acme, cast.outsider), key=lambda agent: agent.organization_id)
        for agent in (victim, *(attacker.colleague(f"agent {number}") for number in range(10))):
            platform.issuer.trusted_by(agent, audience=ours(agent))
        assert platform.agent(platform.issuer.token(ours(victim))) == victim.client_id

    def test_a_rule_of_another_organization_never_gets_the_token(self, cast: Cast, platform: Platform) -> None:
        """Not even a rule that no organization can create, because its audience names another organization."""
        for audience, answer in ((US, self.UNNAMED), (ours(cast.acme), NO_GRANT)):
            platform.stored(cast.outsider, 1, subject=SUBJECT, audience=audience)
            assert platform.exchange(platform.issuer.token(audience)) == answer

    def test_a_token_that_names_no_organization_needs_client_id(
        self, client: FlaskClient, trusted: Agent, issuer: Issuer
    ) -> None:
        for audience in (US, [US, "x"], ["org-1"], 7, None):
            token = issuer.token(audience)
            assert whole(exchange(client, token)) == whole(ask(client, None, token)) == self.UNNAMED
            assert ask(client, trusted, token).status_code == (200 if audience == US else 401)

    @pytest.mark.parametrize(
        "said",
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
    def test_whatever_its_rule_says(self, platform: Platform, said: dict[str, Any]) -> None:
        platform.trusted_by(platform.worker, **said)
        platform.trusted_by(platform.acme, subject="repo:acme/app-evil:*")
        platform.trusted_by(platform.acme, claims={"repository_id": "8"})
        claims = {
            "sub": "repo:acme/app:ref:refs/heads/main",
            "repository_id": "7",
            "ref": "refs/heads/main",
            "workflow": "acme/flows/x.yml",
            "kubernetes.io": {"serviceaccount": {"uid": "u-1"}},
        }
        assert platform.agent(platform.token(**claims)) == platform.worker.client_id

    def test_a_token_that_is_unclear_is_throttled_too(self, platform: Platform) -> None:
        for agent in (platform.worker, platform.acme):
            platform.trusted_by(agent, subject=SUBJECT)
        answers = [platform.exchange()[0] for _ in range(MAX_FAILURES_PER_MINUTE + 1)]
        assert answers == [400] * MAX_FAILURES_PER_MINUTE + [429]

    @ON_CITUS_TOO
    def test_of_two_agents_client_id_chooses(self, platform: Platform) -> None:
        agents = platform.worker, platform.acme
        for agent in agents:
            platform.trusted_by(agent, subject=SUBJECT)
        assert platform.exchange() == whole(ask(platform.client, None, platform.token())) == self.AMBIGUOUS
        for agent in agents:
            assert platform.agent(client_id=agent.client_id) == agent.client_id
        # A token that the issuer has not signed does not reveal them.
        assert platform.exchange(Issuer().token(ours(platform.acme))) == NO_GRANT

    def test_what_is_not_in_force_is_not_ambiguous(self, platform: Platform, clock: Clock) -> None:
        client, acme, other = platform.client, platform.acme, platform.worker.colleague("other")
        for agent in (platform.worker, other):
            platform.trusted_by(agent, subject=SUBJECT)
        platform.trusted_by(acme, subject=SUBJECT, jwks=Issuer().jwks())
        body = {"type": "federated", **platform.rule, "subject": SUBJECT, "expiresAt": "2026-04-15T12:00:10Z"}
        assert Api(client, acme).post(f"agents/{acme.client_id}/credentials", body).status_code == 201
        clock.advance(seconds=10)
        assert platform.exchange() == self.AMBIGUOUS
        change(client, acme, other, status="suspended")
        assert platform.agent() == platform.worker.client_id

    def test_a_failure_is_counted_for_the_only_agent_that_it_can_be(
        self, platform: Platform, caplog: pytest.LogCaptureFixture
    ) -> None:
        client, acme, worker = platform.client, platform.acme, platform.worker
        credential = platform.trusted_by(worker, subject=SUBJECT, claims={"ref": "a"})
        assert platform.exchange() == NO_GRANT
        # A rule of another agent, which the next tokens do not meet.
        platform.trusted_by(acme, claims={"ref": "b"})
        token = platform.token(ref="a")
        assert platform.exchange(Issuer().token(ours(acme), ref="a")) == NO_GRANT
        change(client, acme, worker, status="suspended")
        assert platform.exchange(token) == NO_GRANT
        path = f"agents/{worker.client_id}/credentials/{credential}"
        assert Api(client, acme).delete(path).status_code == 204
        assert platform.exchange(token) == NO_GRANT
        assert reasons(caplog) == ["token matches no rule", "wrong signature", "suspended agent", "unknown client"]

    def test_more_rules_than_are_compared_hide_nobody(self, platform: Platform) -> None:
        acme, worker = platform.acme, platform.worker
        own = platform.trusted_by(worker, subject=SUBJECT)
        [(length,)] = execute(acme.database_url, "select trust_length from credentials where credential_id = %s", own)
        # The remaining characters, in rules of at most 16,000 characters.
        rest = {"claims": {"ref": "other", "x": ""}}
        platform.stored(acme, 1, **rest)
        [(short,)] = execute(acme.database_url, "select trust_length from credentials where trust -> 'claims' ? 'x'")
        execute(acme.database_url, "delete from credentials where trust -> 'claims' ? 'x'")
        rest["claims"]["x"] = "x" * (MAX_CHARACTERS - length - short)
        platform.stored(acme, 1, **rest)
        # Rules for other issuers and subjects do not count.
        platform.stored(acme, 300, issuer="https://b.example", claims={"ref": "b"})
        platform.stored(acme, 300, subject="job:7")
        assert platform.agent() == worker.client_id
        platform.stored(acme, 1, claims={"ref": "other"})
        assert platform.exchange() == self.TOO_MANY
        assert platform.agent(client_id=worker.client_id) == worker.client_id

    def test_more_keys_than_are_tried_hide_nobody(self, platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
        """The signature is verified a bounded number of times, even if the token meets the rules of many agents."""
        platform.issuer, worker = Issuer.with_curve(kid=None), platform.worker
        keys = [Issuer.with_curve(kid=None).jwk() for _ in range(MAX_SIGNATURES["ES256"])]
        platform.trusted_by(worker.colleague("other"), subject=SUBJECT, jwks={"keys": keys})
        platform.trusted_by(worker, subject=SUBJECT)
        assert platform.exchange() == self.TOO_MANY
        assert reasons(caplog) == ["too many rules for the token"]
        assert platform.agent(client_id=worker.client_id) == worker.client_id

    def test_who_tests_a_token_has_it_verified_with_so_many_keys(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rule_results, "MAX_KEYS", 2)
        worker, issuer = platform.worker, Issuer.with_curve()
        for _ in range(3):
            Issuer.with_curve().trusted_by(worker)
        database = database_of(worker.services, worker.organization_id)
        results = rule_results.compare_token(
            worker.services, database, issuer.token(US), agent_id=worker.agent_id, at=database.at
        )
        said = [one.comparisons[-1].actual for one in results]
        assert said == ["wrong signature", "wrong signature", "not verified: 2 keys of other rules were tried before"]

    def test_who_tests_a_token_learns_that_it_needs_client_id(self, platform: Platform) -> None:
        worker, named = platform.worker, ours(platform.worker)

        def notes(audience: str) -> list[bool]:
            database = database_of(worker.services, worker.organization_id)
            token = platform.issuer.token(audience)
            results = rule_results.compare_token(worker.services, database, token, agent_id=None, at=database.at)
            return [result.note is not None for result in results if result.is_accepted]

        for audience in (US, named):
            platform.trusted_by(worker, subject=SUBJECT, audience=audience)
        assert (notes(US), notes(named)) == ([True], [False])
        platform.trusted_by(platform.acme, subject=SUBJECT)
        assert notes(named) == [True, True]
