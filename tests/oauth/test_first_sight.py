"""First sight: a provisioning rule creates agents for new subjects."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.federation.issuer_tokens import MAX_LIFETIME
from agentidp.federation.rule import subject_selector
from agentidp.federation.rule_checks import check_rule
from agentidp.jose.assertion import CLIENT_LEEWAY
from agentidp.maintenance.erasure import delete_organization, erase_agent
from agentidp.oauth import client_assertion, first_sight, rule_results
from agentidp.oauth.federated_token import SPIFFE_TYPE
from agentidp.oauth.issuance import JWT_BEARER
from agentidp.registry import quotas
from agentidp.registry.agents import add_agent, remove_agent, update_agent
from agentidp.registry.credentials import add_credential, end_credential
from agentidp.registry.organizations import update_organization
from agentidp.registry.provisioning import NewProvisioningRuleSchema, add_rule, delete_expired_agents, remove_rule
from agentidp.server.watch import watch
from tests.audit.conftest import events_of, verified
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NEW_AGENT, NOON, Agent, Api, Clock, database_of, execute
from tests.federation.issuer import NOW, Issuer
from tests.helpers.quotas import put
from tests.oauth.clients import FAILED, GRANT, ISSUER, claims_of, process, reasons, whole

pytestmark = ON_CITUS_TOO

SHOP = "system:serviceaccount:shop:"
SUBJECT = f"{SHOP}builder"
TEMPLATE = {"name": "ci {sub}", "owner": "team@acme.example", "scopes": ["analytics:read"]}


@dataclass
class Fleet:
    """An organization, one of its agents, and the platform of its workloads."""

    agent: Agent
    issuer: Issuer
    client: FlaskClient

    @property
    def organization_id(self) -> str:
        return self.agent.organization_id

    @property
    def audience(self) -> str:
        """The audience of tokens that may create an agent of the organization."""
        return f"{ISSUER}/{self.organization_id}"

    def opened(self) -> AbstractContextManager[Any]:
        """Open a transaction of the organization."""
        return database_of(self.agent.services, self.organization_id).transaction()

    def run(self, act: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Call a function in a transaction of the organization."""
        with self.opened() as transaction:
            return act(transaction, *given, **named)

    def rule(self, **changes: Any) -> Any:
        """Create a provisioning rule for a namespace, and return its row."""
        own = {"issuer": self.issuer.url, "subject": f"{SHOP}*", "jwks": self.issuer.jwks()}
        trust = {name: value for name, value in (own | changes.pop("trust", {})).items() if value is not None}
        rule = {"name": "shop", "agentTemplate": TEMPLATE, "trust": trust, **changes}
        return self.run(add_rule, self.agent.services.settings, NewProvisioningRuleSchema().load(rule))

    def switch(self, *, is_on: bool) -> None:
        """Switch provisioning on or off."""
        self.run(update_organization, {"provisions_agents": is_on})

    def on(self, **changes: Any) -> Fleet:
        """Create a rule, and switch provisioning on."""
        self.rule(**changes)
        self.switch(is_on=True)
        return self

    def token(self, **claims: Any) -> str:
        """Return a token that the platform signs now."""
        return self.issuer.token(self.audience, int(self.agent.services.clock().timestamp()), **claims)

    def ask(self, token: str | None = None, **form: str) -> TestResponse:
        """Send a token request with a platform's token, and without client_id."""
        assertion = {"client_assertion_type": client_assertion.TYPE, "client_assertion": token or self.token()}
        client = self.client.application.test_client()
        return client.post("/api/v1/token", data=GRANT | assertion | form)

    def statuses(self, *tokens: str) -> list[int]:
        """Return the statuses of token requests, one after the other."""
        return [self.ask(token).status_code for token in tokens]

    def agents(self) -> list[Any]:
        """Return the agents that a rule has created, oldest first."""
        database = database_of(self.agent.services, self.organization_id)
        rows = database.fetch("agents/list_agents", after_at=None, after_id=None, name=None, owner=None, limit=None)
        return [row for row in rows if row.provisioned]

    def sums(self, *names: str) -> tuple[int, ...]:
        """Return the sums of the counters."""
        found = self.agent.sums()
        return tuple(found[name] for name in names)

    def events(self) -> list[Any]:
        """Return the audit trail."""
        return events_of(self.agent.database_url, self.organization_id)

    def get(self, path: str) -> Any:
        """Return an agent as the registry shows it."""
        return self.client.get(f"/api/v1/agents/{path}", headers=self.agent.bearer()).json

    def expired(self) -> list[Any]:
        """Delete the agents that expire now, and return them."""
        return delete_expired_agents(database_of(self.agent.services, self.organization_id))

    def trusted(self, subject: str) -> Any:
        """Return a rule of trust for a subject."""
        new = {"issuer": self.issuer.url, "subject": subject, "audience": self.audience, "jwks": self.issuer.jwks()}
        return check_rule(new, own_issuer=ISSUER, organization_id=self.organization_id)

    def register(self, subject: str = SUBJECT) -> Any:
        """Register an agent that trusts a subject, and return its row."""
        with self.opened() as transaction:
            agent = add_agent(transaction, name="by hand", scopes=[], max_agents=99)
            add_credential(transaction, agent.agent_id, expires_at=None, rule=self.trusted(subject))
        return agent


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer whose keys are in the rule."""
    return Issuer.with_curve()


@pytest.fixture
def fleet(cast: Cast, issuer: Issuer, client: FlaskClient) -> Fleet:
    """The fleet of Acme, without a rule."""
    return Fleet(cast.acme, issuer, client)


@pytest.fixture
def acme(fleet: Fleet) -> Fleet:
    """An organization with a rule, in which provisioning is on."""
    return fleet.on()


@pytest.fixture
def outsider(cast: Cast, issuer: Issuer, client: FlaskClient) -> Fleet:
    """Another organization with a rule, in which provisioning is on."""
    return Fleet(cast.outsider, issuer, client).on()


def test_the_first_token_creates_the_agent_and_the_second_finds_it(acme: Fleet) -> None:
    token = acme.token()
    first, second = acme.ask(token), acme.ask(token)
    assert (first.status_code, second.status_code) == (200, 200), first.text
    [agent] = acme.agents()
    assert [claims_of(response)["sub"] for response in (first, second)] == [str(agent.agent_id)] * 2
    assert claims_of(first)["scope"] == "analytics:read"
    body = acme.get(str(agent.agent_id))
    times = {name: body.pop(name) for name in ("createdAt", "updatedAt")}
    assert len(times) == 2
    assert body == NEW_AGENT | {
        "agentId": str(agent.agent_id),
        "name": f"ci {SUBJECT}",
        "owner": "team@acme.example",
        "scopes": ["analytics:read"],
        "suspendsAt": None,
        "tokensNotBefore": None,
        "clientUri": None,
        "provisioned": {"rule": "shop", "issuer": acme.issuer.url, "subject": SUBJECT, "expiresAfterDays": None},
    }
    [rule] = acme.get(f"{agent.agent_id}/credentials")["data"]
    assert (rule["issuer"], rule["subject"], rule["audience"]) == (acme.issuer.url, SUBJECT, acme.audience)
    assert rule["jwks"] == acme.issuer.jwks()
    assert acme.sums("agent_tokens", "tokens", "agent_rejected") == (2, 2, 0)
    *_, created, added = [e for e in acme.events() if e["actorType"] == "system"]
    assert (created["action"], added["action"]) == ("agent.created", "credential.created")
    assert created["subject"] == str(agent.agent_id)
    assert (created["after"]["rule"], created["after"]["subject"]) == ("shop", SUBJECT)
    assert (created["clientAddress"], created["requestId"]) == ("127.0.0.1", first.headers["X-Request-Id"])
    assert verified(acme.agent.database_url, acme.organization_id).broken_at is None


def test_as_a_grant_and_as_a_jwt_svid(acme: Fleet) -> None:
    token = {"grant_type": JWT_BEARER, "assertion": acme.token(sub=f"{SHOP}grant")}
    assert acme.client.post("/api/v1/token", data=token).status_code == 200
    domain = "spiffe://acme.example"
    acme.rule(name="svid", trust={"issuer": domain, "subject": f"{domain}/ns/shop/*"})
    svid = acme.token(iss=None, sub=f"{domain}/ns/shop/sa/builder")
    assert acme.ask(svid, client_assertion_type=SPIFFE_TYPE).status_code == 200
    assert {agent.provisioned["issuer"] for agent in acme.agents()} == {acme.issuer.url, domain}


def test_sixteen_first_tokens_at_once_create_one_agent(acme: Fleet) -> None:
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(acme.ask, [acme.token()] * 16))
    [agent] = acme.agents()
    assert {claims_of(response)["sub"] for response in responses} == {str(agent.agent_id)}
    assert acme.sums("agent_tokens", "tokens", "agent_rejected") == (16, 16, 0)


def test_new_subjects_at_once_get_one_each_and_the_maximum_is_exact(fleet: Fleet) -> None:
    fleet.on(maxAgents=5)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(fleet.ask, [fleet.token(sub=f"{SHOP}job{number}") for number in range(12)]))
    assert sorted(response.status_code for response in responses) == [200] * 5 + [401] * 7
    assert len(fleet.agents()) == 5
    assert fleet.sums("agent_tokens", "tokens", "agent_rejected", "rejected") == (5, 5, 7, 7)


def test_two_issuers_with_the_same_subject_get_two_agents(acme: Fleet) -> None:
    other = replace(acme, issuer=Issuer.with_curve("https://other.example"))
    other.rule(name="other")
    for organization_agent in (acme, other):
        assert organization_agent.ask().status_code == 200
    names = {row.provisioned["issuer"]: row.name for row in acme.agents()}
    # Another agent has the name, so the second name ends with the digest of its issuer and subject.
    digest = subject_selector(other.issuer.url, SUBJECT).hex()[:8]
    assert names == {acme.issuer.url: f"ci {SUBJECT}", other.issuer.url: f"ci {SUBJECT} {digest}"}


UNKNOWN = "unknown client"
REFUSED: list[tuple[dict[str, Any], str]] = [
    *[
        ({"sub": SHOP + name}, first_sight.NOT_CREATED)
        for name in ("*", "a*", "default", "\0", "\ud800", "a\nb", "a" * 500)
    ],
    *[({"iss": iss}, UNKNOWN) for iss in ("https://issuer.example\0", "https://\ud800", "https://issuer.example/")],
    *[({"sub": sub}, UNKNOWN) for sub in ("system:serviceaccount:shop2:builder", None)],
    ({"iss": None, "sub": "spiffe://\0/a"}, UNKNOWN),
    *[({"exp": exp}, UNKNOWN) for exp in (NOW - CLIENT_LEEWAY, NOW + MAX_LIFETIME + CLIENT_LEEWAY + 1)],
    # Anybody can send a token with a wrong signature, so it is not counted for the organization.
    ({"forged": True}, UNKNOWN),
    ({"off": True}, first_sight.SWITCHED_OFF),
    ({"full": True}, first_sight.RULE_FULL),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=ascii)
def test_every_failure_is_the_same_and_has_its_reason(
    acme: Fleet, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], reason: str
) -> None:
    acme.switch(is_on="off" not in changes)
    if "full" in changes:
        execute(acme.agent.database_url, "update provisioning_rules set max_agents = 0")
    issuer = Issuer.with_curve(acme.issuer.url) if "forged" in changes else acme.issuer
    token = replace(acme, issuer=issuer).token(**changes)
    assert whole(acme.ask(token)) == FAILED
    refused = acme.client.post("/api/v1/token", data={"grant_type": JWT_BEARER, "assertion": token})
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_grant")
    assert reasons(caplog) == [reason] * 2
    assert acme.agents() == []
    counted = 0 if reason == UNKNOWN else 2
    assert acme.sums("tokens", "agent_rejected", "rejected") == (0, counted, counted)


def test_the_maximum_of_the_organization(acme: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    with process(acme.agent.database_url, acme.agent.services.clock, max_agents=1) as small:
        assert whole(replace(acme, client=small).ask()) == FAILED
    assert reasons(caplog) == [first_sight.AGENTS_FULL]
    assert acme.agents() == []


def test_another_organizations_rule_gets_nothing(acme: Fleet, outsider: Fleet) -> None:
    assert acme.ask().status_code == 200
    assert (len(acme.agents()), len(outsider.agents())) == (1, 0)
    # The same subject is an agent of each organization, and the audience names the organization.
    for organization_agent in (outsider, acme):
        assert claims_of(organization_agent.ask())["organization_id"] == organization_agent.organization_id


def test_introspection_creates_nothing(acme: Fleet) -> None:
    form = {"client_assertion_type": client_assertion.TYPE, "client_assertion": acme.token(), "token": "x"}
    assert acme.client.post("/api/v1/token/introspect", data=form).status_code == 401
    assert acme.agents() == []


def test_what_is_switched_off_or_deleted_creates_no_more_and_ends_nobody(acme: Fleet) -> None:
    token, new = acme.token(), acme.token(sub=f"{SHOP}new")
    assert acme.statuses(token) == [200]
    acme.switch(is_on=False)
    assert acme.statuses(token, new) == [200, 401]
    acme.switch(is_on=True)
    with acme.opened() as transaction:
        [rule] = transaction.fetch("provisioning/list_rules")
        remove_rule(transaction, rule.provisioning_rule_id)
    assert acme.statuses(token, new) == [200, 401]
    # A new rule with the same name counts the agents of the previous rule.
    assert acme.rule().agents == 1


def delete(acme: Fleet, agent: Any) -> None:
    acme.run(remove_agent, agent.agent_id)


def delete_and_erase(acme: Fleet, agent: Any) -> None:
    delete(acme, agent)
    erase_agent(acme.agent.database_url, acme.organization_id, agent.agent_id, at=NOON)


def suspend(acme: Fleet, agent: Any) -> None:
    acme.run(update_agent, agent.agent_id, {"status": "suspended"})


def revoke(acme: Fleet, agent: Any) -> None:
    with acme.opened() as transaction:
        *_, row = transaction.fetch("agents/list_credentials", agent_id=agent.agent_id)
        end_credential(transaction, agent.agent_id, row.credential_id)


def give_away(acme: Fleet, agent: Any) -> None:
    """Give the agent's rule to another subject. The first subject must not get another agent."""
    revoke(acme, agent)
    acme.run(add_credential, agent.agent_id, expires_at=None, rule=acme.trusted("job:b"))


End = Callable[[Fleet, Any], None]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (delete, "deleted agent"),
        (delete_and_erase, "deleted agent"),
        (suspend, "suspended agent"),
        (revoke, "revoked or expired rule"),
    ],
)
def test_what_an_administrator_has_ended_does_not_come_back(
    acme: Fleet, caplog: pytest.LogCaptureFixture, end: End, reason: str
) -> None:
    assert acme.ask().status_code == 200
    [agent] = acme.agents()
    end(acme, agent)
    assert whole(acme.ask()) == FAILED
    assert reasons(caplog) == [reason]
    assert [row.agent_id for row in acme.agents()] in ([], [agent.agent_id])
    assert acme.sums("agent_tokens", "agent_rejected", "rejected") == (1, 1, 1)


@pytest.mark.parametrize(
    ("end", "reason"), [(delete, "deleted agent"), (suspend, "suspended agent"), (revoke, "no rule of trust")]
)
def test_nor_what_somebody_had_registered(acme: Fleet, caplog: pytest.LogCaptureFixture, end: End, reason: str) -> None:
    agent, services = acme.register(), acme.agent.services
    end(acme, agent)
    assert whole(acme.ask()) == FAILED
    database = database_of(services, acme.organization_id)
    *_, rule_result = rule_results.compare_token(services, database, acme.token(), agent_id=None, at=NOON)
    [comparison] = [compared for compared in rule_result.comparisons if not compared.is_met]
    assert (comparison.name, comparison.actual) == ("agent of the subject", str(agent.agent_id))
    assert reasons(caplog) == [reason]
    assert acme.agents() == []
    assert acme.statuses(acme.token(sub=f"{SHOP}other")) == [200]


@pytest.mark.parametrize(("end", "status"), [(suspend, 401), (delete, 200), (revoke, 200)])
def test_a_pattern_ends_its_subjects_while_the_agent_is_suspended(acme: Fleet, end: End, status: int) -> None:
    """An organization that changes to a provisioning rule deletes the agent that all subjects have shared."""
    end(acme, acme.register(f"{SHOP}*"))
    assert acme.ask().status_code == status


def test_of_two_rules_with_the_same_trust_the_oldest_creates_the_agent(acme: Fleet, clock: Clock) -> None:
    clock.advance(seconds=1)
    acme.rule(name="newer", agentTemplate={"name": "newer"})
    assert acme.ask().status_code == 200
    assert [agent.provisioned["rule"] for agent in acme.agents()] == ["shop"]


def test_the_quotas_of_the_template_are_those_of_each_agent(fleet: Fleet) -> None:
    limits = {"day": {"tokens": 2, "enforce": True}, "month": {"tokens": 9, "enforce": False}}
    fleet.on(agentTemplate={"quotas": limits})
    for name in ("a", "b"):
        assert fleet.statuses(*[fleet.token(sub=SHOP + name)] * 3) == [200, 200, 429]
    for agent in fleet.agents():
        quotas = fleet.get(f"{agent.agent_id}/quotas")["data"]
        assert [(quota["window"], quota["tokens"], quota["enforce"], quota["used"]) for quota in quotas] == [
            ("day", 2, True, 2),
            ("month", 9, False, 2),
        ]


def test_the_agent_must_meet_the_claims_of_its_rule_at_every_token(fleet: Fleet) -> None:
    fleet.on(trust={"subject": None, "claims": {"owner_id": "7"}}, agentTemplate={"name": "{/a/job}"})
    right, wrong = (fleet.token(sub="any", owner_id=owner, a={"job": "b"}) for owner in "78")
    assert fleet.statuses(wrong, right, wrong) == [401, 200, 401]
    assert [agent.name for agent in fleet.agents()] == ["b"]


class TestExpiry:
    """``agentidp watch`` deletes agents whose workload is gone."""

    @pytest.fixture
    def acme(self, fleet: Fleet) -> Fleet:
        """An organization whose agents expire after three days."""
        return fleet.on(agentTemplate={"expiresAfterDays": 3})

    @pytest.fixture
    def worker(self, acme: Fleet) -> Any:
        """An agent that expires."""
        assert acme.ask().status_code == 200
        [agent] = acme.agents()
        return agent

    def limited(self, fleet: Fleet, window: str, tokens: int) -> Fleet:
        """Let the agents have a quota, and expire after a day."""
        quota = {window: {"tokens": tokens, "enforce": True}}
        return fleet.on(agentTemplate={"quotas": quota, "expiresAfterDays": 1})

    def test_after_as_many_days_without_a_token_and_its_subject_can_get_a_new_one(
        self, acme: Fleet, worker: Any, clock: Clock
    ) -> None:
        clock.advance(days=2)
        assert acme.ask().status_code == 200
        clock.advance(days=3)
        assert acme.expired() == []
        clock.advance(seconds=1)
        assert acme.expired() == [worker.agent_id]
        assert acme.agents() == []
        *_, event = acme.events()
        recorded = (event["action"], event["actorType"], event["subject"])
        assert recorded == ("agent.deleted", "system", str(worker.agent_id))
        before = event["before"]
        assert (before["lastSeenAt"], before["expiresAfterDays"]) == ("2026-04-17T12:00:00.000000Z", 3)
        assert acme.ask().status_code == 200
        [again] = acme.agents()
        assert (again.name, again.agent_id == worker.agent_id) == (worker.name, False)
        assert acme.sums("agent_tokens", "tokens") == (3, 3)
        # The command deletes them.
        clock.advance(days=4)
        watch(acme.agent.services, threading.Event(), once=True)
        assert acme.agents() == []

    def test_gives_no_quota_again(self, fleet: Fleet, clock: Clock) -> None:
        """A workload with a quota of five tokens per month asks for more, waits, and asks again."""
        statuses = Counter[int]()
        self.limited(fleet, "month", 5)
        for _ in range(2):
            statuses.update(fleet.ask().status_code for _ in range(6))
            clock.advance(days=1, seconds=1)
            fleet.expired()
        assert statuses == {200: 5, 429: 7}

    @pytest.mark.parametrize(("window", "ends"), [("month", (5, 1)), ("day", (4, 2))])
    def test_not_before_the_window_of_a_quota_in_which_it_was_used_has_ended(
        self, fleet: Fleet, clock: Clock, window: str, ends: tuple[int, int]
    ) -> None:
        """A use of the quota also counts if only the token just before it, of the previous window, is recorded."""
        self.limited(fleet, window, 1)
        for clock.now in (datetime(2026, 3, 31, 23, 59, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)):
            assert fleet.ask().status_code == 200
        [agent] = fleet.agents()
        clock.now = datetime(2026, *ends, tzinfo=UTC) - timedelta(microseconds=1)
        assert fleet.expired() == []
        clock.advance(seconds=0.000_001)
        assert fleet.expired() == [agent.agent_id]

    def test_not_while_it_asks_for_tokens_that_are_refused(self, acme: Fleet, worker: Any, clock: Clock) -> None:
        """A quota of the organization refuses the tokens, which other agents may have used up."""
        put(acme.client, acme.agent, "month", 1, own=False)
        for _ in range(2):
            clock.advance(days=2)
            assert acme.ask().status_code == 429
            assert acme.expired() == []
        clock.advance(days=3, seconds=1)
        assert acme.expired() == [worker.agent_id]

    def test_not_one_whose_quota_somebody_has_set(self, acme: Fleet, worker: Any, clock: Clock) -> None:
        """Its subject would get the quotas of the template, which may be higher."""
        clock.advance(days=1)
        acme.run(quotas.set_quota, worker.agent_id, "day", tokens=1, is_enforced=True)
        clock.advance(days=100)
        assert acme.expired() == []
        acme.run(quotas.remove_quota, worker.agent_id, "day")
        assert acme.expired() == [worker.agent_id]

    @pytest.mark.parametrize("end", [suspend, revoke, give_away])
    def test_not_what_an_administrator_has_ended(self, acme: Fleet, worker: Any, clock: Clock, end: End) -> None:
        end(acme, worker)
        clock.advance(days=100)
        assert acme.expired() == []

    def test_no_other_agents(self, acme: Fleet, worker: Any, clock: Clock) -> None:
        other = acme.agent.colleague("other")
        clock.advance(days=100)
        assert (acme.expired(), acme.expired()) == ([worker.agent_id], [])
        assert acme.get(other.client_id)["name"] == "other"


def test_nothing_is_left_of_a_deleted_organization(acme: Fleet) -> None:
    assert acme.ask().status_code == 200
    agent_id = acme.agent.client_id
    for path, body in {
        "resource-servers": {"resource": "https://api.example", "name": "api", "agentId": agent_id},
        "markers": {"kind": "deployment", "startsAt": NOON.isoformat(), "agentId": agent_id},
    }.items():
        assert Api(acme.client, acme.agent).post(path, body).status_code == 201
    delete_organization(acme.agent.database_url, acme.organization_id, at=NOON)
    assert execute(acme.agent.database_url, "select count(*) from provisioning_rules") == [(0,)]
    assert whole(acme.ask()) == FAILED
