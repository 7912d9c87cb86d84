"""First sight: agents that a provisioning rule creates for subjects that nobody has named."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.federation.rule import selector_of
from agentidp.federation.rule_checks import checked
from agentidp.maintenance.erasure import delete_organization, erase_agent
from agentidp.oauth import client_assertion, first_sight, rule_results
from agentidp.oauth.client_assertion import CLIENT_LEEWAY
from agentidp.oauth.federated_token import MAX_LIFETIME, SPIFFE_TYPE
from agentidp.registry import quotas
from agentidp.registry.agents import add_agent, remove_agent, update_agent
from agentidp.registry.credentials import add_credential, end_credential
from agentidp.registry.organizations import update_organization
from agentidp.registry.provisioning import NewProvisioningRuleSchema, add_rule, expire, remove_rule
from agentidp.server.watch import watch
from tests.audit.conftest import events_of, verified
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NEW_AGENT, NOON, Agent, Clock, database_of, make_agent, usage_sums
from tests.federation.issuer import NOW, Issuer
from tests.oauth.clients import FAILED, ISSUER, claims_of, reasons, whole
from tests.oauth.test_quotas import put

pytestmark = ON_CITUS_TOO

US = ISSUER
SUBJECT = "system:serviceaccount:shop:builder"
RULE = {
    "name": "shop",
    "agentTemplate": {"name": "ci {sub}", "owner": "team@acme.example", "scopes": ["analytics:read"]},
}
ASSERTION = {"grant_type": "client_credentials", "client_assertion_type": client_assertion.TYPE}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer whose keys the rule has inline."""
    return Issuer.with_curve()


@pytest.fixture
def acme(cast: Cast, issuer: Issuer) -> Agent:
    """An organization with a rule that creates agents, and its switch on."""
    return provision(cast.acme, issuer)


def opened(agent: Agent) -> AbstractContextManager[Any]:
    """A transaction of the agent's organization."""
    return database_of(agent.services, agent.organization_id).transaction()


def make_rule(agent: Agent, issuer: Issuer, **changes: Any) -> Any:
    """A provisioning rule of the agent's organization for a namespace; its row."""
    trust = {"issuer": issuer.url, "subject": "system:serviceaccount:shop:*", "jwks": issuer.jwks()}
    trust = {name: value for name, value in (trust | changes.pop("trust", {})).items() if value is not None}
    new = NewProvisioningRuleSchema().load({**RULE, "trust": trust, **changes})
    with opened(agent) as transaction:
        return add_rule(transaction, agent.services.settings, new)


def provision(agent: Agent, issuer: Issuer, **changes: Any) -> Agent:
    """An organization with such a rule, and its switch on."""
    make_rule(agent, issuer, **changes)
    switch(agent, is_on=True)
    return agent


def switch(agent: Agent, *, is_on: bool) -> None:
    with opened(agent) as transaction:
        update_organization(transaction, {"provisions_agents": is_on})


def expired(agent: Agent) -> list[Any]:
    """The agents that expire now."""
    return expire(database_of(agent.services, agent.organization_id))


def audience(agent: Agent) -> str:
    """What a token is for that may create an agent of the organization."""
    return f"{US}/{agent.organization_id}"


def ask(client: FlaskClient, token: str, **form: str) -> TestResponse:
    """A token request with a platform's token, and without client_id."""
    return client.post("/api/v1/token", data=ASSERTION | {"client_assertion": token} | form)


def agents_of(agent: Agent) -> list[Any]:
    """The agents of the organization that a rule has created, oldest first."""
    database = database_of(agent.services, agent.organization_id)
    rows = database.fetch("agents/list_agents", after_at=None, after_id=None, limit=None)
    return [row for row in rows if row.provisioned]


def test_the_first_token_creates_the_agent_and_the_second_finds_it(
    client: FlaskClient, acme: Agent, issuer: Issuer, database_url: str
) -> None:
    token = issuer.token(audience(acme))
    first, second = ask(client, token), ask(client, token)
    assert (first.status_code, second.status_code) == (200, 200), first.text
    [agent] = agents_of(acme)
    assert [claims_of(each)["sub"] for each in (first, second)] == [str(agent.agent_id)] * 2
    assert claims_of(first)["scope"] == "analytics:read"
    body = client.get(f"/api/v1/agents/{agent.agent_id}", headers=acme.bearer()).json
    times = {name: body.pop(name) for name in ("createdAt", "updatedAt")}
    assert len(times) == 2
    assert body == NEW_AGENT | {
        "agentId": str(agent.agent_id),
        "name": f"ci {SUBJECT}",
        "owner": "team@acme.example",
        "scopes": ["analytics:read"],
        "suspendsAt": None,
        "provisioned": {"rule": "shop", "issuer": issuer.url, "subject": SUBJECT, "expiresAfterDays": None},
    }
    [rule] = client.get(f"/api/v1/agents/{agent.agent_id}/credentials", headers=acme.bearer()).json["data"]
    assert (rule["issuer"], rule["subject"], rule["audience"]) == (issuer.url, SUBJECT, audience(acme))
    assert rule["jwks"] == issuer.jwks()
    sums = usage_sums(database_url, acme.organization_id)
    assert (sums["agent_tokens"], sums["tokens"], sums["agent_rejected"]) == (2, 2, 0)
    made = [event for event in events_of(database_url, acme.organization_id) if event["actorType"] == "system"]
    assert [event["action"] for event in made][-2:] == ["agent.created", "credential.created"]
    created = made[-2]
    assert created["subject"] == str(agent.agent_id)
    assert (created["after"]["rule"], created["after"]["subject"]) == ("shop", SUBJECT)
    assert (created["clientAddress"], created["requestId"]) == ("127.0.0.1", first.headers["X-Request-Id"])
    assert verified(database_url, acme.organization_id).broken_at is None


def test_as_a_grant_and_as_a_jwt_svid(client: FlaskClient, acme: Agent, issuer: Issuer) -> None:
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    token = issuer.token(audience(acme), sub="system:serviceaccount:shop:grant")
    assert client.post("/api/v1/token", data={"grant_type": grant, "assertion": token}).status_code == 200
    domain = "spiffe://acme.example"
    make_rule(acme, issuer, name="svid", trust={"issuer": domain, "subject": f"{domain}/ns/shop/*"})
    svid = issuer.token(audience(acme), iss=None, sub=f"{domain}/ns/shop/sa/builder")
    assert ask(client, svid, client_assertion_type=SPIFFE_TYPE).status_code == 200
    assert {agent.provisioned["issuer"] for agent in agents_of(acme)} == {issuer.url, domain}


def test_sixteen_first_tokens_at_once_create_one_agent(
    app: Flask, acme: Agent, issuer: Issuer, database_url: str
) -> None:
    token = issuer.token(audience(acme))

    def first(_: int) -> TestResponse:
        return ask(app.test_client(), token)

    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(first, range(16)))
    assert [response.status_code for response in responses] == [200] * 16
    [agent] = agents_of(acme)
    assert {claims_of(response)["sub"] for response in responses} == {str(agent.agent_id)}
    sums = usage_sums(database_url, acme.organization_id)
    assert (sums["agent_tokens"], sums["tokens"], sums["agent_rejected"]) == (16, 16, 0)


def test_new_subjects_at_once_get_one_each_and_the_maximum_is_exact(
    app: Flask, cast: Cast, issuer: Issuer, database_url: str
) -> None:
    acme = provision(cast.acme, issuer, maxAgents=5)

    def first(number: int) -> TestResponse:
        return ask(app.test_client(), issuer.token(audience(acme), sub=f"system:serviceaccount:shop:job{number}"))

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(first, range(12)))
    assert sorted(response.status_code for response in responses) == [200] * 5 + [401] * 7
    assert len(agents_of(acme)) == 5
    sums = usage_sums(database_url, acme.organization_id)
    assert (sums["agent_tokens"], sums["tokens"], sums["agent_rejected"], sums["rejected"]) == (5, 5, 7, 7)


def test_two_issuers_with_the_same_subject_get_two_agents(client: FlaskClient, acme: Agent, issuer: Issuer) -> None:
    other = Issuer.with_curve("https://other.example")
    make_rule(acme, other, name="other")
    for one in (issuer, other):
        assert ask(client, one.token(audience(acme))).status_code == 200
    names = {row.provisioned["issuer"]: row.name for row in agents_of(acme)}
    # The name was taken, so that of the second ends with the digest of its issuer and subject.
    digest = selector_of(other.url, SUBJECT).hex()[:8]
    assert names == {issuer.url: f"ci {SUBJECT}", other.url: f"ci {SUBJECT} {digest}"}


def in_shop(*names: str) -> list[dict[str, Any]]:
    """Claims with the names of service accounts."""
    return [{"sub": f"system:serviceaccount:shop:{name}"} for name in names]


REFUSED: list[tuple[dict[str, Any], str]] = [
    *[(claims, first_sight.NOT_CREATED) for claims in in_shop("*", "a*", "default", "\0", "\ud800", "a\nb", "a" * 500)],
    *[
        ({"iss": iss}, "unknown client")
        for iss in ("https://issuer.example\0", "https://\ud800", "https://issuer.example/")
    ],
    *[({"sub": sub}, "unknown client") for sub in ("system:serviceaccount:shop2:builder", None)],
    ({"iss": None, "sub": "spiffe://\0/a"}, "unknown client"),
    ({"exp": NOW - CLIENT_LEEWAY}, "unknown client"),
    ({"exp": NOW + MAX_LIFETIME + CLIENT_LEEWAY + 1}, "unknown client"),
    ({"off": True}, first_sight.SWITCHED_OFF),
    ({"full": True}, first_sight.RULE_FULL),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=ascii)
def test_every_failure_is_the_same_and_has_its_reason(
    client: FlaskClient,
    acme: Agent,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    reason: str,
    database_url: str,
) -> None:
    switch(acme, is_on="off" not in changes)
    if "full" in changes:
        with psycopg.connect(database_url) as connection:
            connection.execute("update provisioning_rules set max_agents = 0")
    claims = issuer.claims(audience(acme)) | changes
    token = issuer.sign({name: value for name, value in claims.items() if value is not None})
    assert whole(ask(client, token)) == FAILED
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": token}
    refused = client.post("/api/v1/token", data=grant)
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_grant")
    assert reasons(caplog) == [reason] * 2
    assert agents_of(acme) == []
    sums = usage_sums(database_url, acme.organization_id)
    counted = 0 if reason == "unknown client" else 2
    assert (sums["tokens"], sums["agent_rejected"], sums["rejected"]) == (0, counted, counted)


def test_a_signature_of_somebody_else_creates_nothing(
    client: FlaskClient, acme: Agent, issuer: Issuer, database_url: str
) -> None:
    forger = Issuer.with_curve(issuer.url)
    assert whole(ask(client, forger.token(audience(acme)))) == FAILED
    assert agents_of(acme) == []
    # Anybody can send such a token, so the organization's counters do not have it.
    assert usage_sums(database_url, acme.organization_id)["rejected"] == 0


def test_the_maximum_of_the_organization(acme: Agent, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    small = create_app(replace(acme.services.settings, max_agents=1), clock=acme.services.clock)
    assert whole(ask(small.test_client(), issuer.token(audience(acme)))) == FAILED
    small.extensions["agentidp"].close()
    assert reasons(caplog) == [first_sight.AGENTS_FULL]
    assert agents_of(acme) == []


def test_another_organizations_rule_gets_nothing(client: FlaskClient, cast: Cast, acme: Agent, issuer: Issuer) -> None:
    provision(cast.outsider, issuer)
    assert ask(client, issuer.token(audience(acme))).status_code == 200
    assert (len(agents_of(acme)), len(agents_of(cast.outsider))) == (1, 0)
    # The same subject is an agent of each, and the audience says which one is meant.
    other = ask(client, issuer.token(audience(cast.outsider)))
    assert claims_of(other)["organization_id"] == cast.outsider.organization_id
    assert claims_of(ask(client, issuer.token(audience(acme))))["organization_id"] == acme.organization_id


def test_introspection_creates_nothing(client: FlaskClient, acme: Agent, issuer: Issuer) -> None:
    form = {"client_assertion_type": client_assertion.TYPE, "client_assertion": issuer.token(audience(acme))}
    assert client.post("/api/v1/token/introspect", data=form | {"token": "x"}).status_code == 401
    assert agents_of(acme) == []


def test_what_is_switched_off_or_deleted_creates_no_more_and_ends_nobody(
    client: FlaskClient, acme: Agent, issuer: Issuer
) -> None:
    token, new = issuer.token(audience(acme)), issuer.token(audience(acme), sub="system:serviceaccount:shop:new")
    assert ask(client, token).status_code == 200
    switch(acme, is_on=False)
    assert [ask(client, each).status_code for each in (token, new)] == [200, 401]
    switch(acme, is_on=True)
    with opened(acme) as transaction:
        [rule] = transaction.fetch("provisioning/list_rules")
        remove_rule(transaction, rule.provisioning_rule_id)
    assert [ask(client, each).status_code for each in (token, new)] == [200, 401]
    # A rule of the same name counts the agents of the one before.
    assert make_rule(acme, issuer).agents == 1


def delete(acme: Agent, agent: Any) -> None:
    with opened(acme) as transaction:
        remove_agent(transaction, agent.agent_id)


def suspend(acme: Agent, agent: Any) -> None:
    with opened(acme) as transaction:
        update_agent(transaction, agent.agent_id, {"status": "suspended"})


def revoke(acme: Agent, agent: Any) -> None:
    with opened(acme) as transaction:
        *_, row = transaction.fetch("agents/list_credentials", agent_id=agent.agent_id)
        end_credential(transaction, agent.agent_id, row.credential_id)


def delete_and_erase(acme: Agent, agent: Any) -> None:
    delete(acme, agent)
    erase_agent(str(acme.services.settings.database_url), acme.organization_id, agent.agent_id, at=NOON)


ENDED = [
    (delete, "deleted agent"),
    (delete_and_erase, "deleted agent"),
    (suspend, "suspended agent"),
    (revoke, "revoked or expired rule"),
]


@pytest.mark.parametrize(("end", "reason"), ENDED, ids=lambda each: getattr(each, "__name__", None))
def test_what_an_administrator_has_ended_does_not_come_back(
    client: FlaskClient,
    acme: Agent,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    end: Callable[[Agent, Any], None],
    reason: str,
    database_url: str,
) -> None:
    token = issuer.token(audience(acme))
    assert ask(client, token).status_code == 200
    [agent] = agents_of(acme)
    end(acme, agent)
    assert whole(ask(client, token)) == FAILED
    assert reasons(caplog) == [reason]
    assert [row.agent_id for row in agents_of(acme)] in ([], [agent.agent_id])
    sums = usage_sums(database_url, acme.organization_id)
    assert (sums["agent_tokens"], sums["agent_rejected"], sums["rejected"]) == (1, 1, 1)


def rule_of(acme: Agent, issuer: Issuer, subject: str) -> Any:
    """A rule of trust for a subject."""
    new = {"issuer": issuer.url, "subject": subject, "audience": audience(acme), "jwks": issuer.jwks()}
    return checked(new, own_issuer=US, organization_id=acme.organization_id)


def register(acme: Agent, issuer: Issuer, subject: str = SUBJECT) -> Any:
    """An agent that somebody has registered, and that trusts a subject; its row."""
    with opened(acme) as transaction:
        agent = add_agent(transaction, name="by hand", scopes=[], most=99)
        add_credential(transaction, agent.agent_id, expires_at=None, rule=rule_of(acme, issuer, subject))
    return agent


@pytest.mark.parametrize(
    ("end", "reason"), [(delete, "deleted agent"), (suspend, "suspended agent"), (revoke, "no rule of trust")]
)
def test_nor_what_somebody_had_registered(
    client: FlaskClient,
    acme: Agent,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    end: Callable[[Agent, Any], None],
    reason: str,
) -> None:
    agent = register(acme, issuer)
    end(acme, agent)
    token = issuer.token(audience(acme))
    assert whole(ask(client, token)) == FAILED
    database = database_of(acme.services, acme.organization_id)
    *_, found = rule_results.examine(acme.services, database, token, agent_id=None, at=NOON)
    assert [(one.name, one.found) for one in found.comparisons if not one.is_met] == [
        ("agent of the subject", str(agent.agent_id))
    ]
    assert reasons(caplog) == [reason]
    assert agents_of(acme) == []
    assert ask(client, issuer.token(audience(acme), sub="system:serviceaccount:shop:other")).status_code == 200


@pytest.mark.parametrize(("end", "status"), [(suspend, 401), (delete, 200), (revoke, 200)])
def test_a_pattern_ends_its_subjects_while_the_agent_is_suspended(
    client: FlaskClient, acme: Agent, issuer: Issuer, end: Callable[[Agent, Any], None], status: int
) -> None:
    """Who goes over to a provisioning rule deletes the agent that stood for all of its subjects."""
    end(acme, register(acme, issuer, subject="system:serviceaccount:shop:*"))
    assert ask(client, issuer.token(audience(acme))).status_code == status


def test_of_two_rules_with_the_same_trust_the_oldest_creates_the_agent(
    client: FlaskClient, acme: Agent, issuer: Issuer, clock: Clock
) -> None:
    clock.advance(seconds=1)
    make_rule(acme, issuer, name="newer", agentTemplate={"name": "newer"})
    assert ask(client, issuer.token(audience(acme))).status_code == 200
    assert [agent.provisioned["rule"] for agent in agents_of(acme)] == ["shop"]


def test_the_quotas_of_the_template_are_those_of_each_agent(client: FlaskClient, acme: Agent, issuer: Issuer) -> None:
    template = {"quotas": {"day": {"tokens": 2, "enforce": True}, "month": {"tokens": 9, "enforce": False}}}
    make_rule(acme, issuer, name="limited", trust={"subject": "system:serviceaccount:cheap:*"}, agentTemplate=template)
    for name in ("a", "b"):
        token = issuer.token(audience(acme), sub=f"system:serviceaccount:cheap:{name}")
        assert [ask(client, token).status_code for _ in range(3)] == [200, 200, 429]
    for agent in agents_of(acme):
        found = client.get(f"/api/v1/agents/{agent.agent_id}/quotas", headers=acme.bearer()).json["data"]
        assert [(one["window"], one["tokens"], one["enforce"], one["used"]) for one in found] == [
            ("day", 2, True, 2),
            ("month", 9, False, 2),
        ]


def test_the_agent_must_meet_the_claims_of_its_rule_at_every_token(
    client: FlaskClient, cast: Cast, issuer: Issuer
) -> None:
    trust = {"subject": None, "claims": {"owner_id": "7"}}
    acme = provision(cast.acme, issuer, trust=trust, agentTemplate={"name": "{/a/job}"})
    right, wrong = (issuer.token(audience(acme), sub="any", owner_id=owner, a={"job": "b"}) for owner in "78")
    assert [ask(client, each).status_code for each in (wrong, right, wrong)] == [401, 200, 401]
    assert [agent.name for agent in agents_of(acme)] == ["b"]


class TestExpiry:
    """``agentidp watch`` deletes agents whose workload is gone."""

    @pytest.fixture
    def acme(self, cast: Cast, issuer: Issuer) -> Agent:
        """An organization whose agents expire after three days."""
        return provision(cast.acme, issuer, agentTemplate={"expiresAfterDays": 3})

    @pytest.fixture
    def request_token(self, client: FlaskClient, cast: Cast, issuer: Issuer, clock: Clock) -> Callable[[], int]:
        """Ask for a token with one that the platform has just signed; the status."""
        return lambda: ask(client, issuer.token(audience(cast.acme), int(clock().timestamp()))).status_code

    @pytest.fixture
    def worker(self, acme: Agent, request_token: Callable[[], int]) -> Any:
        """An agent that expires."""
        assert request_token() == 200
        [agent] = agents_of(acme)
        return agent

    def limited(self, acme: Agent, issuer: Issuer, window: str, tokens: int) -> None:
        """Let the agents have a quota, and expire after a day."""
        template = {"quotas": {window: {"tokens": tokens, "enforce": True}}, "expiresAfterDays": 1}
        provision(acme, issuer, agentTemplate=template)

    def test_after_as_many_days_without_a_token_and_its_subject_can_get_a_new_one(
        self, acme: Agent, worker: Any, request_token: Callable[[], int], clock: Clock, database_url: str
    ) -> None:
        clock.advance(days=2)
        assert request_token() == 200
        clock.advance(days=3)
        assert expired(acme) == []
        clock.advance(seconds=1)
        assert expired(acme) == [worker.agent_id]
        assert agents_of(acme) == []
        *_, event = events_of(database_url, acme.organization_id)
        recorded = (event["action"], event["actorType"], event["subject"])
        assert recorded == ("agent.deleted", "system", str(worker.agent_id))
        before = event["before"]
        assert (before["lastSeenAt"], before["expiresAfterDays"]) == ("2026-04-17T12:00:00.000000Z", 3)
        assert request_token() == 200
        [again] = agents_of(acme)
        assert (again.name, again.agent_id == worker.agent_id) == (worker.name, False)
        sums = usage_sums(database_url, acme.organization_id)
        assert (sums["agent_tokens"], sums["tokens"]) == (3, 3)
        # By the command.
        clock.advance(days=4)
        watch(acme.services, threading.Event(), once=True)
        assert agents_of(acme) == []

    def test_gives_no_quota_again(
        self, cast: Cast, issuer: Issuer, request_token: Callable[[], int], clock: Clock
    ) -> None:
        """A workload of five tokens a month asks for more, waits, and asks again."""
        statuses = Counter[int]()
        self.limited(cast.acme, issuer, "month", 5)
        for _ in range(2):
            statuses.update(request_token() for _ in range(6))
            clock.advance(days=1, seconds=1)
            expired(cast.acme)
        assert statuses == {200: 5, 429: 7}

    @pytest.mark.parametrize(("window", "ends"), [("month", (5, 1)), ("day", (4, 2))])
    def test_not_before_the_window_of_a_quota_in_which_it_was_used_has_ended(
        self,
        cast: Cast,
        issuer: Issuer,
        request_token: Callable[[], int],
        clock: Clock,
        window: str,
        ends: tuple[int, int],
    ) -> None:
        """Also if that was so soon after its last token of the window before that only that one is noted."""
        self.limited(cast.acme, issuer, window, 1)
        for clock.now in (datetime(2026, 3, 31, 23, 59, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)):
            assert request_token() == 200
        [agent] = agents_of(cast.acme)
        clock.now = datetime(2026, *ends, tzinfo=UTC) - timedelta(microseconds=1)
        assert expired(cast.acme) == []
        clock.advance(seconds=0.000_001)
        assert expired(cast.acme) == [agent.agent_id]

    def test_not_while_it_asks_for_tokens_that_are_refused(
        self, client: FlaskClient, acme: Agent, worker: Any, request_token: Callable[[], int], clock: Clock
    ) -> None:
        """By a quota of the organization, which others may have used."""
        put(client, acme, "month", 1, own=False)
        for _ in range(2):
            clock.advance(days=2)
            assert request_token() == 429
            assert expired(acme) == []
        clock.advance(days=3, seconds=1)
        assert expired(acme) == [worker.agent_id]

    def test_not_one_whose_quota_somebody_has_set(self, acme: Agent, worker: Any, clock: Clock) -> None:
        """Its subject would get the quotas of the template, which may be higher."""
        clock.advance(days=1)
        with opened(acme) as transaction:
            quotas.set_quota(transaction, worker.agent_id, "day", tokens=1, is_enforced=True)
        clock.advance(days=100)
        assert expired(acme) == []
        with opened(acme) as transaction:
            quotas.remove_quota(transaction, worker.agent_id, "day")
        assert expired(acme) == [worker.agent_id]

    @pytest.mark.parametrize("end", [suspend, revoke])
    def test_not_what_an_administrator_has_ended(self, acme: Agent, worker: Any, clock: Clock, end: Any) -> None:
        end(acme, worker)
        clock.advance(days=100)
        assert expired(acme) == []

    def test_not_one_whose_subject_has_lost_it(self, acme: Agent, issuer: Issuer, worker: Any, clock: Clock) -> None:
        """It was given to another subject: the first one must not get another agent."""
        revoke(acme, worker)
        with opened(acme) as transaction:
            add_credential(transaction, worker.agent_id, expires_at=None, rule=rule_of(acme, issuer, "job:b"))
        clock.advance(days=100)
        assert expired(acme) == []

    def test_no_other_agents(self, acme: Agent, worker: Any, clock: Clock) -> None:
        other = make_agent(acme.services, acme.organization_id, "other")
        clock.advance(days=100)
        assert (expired(acme), expired(acme)) == ([worker.agent_id], [])
        database = database_of(acme.services, acme.organization_id)
        assert len(database.fetch("agents/get_agent", agent_id=other.agent_id)) == 1


def test_nothing_is_left_of_a_deleted_organization(
    client: FlaskClient, acme: Agent, issuer: Issuer, database_url: str
) -> None:
    assert ask(client, issuer.token(audience(acme))).status_code == 200
    delete_organization(database_url, acme.organization_id, at=NOON)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from provisioning_rules").fetchall() == [(0,)]
    assert whole(ask(client, issuer.token(audience(acme)))) == FAILED
