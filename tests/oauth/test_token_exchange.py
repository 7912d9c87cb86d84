"""Token exchange (RFC 8693): which agent may act for which subject, with which scopes, and until when."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import jwt
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.types.json import Jsonb
from werkzeug.test import TestResponse

from agentidp.config import ConfigurationError
from agentidp.jose.access_token import LEEWAY, Ancestor, Delegation
from agentidp.oauth.rule_results import compare_token
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, WAITING, Agent, Api, Clock, database_of, execute, wait_until
from tests.federation.issuer import Issuer
from tests.helpers.access_token import Forge
from tests.helpers.dpop import Holder
from tests.helpers.introspection import INACTIVE, introspect
from tests.oauth.clients import (
    FAILED,
    ISSUER,
    KEYS,
    NOW,
    USED_BEFORE,
    KeyHolder,
    Whole,
    ask,
    ask_as,
    basic,
    claims_of,
    reasons,
    refused,
    rejections,
    whole,
)
from tests.sharing import app, cast, client, clock, database_url
from tests.wire import overheard

__all__ = ["app", "cast", "client", "clock", "database_url"]

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN, ID_TOKEN, JWT = (
    f"urn:ietf:params:oauth:token-type:{name}" for name in ("access_token", "id_token", "jwt")
)
NOT_ACCEPTABLE = refused(
    "invalid_request",
    "the subject token or the actor token is not acceptable; the owner of the agent sees why on the page of the agent",
)


@dataclass
class Company:
    """An organization with agents that call each other, and resource servers that they run."""

    client: FlaskClient
    admin: Agent

    def agent(self, *scopes: str) -> Agent:
        """A new agent with scopes of the company's resource servers."""
        return self.admin.colleague(str(uuid.uuid4()), scopes)

    def server(self, *scopes: str, run_by: Agent | None = None, **said: Any) -> str:
        """Register a resource server, and return its identifier."""
        body = {"resource": f"https://{uuid.uuid4()}.example", "name": "api", "scopes": list(scopes)} | said
        return str(self.make("resource-servers", body | {"agentId": run_by and run_by.client_id})["resource"])

    def make(self, what: str, body: dict[str, Any]) -> Any:
        """Send a POST request to the API, and return the response."""
        response = self.client.post(f"/api/v1/{what}", json=body, headers=self.admin.bearer())
        assert response.status_code == 201, response.text
        return response.json

    def patch(self, resource: str, body: dict[str, Any]) -> None:
        """Change a resource server by the API."""
        data = self.client.get("/api/v1/resource-servers", headers=self.admin.bearer()).json["data"]
        [server_id] = [server["resourceServerId"] for server in data if server["resource"] == resource]
        path = f"/api/v1/resource-servers/{server_id}"
        assert self.client.patch(path, json=body, headers=self.admin.bearer()).status_code == 200

    def change(self, what: str, *values: Any) -> None:
        """Update a row of the organization."""
        execute(self.admin.database_url, f"update {what}", *values)

    def rule(self, issuer: Issuer, agents: list[Agent], resources: dict[str, list[str]], **trust: Any) -> str:
        """Create a delegation rule, and return its id."""
        allowed = [{"resource": resource, "scopes": scopes} for resource, scopes in resources.items()]
        body = {"name": str(uuid.uuid4()), "agentIds": [agent.client_id for agent in agents], "resources": allowed}
        trust = {"issuer": issuer.url, "jwks": issuer.jwks()} | trust
        # Members with the value None are omitted.
        body["trust"] = {name: value for name, value in trust.items() if value is not None}
        return str(self.make("delegation-rules", body)["delegationRuleId"])

    def delegated(self) -> list[tuple[Any, ...]]:
        """Return the counted tokens from exchanges: actor, subject agent, subject issuer, resource, tokens."""
        data = self.client.get("/api/v1/analytics/delegations", headers=self.admin.bearer()).json["data"]
        return [(one["agentId"], one["subjectAgentId"], one["issuer"], one["resource"], one["tokens"]) for one in data]

    def delete_rules(self) -> None:
        """Delete all delegation rules."""
        delete = "delete from delegation_rules where organization_id = %s"
        execute(self.admin.database_url, delete, self.admin.organization_id)

    def token(self, agent: Agent, resource: str, **form: str) -> str:
        """Return an agent's token for a resource server."""
        response = ask_as(self.client, agent, resource=resource, **form)
        assert response.status_code == 200, response.text
        return str(response.json["access_token"])

    def exchange(
        self, actor: Agent, token: str, resource: str, kind: str = ACCESS_TOKEN, *, proof: str = "", **form: str
    ) -> TestResponse:
        """Send a token exchange of *actor*."""
        sent = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": kind, "resource": resource}
        headers = basic(actor.client_id, actor.client_secret) | ({"DPoP": proof} if proof else {})
        return ask(self.client, sent | form, headers)

    def exchanged(self, actor: Agent, token: str, resource: str, **form: str) -> str:
        """Exchange a token, and return the new token."""
        response = self.exchange(actor, token, resource, **form)
        assert response.status_code == 200, response.text
        return str(response.json["access_token"])


@dataclass
class Fleet:
    """A planner calls a worker's tools, and the worker acts for it at a billing API."""

    company: Company
    planner: Agent
    worker: Agent
    tools: str
    billing: str

    @property
    def subject_token(self) -> str:
        """Return the planner's token for the worker's tools."""
        return self.company.token(self.planner, self.tools)

    def exchange(self, token: str, kind: str = ACCESS_TOKEN, **form: str) -> TestResponse:
        """Exchange a token for a token for the billing API, as the worker."""
        return self.company.exchange(self.worker, token, **{"kind": kind, "resource": self.billing} | form)

    def token_for(self, **said: Any) -> str:
        """Return the planner's token for a new resource server."""
        return self.company.token(self.planner, self.company.server("read", **said))


@pytest.fixture
def acme(client: FlaskClient, cast: Cast) -> Company:
    return company_of(client, cast.acme)


def company_of(client: FlaskClient, admin: Agent) -> Company:
    company = Company(client, admin)
    # Before it has agents with these scopes.
    company.server("read", "write", "void", "other")
    return company


@pytest.fixture
def fleet(acme: Company) -> Fleet:
    billing = acme.server("read", "write", "void")
    planner, worker = acme.agent("read", "write"), acme.agent("read", "write", "void")
    return Fleet(acme, planner, worker, acme.server(run_by=worker), billing)


@ON_CITUS_TOO
def test_an_agent_acts_for_an_agent(fleet: Fleet, clock: Clock) -> None:
    acme, worker, planner = fleet.company, fleet.worker, fleet.planner
    subject_token = fleet.subject_token
    clock.advance(seconds=100)
    response = acme.exchange(worker, subject_token, fleet.billing)
    assert {name: said for name, said in response.json.items() if name != "access_token"} == {
        "token_type": "Bearer",
        # The token ends with the subject's token.
        "expires_in": 3500,
        "scope": "read write",
        "issued_token_type": ACCESS_TOKEN,
    }
    claims = claims_of(response)
    subject_claims = jwt.decode(subject_token, options={"verify_signature": False})
    assert claims == {
        "iss": ISSUER,
        "sub": planner.client_id,
        "client_id": worker.client_id,
        "act": {"sub": worker.client_id},
        "aud": fleet.billing,
        "scope": "read write",
        "exp": NOW + 3600,
        "iat": NOW + 100,
        "jti": claims["jti"],
        "organization_id": worker.organization_id,
        "exchanged_from": [{"jti": subject_claims["jti"], "aud": fleet.tools, "scope": ""}],
    }
    shown = {"active": True, "token_type": "Bearer", **claims}
    assert introspect(acme.client, acme.admin, response.json["access_token"]).json == shown
    # The worker may exchange the token repeatedly, and each token is counted.
    acme.exchanged(worker, subject_token, fleet.billing)
    assert acme.delegated() == [(worker.client_id, planner.client_id, None, fleet.billing, 2)]
    sums = worker.sums()
    assert (sums["agent_tokens"], sums["credential_tokens"], sums["rejected"]) == (3, 3, 0)


@ON_CITUS_TOO
def test_an_agent_acts_for_a_person(acme: Company) -> None:
    issuer, worker, billing = Issuer.with_curve(), acme.agent("write", "read"), acme.server("read", "write", "other")
    rule_id = acme.rule(issuer, [worker], {billing: ["read", "other"]}, claims={"groups": "staff"})
    person = {"sub": "00u1 Ann", "groups": "staff", "exp": NOW + 500, "may_act": {"client_id": worker.client_id}}
    for kind in (ID_TOKEN, JWT):
        response = acme.exchange(worker, issuer.token(worker.client_id, **person), billing, kind)
        claims = claims_of(response)
        named = json.dumps([worker.organization_id, issuer.url, "00u1 Ann"], separators=(",", ":"))
        assert claims == {
            "iss": ISSUER,
            "sub": base64.urlsafe_b64encode(hashlib.sha256(named.encode()).digest()).rstrip(b"=").decode(),
            "sub_id": {"format": "iss_sub", "iss": issuer.url, "sub": "00u1 Ann"},
            "client_id": worker.client_id,
            "act": {"sub": worker.client_id},
            "delegation_rule_id": rule_id,
            "aud": billing,
            "scope": "read",
            "exp": NOW + 500,
            "iat": NOW,
            "jti": claims["jti"],
            "organization_id": worker.organization_id,
            "exchanged_from": [],
        }
    shown = {"active": True, "token_type": "Bearer", **claims}
    assert introspect(acme.client, acme.admin, response.json["access_token"]).json == shown
    assert acme.delegated() == [(worker.client_id, None, issuer.url, billing, 2)]


def test_the_same_person_has_another_sub_in_another_organization(client: FlaskClient, cast: Cast) -> None:
    """Otherwise it could make a rule for an issuer of the same name, with keys of its own."""
    issuer, subjects = Issuer.with_curve(), set()
    for admin in (cast.acme, cast.outsider):
        company = company_of(client, admin)
        worker, billing = company.agent("read"), company.server("read")
        company.rule(issuer, [worker], {billing: ["read"]})
        subjects.add(claims_of(company.exchange(worker, issuer.token(worker.client_id), billing, JWT))["sub"])
    assert len(subjects) == 2


def another_instance(fleet: Fleet) -> str:
    forge = Forge(fleet.planner)
    return forge.sign(forge.header, json.dumps(forge.claims | {"aud": fleet.tools}).encode(), KEYS["ES256"]())


def revoked(fleet: Fleet, token: str, agent: Agent) -> str:
    assert ask_as(fleet.company.client, agent, "/api/v1/token/revoke", token=token).status_code == 200
    return token


def after(fleet: Fleet, token: str, what: str, *values: Any) -> str:
    fleet.company.change(what, *values)
    return token


def four_deep(fleet: Fleet) -> str:
    """Return the longest possible chain: a token for the worker, which was the first actor."""
    acme, token = fleet.company, fleet.subject_token
    actors = [fleet.worker, *(acme.agent("read") for _ in range(3)), fleet.worker]
    for actor, following in itertools.pairwise(actors):
        token = acme.exchanged(actor, token, acme.server("read", run_by=following))
    return token


SUSPENDED = "agents set status = 'suspended' where agent_id = %s"
ANOTHERS = "resource_identifiers set organization_id = %s where resource = %s"
DELETED = "agents set deleted_at = now() where agent_id = %s"
AT_A_CLOUD = "sts.amazonaws.com"
REFUSED: dict[str, dict[str, Callable[[Fleet, Agent], str]]] = {
    "invalid subject token": {
        "nothing": lambda f, _: "x",
        "of another instance": lambda f, _: another_instance(f),
        "of an audience of one's own": lambda f, _: f.planner.token(audience=[f.tools]),
        "that ended long ago": lambda f, _: f.planner.token(audience=f.tools, ttl=-LEEWAY),
    },
    "subject token for another": {
        "for our own API": lambda f, _: f.planner.token(),
        "for another resource server": lambda f, _: f.company.token(f.planner, f.billing),
        "for one that another agent runs": lambda f, _: f.token_for(run_by=f.planner),
        "for a cloud, whose audience others have too": lambda f, _: f.token_for(run_by=f.worker, audience=AT_A_CLOUD),
        "for one that the organization does not hold": lambda f, o: after(
            f, f.subject_token, ANOTHERS, o.organization_id, f.tools
        ),
    },
    "subject token of another organization": {"of another organization": lambda f, o: o.token(audience=f.tools)},
    "subject or actor ended": {
        "of another organization's agent": lambda f, o: f.planner.token(audience=f.tools, agent_id=o.agent_id),
        "of a suspended agent": lambda f, _: after(f, f.subject_token, SUSPENDED, f.planner.agent_id),
        "of a deleted agent": lambda f, _: after(f, f.subject_token, DELETED, f.planner.agent_id),
    },
    "subject token revoked": {"revoked": lambda f, _: revoked(f, f.subject_token, f.planner)},
    "subject token expired": {"that has just ended": lambda f, _: f.planner.token(audience=f.tools, ttl=0)},
    "too many actors": {"that has four actors": lambda f, _: four_deep(f)},
}


@pytest.mark.parametrize(("reason", "name"), [(reason, name) for reason, names in REFUSED.items() for name in names])
def test_a_token_is_refused(fleet: Fleet, cast: Cast, caplog: pytest.LogCaptureFixture, reason: str, name: str) -> None:
    token = REFUSED[reason][name](fleet, cast.outsider)
    before = fleet.worker.sums()
    assert whole(fleet.exchange(token)) == NOT_ACCEPTABLE
    assert reasons(caplog) == [reason]
    assert rejections(fleet.worker) == [(reason, 1)]
    assert fleet.worker.sums() == {name: count + ("rejected" in name) for name, count in before.items()}


ACTOR_TOKENS: dict[str, Callable[[Fleet, Agent], str]] = {
    "another agent's": lambda f, _: f.planner.token(),
    "another organization's": lambda f, o: o.token(),
    "of another instance": lambda f, _: another_instance(f),
    "that ended": lambda f, _: f.worker.token(ttl=-LEEWAY),
    "revoked": lambda f, _: revoked(f, f.worker.token(), f.worker),
    "bound to a key of which there is no proof": lambda f, _: f.worker.token(jkt="x"),
    "by exchange": lambda f, _: f.company.exchanged(f.worker, f.subject_token, f.billing),
    "nothing": lambda f, _: "x",
}


@pytest.mark.parametrize("name", ACTOR_TOKENS)
def test_an_actors_token_that_is_not_its_own_is_refused(fleet: Fleet, cast: Cast, name: str) -> None:
    form = {"actor_token": ACTOR_TOKENS[name](fleet, cast.outsider), "actor_token_type": ACCESS_TOKEN}
    subject_token = fleet.subject_token
    assert whole(fleet.exchange(subject_token, **form)) == NOT_ACCEPTABLE
    form["actor_token"] = fleet.worker.token()
    claims = claims_of(fleet.exchange(subject_token, **form))
    assert (claims["sub"], claims["act"]) == (fleet.planner.client_id, {"sub": fleet.worker.client_id})


def test_a_client_cannot_say_who_acts_and_for_whom(fleet: Fleet, cast: Cast) -> None:
    made_up = {"sub": "somebody", "client_id": cast.outsider.client_id}
    said = {name: json.dumps(made_up) for name in ("act", "sub_id", "may_act", "claims", "sub")}
    claims = claims_of(fleet.exchange(fleet.subject_token, **said))
    assert (claims["sub"], claims["act"]) == (fleet.planner.client_id, {"sub": fleet.worker.client_id})
    assert claims.keys().isdisjoint(("sub_id", "may_act", "claims"))


WRONG_TYPE = f"subject_token_type must be one of {ACCESS_TOKEN}, {ID_TOKEN}, {JWT}"
NO_TARGET = "a token from an exchange is for a resource server: name the resource server by resource"
NOT_A_TARGET = (
    "the organization has no resource server for resource, or does not own its identifier, or the agent may not act "
    "for anybody there"
)


@pytest.mark.parametrize(
    ("form", "error", "description"),
    [
        ({"subject_token": ""}, "invalid_request", "subject_token is missing"),
        ({"subject_token_type": ""}, "invalid_request", "subject_token_type is missing"),
        ({"subject_token_type": f"{JWT}s"}, "invalid_request", WRONG_TYPE),
        ({"actor_token": "x"}, "invalid_request", "actor_token and actor_token_type must be sent together"),
        ({"actor_token_type": JWT}, "invalid_request", "actor_token and actor_token_type must be sent together"),
        ({"actor_token": "x", "actor_token_type": JWT}, "invalid_request", f"actor_token_type must be {ACCESS_TOKEN}"),
        ({"requested_token_type": JWT}, "invalid_request", f"requested_token_type must be {ACCESS_TOKEN}"),
        ({"resource": ""}, "invalid_target", NO_TARGET),
        ({"resource": f"{ISSUER}/api/v1"}, "invalid_target", NO_TARGET),
        ({"resource": "https://unknown.example"}, "invalid_target", NOT_A_TARGET),
    ],
)
def test_a_form_is_refused(fleet: Fleet, form: dict[str, str], error: str, description: str) -> None:
    response = fleet.exchange(fleet.subject_token, **form)
    assert whole(response) == refused(error, description)


@pytest.mark.parametrize(
    "said", [{"subject": "organization-agent"}, {"audience": "sts.amazonaws.com"}], ids=["subject", "shared audience"]
)
def test_nobody_acts_for_another_at_a_cloud_which_would_take_it_for_that(fleet: Fleet, said: dict[str, str]) -> None:
    cloud = fleet.company.server("read", **said)
    response = fleet.exchange(fleet.subject_token, resource=cloud)
    assert whole(response) == refused("invalid_target", NOT_A_TARGET)


def lacks(holder: str, scope: str = "write") -> Whole:
    """Return the response that names who lacks a scope."""
    return refused("invalid_scope", f"{holder} does not have the scope {scope}")


SCOPES_OF = "agents set scopes = %s where agent_id = %s"


@pytest.mark.parametrize(
    ("actor", "subject", "asked", "granted"),
    [
        ("void read write", "write read", None, "read write"),
        ("void read write", "write read", "write", "write"),
        ("void read write", "write read", "void", lacks("the subject", "void")),
        ("void read write", "write read", "read void", lacks("the subject", "void")),
        ("read", "write read", None, "read"),
        ("read", "write read", "write", lacks("the agent")),
        ("read write", "write read", "other", lacks("the resource server", "other")),
        # No exchange is for our API, so the description does not advise to leave out the resource.
        ("agents:read", "agents:read", "agents:read", lacks("the resource server", "agents:read")),
        ("void", "read", None, lacks("the agent", "read, write; the subject does not have the scope void")),
        ("void read write", "", None, lacks("the subject", "read, write, void")),
        ("", "read", None, lacks("the agent", "read, write, void")),
        # The resource server has none of the common scopes.
        ("agents:read other", "agents:read other", None, lacks("the agent", "read, write, void")),
    ],
)
def test_a_scope_is_the_actors_and_the_subjects(
    fleet: Fleet, actor: str, subject: str, asked: str | None, granted: str | Whole
) -> None:
    subject_token = fleet.subject_token
    # The scopes that the subject has now, not those when it got its token.
    for agent, scopes in ((fleet.worker, actor), (fleet.planner, subject)):
        fleet.company.change(SCOPES_OF, scopes.split(), agent.agent_id)
    form = {} if asked is None else {"scope": asked}
    response = fleet.exchange(subject_token, **form)
    if not isinstance(granted, str):
        assert whole(response) == granted
    else:
        assert (response.json["scope"], claims_of(response)["scope"]) == (granted, granted)


@pytest.mark.parametrize("spelling", ["{}", "{}/", "same audience", "//{}"])
def test_no_way_back_to_a_resource_is_wider(acme: Company, spelling: str) -> None:
    first, second = acme.agent("read", "write", "void"), acme.agent("read", "write")
    # Google Cloud treats both as the same.
    said = {"audience": f"//{uuid.uuid4()}.example"} if spelling == "//{}" else {}
    billing = acme.server("read", "write", run_by=first, **said)
    again = billing
    if spelling == "//{}":
        again = acme.server("read", "write", audience=f"https:{said['audience']}")
    elif spelling == "{}/":
        again = acme.server("read", "write", resource=f"{billing}/")
    elif spelling == "same audience":
        again = acme.server("read", "write", audience=billing)
    other, third = acme.server("void", run_by=second), acme.agent("read", "write", "void")
    token = acme.token(third, billing, scope="read")
    # To itself, to another one, and from that back.
    assert acme.exchange(first, token, again).json["scope"] == "read"
    assert whole(acme.exchange(first, token, again, scope="write")) == lacks("an exchanged token")
    there = acme.exchanged(first, token, other)
    back = acme.exchange(second, there, again)
    assert back.json["scope"] == "read"
    assert whole(acme.exchange(second, there, again, scope="read write")) == lacks("an exchanged token")
    assert [exchanged_token["scope"] for exchanged_token in claims_of(back)["exchanged_from"]] == ["void", "read"]


def test_another_audience_of_a_server_widens_no_token(acme: Company, caplog: pytest.LogCaptureFixture) -> None:
    first, second = acme.agent("read", "write"), acme.agent("read", "write")
    old, new = (f"https://{uuid.uuid4()}.example" for _ in range(2))
    billing = acme.server("read", "write", run_by=first, audience=old)
    other = acme.server("read", "write", run_by=second)
    there = acme.exchanged(first, acme.token(acme.agent("read"), billing, scope="read"), other)
    acme.patch(billing, {"audience": new})
    assert whole(acme.exchange(second, there, billing)) == NOT_ACCEPTABLE
    assert reasons(caplog) == ["audience ended"]
    assert introspect(acme.client, acme.admin, there).json == INACTIVE
    # The organization holds the audience again, as that of another resource server.
    acme.server("read", "write", audience=old)
    assert introspect(acme.client, acme.admin, there).json["active"]
    assert whole(acme.exchange(second, there, billing, scope="write")) == lacks("the subject")
    assert acme.exchange(second, there, billing).json["scope"] == "read"


MAY_ACT = [{"sub": "them"}, {}, {"sub": "them", "client_id": "ACTOR"}, {"sub": "ACTOR", "iss": "https://i.example"}]
SIGNED_OUT = {"http://schemas.openid.net/event/backchannel-logout": {}}
FOREIGN: list[tuple[dict[str, Any], str]] = [
    *[({"sub": sub}, "subject token without subject") for sub in ("", "x" * 256, "Änne", "a\nb", 7)],
    *[({"act": act}, "subject token has actors") for act in ({"sub": "them"}, None)],
    *[({"may_act": may_act}, "subject names another actor") for may_act in MAY_ACT],
    ({"events": SIGNED_OUT}, "unreadable subject token"),
    *[({"iss": iss}, "no rule of trust") for iss in ("https://other.example", ISSUER)],
    ({"groups": "guests"}, "token matches no rule"),
    *[({"aud": aud}, "wrong audience") for aud in ("OTHER", ISSUER, ["ACTOR", "them"])],
    # The leeway does not apply, because the new token would have no lifetime.
    ({"exp": NOW}, "subject token expired"),
    ({"exp": NOW - 30}, "assertion expired"),
]


@pytest.mark.parametrize(("changes", "reason"), FOREIGN, ids=ascii)
def test_another_issuers_token_is_refused(
    acme: Company, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], reason: str
) -> None:
    issuer, worker, billing = Issuer.with_curve(), acme.agent("read"), acme.server("read")
    acme.rule(issuer, [worker], {billing: ["read"]}, claims={"groups": "staff"})
    other = acme.agent("read")
    said = json.loads(json.dumps(changes).replace("ACTOR", worker.client_id).replace("OTHER", other.client_id))
    claims = issuer.claims(worker.client_id, groups="staff") | said
    assert whole(acme.exchange(worker, issuer.sign(claims), billing, ID_TOKEN)) == NOT_ACCEPTABLE
    assert reasons(caplog) == [reason]
    assert acme.delegated() == []


def test_a_token_of_ours_is_never_another_issuers_and_another_issuers_never_ours(fleet: Fleet) -> None:
    acme = fleet.company
    subject_token = fleet.subject_token
    impostor = Issuer.with_curve(ISSUER)
    # Such a rule is refused, but nothing depends on that.
    acme.rule(Issuer.with_curve(), [fleet.worker], {fleet.billing: ["read"]})
    trust = Jsonb({"issuer": ISSUER, "jwks": impostor.jwks(), "audience": fleet.tools})
    acme.change("delegation_rules set trust = %s where organization_id = %s", trust, fleet.worker.organization_id)
    for kind, token in (
        (JWT, subject_token),
        (ID_TOKEN, impostor.token(fleet.tools)),
        (ACCESS_TOKEN, impostor.token(fleet.tools)),
    ):
        assert whole(fleet.exchange(token, kind)) == NOT_ACCEPTABLE


def test_a_rule_is_for_its_agents_and_its_resources(
    acme: Company, cast: Cast, client: FlaskClient, clock: Clock
) -> None:
    issuer, worker, other = Issuer.with_curve(), acme.agent("read", "write"), acme.agent("read", "write")
    billing, shipping, mail = (acme.server("read", "write") for _ in range(3))
    audience = f"{ISSUER}/{worker.organization_id}"
    token = issuer.token(audience)
    for scopes, resource in ((["read"], billing), (["read", "write"], shipping), (["write"], billing)):
        acme.rule(issuer, [worker], {resource: scopes}, audience=audience)
        clock.advance(seconds=1)
    # The oldest rule with the resource.
    assert [acme.exchange(worker, token, to, JWT).json["scope"] for to in (billing, shipping)] == ["read", "read write"]
    assert whole(acme.exchange(worker, token, billing, JWT, scope="write")) == lacks("the delegation rule")
    assert whole(acme.exchange(worker, token, mail, JWT)) == refused("invalid_target", NOT_A_TARGET)
    assert whole(acme.exchange(other, token, billing, JWT)) == NOT_ACCEPTABLE
    # Nor another organization's agent, by a rule that it does not have.
    outsiders = company_of(client, cast.outsider)
    stranger, theirs = outsiders.agent("read"), outsiders.server("read")
    assert whole(outsiders.exchange(stranger, token, theirs, JWT)) == NOT_ACCEPTABLE
    # One that is made later counts at once, and one that is deleted no more: also if a process remembers it.
    acme.rule(issuer, [worker], {mail: ["read"]}, audience=audience)
    assert acme.exchange(worker, token, mail, JWT).json["scope"] == "read"
    holder, form = KeyHolder.make(worker), {"subject_token": token, "subject_token_type": JWT, "resource": billing}
    for scope in ("read", "write"):
        acme.delete_rules()
        acme.rule(issuer, [worker], {billing: [scope]}, audience=audience)
        assert acme.exchange(worker, token, billing, JWT).json["scope"] == scope
        assertion = holder.form() | {"grant_type": TOKEN_EXCHANGE}
        assert ask(client, assertion | form).json["scope"] == scope
        assert whole(ask(client, assertion | form)) == USED_BEFORE
    acme.delete_rules()
    for _ in range(2):
        assert whole(acme.exchange(worker, token, billing, JWT)) == NOT_ACCEPTABLE


def test_who_gets_a_persons_token_from_another_agent_must_be_in_the_rule_too(acme: Company) -> None:
    issuer, first, second, third = Issuer.with_curve(), *(acme.agent("read", "write") for _ in range(3))
    tools, others = acme.server("read", run_by=second), acme.server("write", run_by=third)
    billing = acme.server("read", "write")
    acme.rule(issuer, [first, second], {tools: ["read"], others: ["write"], billing: ["read"]})
    token = acme.exchange(first, issuer.token(first.client_id), tools, JWT).json["access_token"]
    # No wider than the rule, which is the person's, not the first agent's.
    response = acme.exchange(second, token, billing)
    assert (claims_of(response)["scope"], claims_of(response)["act"]) == (
        "read",
        {"sub": second.client_id, "act": {"sub": first.client_id}},
    )
    assert acme.exchange(second, token, others).json["scope"] == "write"
    assert whole(acme.exchange(second, token, billing, scope="write")) == lacks("the delegation rule")
    acme.change("resource_servers set agent_id = %s where resource = %s", third.agent_id, tools)
    assert whole(acme.exchange(third, token, billing)) == NOT_ACCEPTABLE


def test_a_bound_token_is_exchanged_for_a_bound_one_only(fleet: Fleet, clock: Clock) -> None:
    acme, holder, actor = fleet.company, Holder(clock), Holder(clock)
    issuer = Issuer.with_curve()
    acme.rule(issuer, [fleet.worker], {fleet.billing: ["read"]})
    bound = [
        (ACCESS_TOKEN, fleet.planner.token(audience=fleet.tools, jkt=holder.jkt)),
        (JWT, issuer.token(fleet.worker.client_id, cnf={"jkt": holder.jkt})),
    ]
    for kind, token in bound:
        assert whole(fleet.exchange(token, kind)) == refused(
            "invalid_dpop_proof", "the subject token is bound to a key: send a proof in the header DPoP"
        )
        proof = actor.proof("POST", f"{ISSUER}/api/v1/token")
        # A failed exchange consumes no proof.
        assert whole(fleet.exchange("x", proof=proof)) == NOT_ACCEPTABLE
        response = fleet.exchange(token, kind, proof=proof)
        assert (response.json["token_type"], claims_of(response)["cnf"]) == ("DPoP", {"jkt": actor.jkt})
        used = fleet.exchange(token, kind, proof=proof)
        assert used.json["error"] == "invalid_dpop_proof"
    # A refused exchange is not counted.
    assert fleet.worker.sums()["tokens"] == len(bound)


def end_tokens(fleet: Fleet, agent: Agent) -> None:
    """End all tokens that were issued to an agent before now."""
    path = f"/api/v1/agents/{agent.agent_id}/tokens"
    assert fleet.company.client.delete(path, headers=fleet.company.admin.bearer()).status_code == 204


def test_tokens_of_an_actor_that_ended_its_own_are_exchanged_again(fleet: Fleet, clock: Clock) -> None:
    actor_token, subject_token = fleet.worker.token(), fleet.subject_token
    end_tokens(fleet, fleet.worker)
    own = {"actor_token": actor_token, "actor_token_type": ACCESS_TOKEN}
    assert whole(fleet.exchange(subject_token, **own)) == NOT_ACCEPTABLE
    # Only tokens of the worker have ended, not those that others were issued for it.
    assert fleet.exchange(subject_token).status_code == 200
    clock.advance(seconds=1)
    assert fleet.exchange(subject_token, **own | {"actor_token": fleet.worker.token()}).status_code == 200


def test_no_token_comes_of_a_token_that_ends_meanwhile(fleet: Fleet) -> None:
    url, subject_token = fleet.worker.database_url, fleet.subject_token
    with psycopg.connect(url) as ending, ThreadPoolExecutor() as pool:
        # end_tokens takes this lock.
        ending.execute("select pg_advisory_xact_lock(hashtext(%s), 16)", [fleet.worker.organization_id])
        exchange = pool.submit(fleet.exchange, subject_token)
        wait_until(lambda: execute(url, WAITING))
        end = "update agents set tokens_not_before = %s where agent_id = %s"
        ending.execute(end, [NOON + timedelta(seconds=1), fleet.planner.agent_id])
        ending.commit()
        assert whole(exchange.result()) == NOT_ACCEPTABLE


ENDS: dict[str, Callable[[Fleet, Any], object]] = {
    "the subject is suspended": lambda f, c: f.company.change(SUSPENDED, c.subject),
    "the first actor is suspended": lambda f, c: f.company.change(SUSPENDED, c.actors[0]),
    "the second actor is suspended": lambda f, c: f.company.change(SUSPENDED, c.actors[1]),
    "the first token is revoked": lambda f, c: revoked(f, c.tokens[0], c.owners[0]),
    "the one between is revoked": lambda f, c: revoked(f, c.tokens[1], c.owners[1]),
    "it is revoked itself": lambda f, c: revoked(f, c.tokens[2], c.owners[2]),
    "an administrator revokes it": lambda f, c: revoked(f, c.tokens[2], f.company.admin),
    "the rule is deleted": lambda f, c: f.company.delete_rules(),
    "the subject's tokens end": lambda f, c: end_tokens(f, c.owners[0]),
    "the first actor's tokens end": lambda f, c: end_tokens(f, c.owners[1]),
    "the second actor's tokens end": lambda f, c: end_tokens(f, c.owners[2]),
}


@dataclass
class Chain:
    """Three tokens, each exchanged for the next, and their agents."""

    tokens: list[str]
    owners: list[Agent]
    subject: uuid.UUID | None

    @property
    def actors(self) -> list[uuid.UUID]:
        return [owner.agent_id for owner in self.owners[-2:]]


def chain(fleet: Fleet, *, of_a_person: bool) -> Chain:
    acme = fleet.company
    second, third = acme.agent("read"), acme.agent("read")
    between, last = acme.server("read", run_by=second), acme.server("read", run_by=third)
    if of_a_person:
        issuer = Issuer.with_curve()
        acme.rule(issuer, [fleet.planner, second, third], {between: ["read"], last: ["read"]})
        response = acme.exchange(fleet.planner, issuer.token(fleet.planner.client_id), between, JWT)
        first = response.json["access_token"]
        tokens = [first, acme.exchanged(second, first, last)]
        return Chain([*tokens, acme.exchanged(third, tokens[1], last)], [fleet.planner, second, third], None)
    first = fleet.subject_token
    middle = acme.exchanged(fleet.worker, first, between)
    return Chain(
        [first, middle, acme.exchanged(second, middle, last)],
        [fleet.planner, fleet.worker, second],
        fleet.planner.agent_id,
    )


@ON_CITUS_TOO
@pytest.mark.parametrize("end", ENDS)
def test_what_ends_ends_all_that_came_of_it(fleet: Fleet, end: str) -> None:
    found = chain(fleet, of_a_person="rule" in end)
    last = fleet.company.agent("read")
    fleet.company.change(
        "resource_servers set agent_id = %s where resource = %s",
        last.agent_id,
        jwt.decode(found.tokens[2], options={"verify_signature": False})["aud"],
    )
    assert introspect(fleet.company.client, fleet.company.admin, found.tokens[2]).json["active"] is True
    ENDS[end](fleet, found)
    assert introspect(fleet.company.client, fleet.company.admin, found.tokens[2]).json == INACTIVE
    assert whole(fleet.company.exchange(last, found.tokens[2], fleet.billing)) == NOT_ACCEPTABLE


def test_our_own_api_takes_no_token_by_exchange(fleet: Fleet) -> None:
    settings = fleet.worker.services.settings
    acting = Delegation((fleet.worker.agent_id,), (Ancestor("x", fleet.tools, ""),), fleet.worker.agent_id)
    for audience in settings.own_audiences:
        token = fleet.worker.token(audience=audience, delegation=acting)
        for path in ("/api/v1/agents", "/dashboard/"):
            headers = {"Authorization": f"Bearer {token}", "Cookie": f"session={token}"}
            assert fleet.company.client.get(path, headers=headers).status_code in (401, 302, 303)


def test_whoever_fails_to_authenticate_learns_nothing_of_a_token(fleet: Fleet, cast: Cast) -> None:
    for token in (fleet.subject_token, "x"):
        for client_id in (fleet.worker.client_id, cast.outsider.client_id, str(uuid.UUID(int=7))):
            sent = {"client_id": client_id, "client_secret": "wrong", "resource": fleet.billing}
            form = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
            assert whole(ask(fleet.company.client, sent | form)) == FAILED


def test_only_an_authentic_client_learns_that_a_rule_has_no_keys_now(
    acme: Company, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody else could find out whom an organization trusts, and have addresses asked, by a client_id alone."""
    inline, unreachable = Issuer.with_curve(), Issuer.with_curve("https://localhost:1")
    worker, billing = acme.agent("read"), acme.server("read")
    acme.rule(unreachable, [worker], {billing: ["read"]}, jwks=None)
    acme.rule(inline, [worker], {billing: ["read"]})
    token = unreachable.token(worker.client_id)
    stranger, key = replace(worker, client_secret="wrong"), KeyHolder(worker, KEYS["ES256"]())
    for _ in range(2):
        assert whole(acme.exchange(stranger, token, billing, JWT)) == FAILED
        form = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": JWT, "resource": billing}
        assert whole(ask(acme.client, key.form() | form)) == FAILED
        assert "token not judged" not in caplog.messages
        assert acme.exchange(worker, token, billing, JWT).status_code == 503
        # The process may remember the rules.
        assert acme.exchange(worker, inline.token(worker.client_id), billing, JWT).status_code == 200
        caplog.clear()


def test_junk_from_others_does_not_lock_an_agent_out(fleet: Fleet, client: FlaskClient) -> None:
    form = {"grant_type": TOKEN_EXCHANGE, "subject_token_type": ACCESS_TOKEN, "resource": fleet.billing}
    form |= {"client_id": fleet.worker.client_id, "client_secret": fleet.worker.client_secret}
    for _ in range(MAX_FAILURES_PER_MINUTE + 1):
        assert whole(client.post("/api/v1/token", data=form | {"subject_token": "x"})) == NOT_ACCEPTABLE
    token = fleet.subject_token
    assert client.post("/api/v1/token", data=form | {"subject_token": token}).status_code == 200


@COMPARES_STATEMENTS
def test_an_exchange_is_one_statement_and_every_refusal_says_the_same(fleet: Fleet, cast: Cast) -> None:
    acme, issuer = fleet.company, Issuer.with_curve()
    acme.rule(issuer, [fleet.worker], {fleet.billing: ["read"]})
    good, foreign = fleet.subject_token, issuer.token(fleet.worker.client_id)
    for kind, token in ((ACCESS_TOKEN, good), (JWT, foreign)):
        fleet.exchange(token, kind)
        with overheard(acme.admin.services.database) as conversation:
            assert fleet.exchange(token, kind).status_code == 200
        assert (conversation.statements, conversation.round_trips) == (["oauth/exchange_token"], 1)
    said = set()
    for token in ("x", cast.outsider.token(audience=fleet.tools), acme.token(fleet.planner, fleet.billing)):
        with overheard(acme.admin.services.database) as conversation:
            assert whole(fleet.exchange(token)) == NOT_ACCEPTABLE
        said.add((*conversation.statements, conversation.round_trips))
    assert len(said) == 1


@ON_CITUS_TOO
def test_64_at_once_get_what_a_quota_of_the_actor_allows(fleet: Fleet, app: Flask) -> None:
    quota, subject_token = 20, fleet.subject_token
    body = {"tokens": quota, "enforce": True}
    Api(fleet.company.client, fleet.company.admin).put(f"agents/{fleet.worker.client_id}/quotas/day", body)

    def ask(_: int) -> int:
        company = replace(fleet.company, client=app.test_client())
        return company.exchange(fleet.worker, subject_token, fleet.billing).status_code

    with ThreadPoolExecutor(64) as threads:
        answers = Counter(threads.map(ask, range(64)))
    assert answers == {200: quota, 429: 64 - quota}
    [(_, _, _, _, tokens)] = fleet.company.delegated()
    assert tokens == quota


def test_a_comparison_names_the_side_that_lacks_a_scope(fleet: Fleet, cast: Cast) -> None:
    services, organization_id = fleet.planner.services, fleet.planner.organization_id

    def compare(token: str, actor: Agent = fleet.worker) -> dict[str, list[tuple[str, Any]]]:
        database = database_of(services, organization_id)
        results = compare_token(services, database, token, agent_id=actor.agent_id, at=NOON)
        return {
            str(result.resource): [(c.name, c.actual) for c in result.comparisons if not c.is_met] for result in results
        }

    token = fleet.subject_token
    assert compare(token)[fleet.billing] == []
    database = database_of(services, organization_id)
    results = compare_token(services, database, token, agent_id=fleet.worker.agent_id, at=NOON)
    [best] = [result for result in results if result.resource == fleet.billing]
    [scopes] = [comparison for comparison in best.comparisons if comparison.name == "scopes"]
    assert scopes.actual == "read write; the subject does not have the scope void"
    assert "subject_token of a token exchange" in str(best.note)
    # The token is for another resource, so its scopes do not limit the new token.
    fleet.company.change(SCOPES_OF, ["read", "write", "void"], fleet.planner.agent_id)
    assert compare(token)[fleet.billing] == []
    # The token is not for this agent, was revoked, or is another organization's.
    own = fleet.planner.token()
    assert compare(own)[fleet.billing] == [("audience", f"{ISSUER}/api/v1")]
    revoked(fleet, token, fleet.planner)
    assert compare(token)[fleet.billing] == [("token and its agents", "subject token revoked")]
    assert "organization" in dict(compare(cast.outsider.token())[fleet.billing])
    # The subject has no scope there, and then the actor has none.
    token = fleet.subject_token
    fleet.company.change(SCOPES_OF, [], fleet.planner.agent_id)
    assert compare(token)[fleet.billing] == [("scopes", "the subject does not have the scope read, write, void")]
    fleet.company.change(SCOPES_OF, [], fleet.worker.agent_id)
    assert compare(token)["None"] == [("scopes", "the agent has none")]
    with pytest.raises(ConfigurationError, match="expired at"):
        compare(fleet.planner.token(ttl=-LEEWAY))
    with pytest.raises(ConfigurationError, match="name the agent that exchanges it"):
        compare_token(services, database, token, agent_id=None, at=NOON)
