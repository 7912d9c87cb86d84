"""ID-JAG: which clients act for which people by an assertion of a company's provider, with which scopes, and once."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.oauth.issuance import JWT_BEARER
from agentidp.oauth.rule_results import compare_token
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import Agent, Clock, database_of
from tests.federation.issuer import NOW, Issuer
from tests.helpers.dpop import TOKEN_URL, Holder
from tests.oauth.clients import ISSUER, ask, basic, claims_of, reasons, refused, whole
from tests.oauth.test_token_exchange import JWT, NOT_ACCEPTABLE, Company, company_of
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]

REFUSED = refused(
    "invalid_grant", "the assertion is not accepted; the owner of the agent sees why on the page of the agent"
)
TYPE = {"typ": "oauth-id-jag+jwt"}


@dataclass
class Desk:
    """An agent that acts for people at an API, by a delegation rule for the company's provider."""

    company: Company
    provider: Issuer
    agent: Agent
    api: str
    rule_id: str

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of an acceptable ID-JAG; ``None`` removes a claim."""
        members = {"sub": "ann", "groups": "staff", "jti": uuid.uuid4().hex}
        members |= {"client_id": self.agent.client_id, "resource": self.api}
        return self.provider.claims(ISSUER, **members | changes)

    def assertion(self, **changes: Any) -> str:
        """An ID-JAG."""
        return self.provider.sign(self.claims(**changes), TYPE)

    def send(self, assertion: str, *, proof: str = "", agent: Agent | None = None, **form: str) -> TestResponse:
        """Send an assertion as a client with a secret."""
        agent = agent or self.agent
        headers = basic(agent.client_id, agent.client_secret) | ({"DPoP": proof} if proof else {})
        return ask(self.company.client, {"grant_type": JWT_BEARER, "assertion": assertion} | form, headers)


@pytest.fixture
def desk(client: FlaskClient, cast: Cast) -> Desk:
    return desk_of(company_of(client, cast.acme), Issuer.with_curve("https://idp.acme.example"))


def desk_of(company: Company, provider: Issuer) -> Desk:
    agent, api = company.agent("read", "write", "other"), company.server("read", "write", "void")
    rule_id = company.rule(provider, [agent], {api: ["read", "write"]}, claims={"groups": "staff"})
    return Desk(company, provider, agent, api, rule_id)


@ON_CITUS_TOO
def test_an_agent_acts_for_a_person(desk: Desk) -> None:
    response = desk.send(desk.assertion(exp=NOW + 300))
    assert {name: value for name, value in response.json.items() if name != "access_token"} == {
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "read write",
    }
    claims = claims_of(response)
    # The person is the same as in an exchange of an ID token.
    id_token = desk.provider.token(desk.agent.client_id, sub="ann", groups="staff", exp=NOW + 300)
    exchanged = claims_of(desk.company.exchange(desk.agent, id_token, desk.api, JWT))
    assert claims | {"jti": ""} == exchanged | {"jti": ""}
    assert claims["delegation_rule_id"] == desk.rule_id
    assert desk.company.delegated() == [(desk.agent.client_id, None, desk.provider.url, desk.api, 2)]


@pytest.mark.parametrize(
    ("asserted", "requested", "scope"),
    [
        ("read", None, "read"),
        # A scope that nobody has is left out.
        ("read void unknown", None, "read"),
        ("read write", "write", "write"),
        ("read", "write", None),
        ("void", None, None),
        ("", None, None),
        (None, "read", "read"),
    ],
)
def test_the_scope_narrows(desk: Desk, asserted: str | None, requested: str | None, scope: str | None) -> None:
    response = desk.send(desk.assertion(scope=asserted), **({"scope": requested} if requested else {}))
    if scope is None:
        assert (response.status_code, response.json["error"]) == (400, "invalid_scope")
        assert "the ID-JAG does not have the scope" in response.json["error_description"]
    else:
        assert (response.status_code, response.json["scope"]) == (200, scope)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"client_id": "OTHER"}, "ID-JAG of another client"),
    ({"client_id": None}, "ID-JAG of another client"),
    ({"client_id": ["AGENT"]}, "ID-JAG of another client"),
    ({"aud": "AGENT"}, "wrong audience"),
    ({"aud": "https://elsewhere.example"}, "wrong audience"),
    ({"aud": [ISSUER, "https://elsewhere.example"]}, "wrong audience"),
    ({"aud_tenant": "elsewhere"}, "ID-JAG of another organization"),
    ({"cnf": {"jkt": "x"}}, "ID-JAG of another key"),
    *[({"jti": jti}, "wrong members of the ID-JAG") for jti in (None, "", 7, "x" * 257)],
    ({"iat": None}, "wrong members of the ID-JAG"),
    *[({"scope": scope}, "wrong members of the ID-JAG") for scope in (["read"], "read \0", "\ud800")],
    ({"authorization_details": []}, "wrong members of the ID-JAG"),
    ({"iss": "https://elsewhere.example"}, "no rule of trust"),
    # This server's own assertions are not accepted.
    ({"iss": ISSUER}, "no rule of trust"),
    ({"groups": "guests"}, "token matches no rule"),
    ({"act": {"sub": "elsewhere"}}, "subject token has actors"),
    ({"sub": None}, "subject token without subject"),
    ({"exp": NOW - 31}, "assertion expired"),
    ({"exp": NOW + 90_000}, "assertion valid for too long"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=ascii)
def test_a_wrong_claim_is_refused(
    desk: Desk, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], reason: str
) -> None:
    other = desk.company.agent("read")
    text = json.dumps(changes).replace("AGENT", desk.agent.client_id).replace("OTHER", other.client_id)
    assert whole(desk.send(desk.assertion(**json.loads(text)))) == REFUSED
    assert reasons(caplog) == [reason]
    assert desk.company.delegated() == []


def test_an_assertion_without_issuer_is_refused(
    client: FlaskClient, cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    """The trust domain of a SPIFFE ID is the issuer of a token that has no ``iss``."""
    desk = desk_of(company_of(client, cast.acme), Issuer.with_curve("spiffe://acme.example"))
    assert whole(desk.send(desk.assertion(iss=None, sub="spiffe://acme.example/ann"))) == REFUSED
    assert reasons(caplog) == ["wrong members of the ID-JAG"]


def test_a_wrong_signature_is_refused(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    forged = Issuer.with_curve(desk.provider.url).sign(desk.claims(), TYPE)
    assert whole(desk.send(forged)) == REFUSED
    assert reasons(caplog) == ["wrong signature"]


def test_a_replay_is_refused(desk: Desk, caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    assertion = desk.assertion(jti="once")
    # A request that gets no token does not consume the assertion.
    assert desk.send(assertion, scope="void").json["error"] == "invalid_scope"
    assert desk.send(assertion).status_code == 200
    clock.advance(seconds=3600)
    assert whole(desk.send(desk.assertion(jti="once", exp=NOW + 7200))) == REFUSED
    assert reasons(caplog) == ["ID-JAG used before"]
    # Another issuer may use the same identifier.
    other = desk_of(desk.company, Issuer.with_curve("https://other.acme.example"))
    assert other.send(other.assertion(jti="once", exp=NOW + 7200)).status_code == 200


@ON_CITUS_TOO
def test_16_replays_at_once_get_one_token(desk: Desk, app: Flask) -> None:
    assertion = desk.assertion()
    form = {"grant_type": JWT_BEARER, "assertion": assertion}
    headers = basic(desk.agent.client_id, desk.agent.client_secret)
    with ThreadPoolExecutor(16) as threads:
        statuses = Counter(
            threads.map(lambda _: ask(app.test_client(), form, headers).status_code, range(16)),
        )
    assert statuses == {200: 1, 400: 15}
    assert [tokens for *_, tokens in desk.company.delegated()] == [1]


def test_the_resource_is_that_of_the_assertion(desk: Desk) -> None:
    other = desk.company.server("read")
    desk.company.rule(desk.provider, [desk.agent], {other: ["read"]})
    own = desk.agent.services.settings.resource
    for resources, requested, resource in [
        (desk.api, desk.api, desk.api),
        ([desk.api, other], other, other),
        (None, other, other),
        ([desk.api, other], None, None),
        (desk.api, other, None),
        (desk.api, own, None),
        (own, None, None),
        (own, own, None),
        (None, None, None),
        ([], None, None),
        (7, None, None),
        ({"resource": desk.api}, None, None),
    ]:
        response = desk.send(desk.assertion(resource=resources), **({"resource": requested} if requested else {}))
        if resource is None:
            assert (response.status_code, response.json["error"]) == (400, "invalid_target")
        else:
            assert claims_of(response)["aud"] == resource


def test_a_rule_with_an_audience_accepts_it_as_well(desk: Desk) -> None:
    """Its audience is that of tokens for an exchange. An ID-JAG is always for this server."""
    api = desk.company.server("read")
    audience = f"{desk.agent.organization_id}/desk"
    desk.company.rule(desk.provider, [desk.agent], {api: ["read"]}, audience=audience)
    assert desk.send(desk.assertion(resource=api)).status_code == 200
    assert whole(desk.send(desk.assertion(resource=api, aud=audience))) == REFUSED
    # The rules for an exchange, which the process remembers as well, still demand their own audience.
    token = desk.provider.token(ISSUER, sub="ann", groups="staff")
    assert whole(desk.company.exchange(desk.agent, token, api, JWT)) == NOT_ACCEPTABLE


def test_a_deleted_rule_that_the_process_remembers_accepts_nothing(desk: Desk) -> None:
    assert desk.send(desk.assertion()).status_code == 200
    desk.company.delete_rules()
    assert whole(desk.send(desk.assertion())) == REFUSED
    desk.company.rule(desk.provider, [desk.agent], {desk.api: ["read"]})
    assert desk.send(desk.assertion()).json["scope"] == "read"


def test_the_client_authenticates(desk: Desk, cast: Cast) -> None:
    """Neither a public client nor a stranger gets a token, and nobody gets one in another organization."""
    for form in ({}, {"client_id": desk.agent.client_id}, {"client_id": desk.agent.client_id, "client_secret": "x"}):
        data = {"grant_type": JWT_BEARER, "assertion": desk.assertion()} | form
        response = ask(desk.company.client, data)
        assert (response.status_code, response.json["error"]) == (401, "invalid_client")
    assert whole(desk.send(desk.assertion(), agent=cast.outsider)) == REFUSED
    assert whole(desk.send(desk.assertion(client_id=cast.outsider.client_id), agent=cast.outsider)) == REFUSED


def test_a_bound_assertion_needs_its_key(desk: Desk, clock: Clock) -> None:
    holder, thief = Holder(clock), Holder(clock)
    assertion = desk.assertion(cnf={"jkt": holder.jkt})
    assert whole(desk.send(assertion, proof=thief.proof("POST", TOKEN_URL))) == REFUSED
    response = desk.send(assertion, proof=holder.proof("POST", TOKEN_URL))
    assert claims_of(response)["cnf"] == {"jkt": holder.jkt}


def test_is_no_subject_token(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    assert whole(desk.company.exchange(desk.agent, desk.assertion(), desk.api, JWT)) == NOT_ACCEPTABLE
    assert reasons(caplog) == ["unreadable subject token"]


def test_junk_does_not_lock_an_agent_out(desk: Desk, client: FlaskClient) -> None:
    form = {"grant_type": JWT_BEARER, "assertion": desk.assertion(groups="guests")}
    auth = desk.agent.client_id, desk.agent.client_secret
    for _ in range(MAX_FAILURES_PER_MINUTE + 1):
        assert whole(client.post("/api/v1/token", data=form, auth=auth)) == REFUSED
    assert client.post("/api/v1/token", data=form | {"assertion": desk.assertion()}, auth=auth).status_code == 200


def test_the_operator_sees_why_it_is_refused(desk: Desk, clock: Clock) -> None:
    database = database_of(desk.agent.services, desk.agent.organization_id)

    def compare(**changes: Any) -> Any:
        [result] = compare_token(desk.agent.services, database, desk.assertion(**changes), agent_id=None, at=clock())
        return result

    assert compare().is_accepted
    assert "jwt-bearer" in compare().note
    other = compare(client_id="elsewhere")
    assert [compared.name for compared in other.comparisons if not compared.is_met] == ["client_id"]
