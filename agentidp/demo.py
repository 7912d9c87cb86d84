"""The demo organization: 24 agents, their credentials, resource servers and quotas, what people let two of them do, and
90 days of generated traffic.

Ids and secrets are random. All other values depend only on a fixed seed and on the instant of creation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from agentidp import audit
from agentidp.actor import Actor
from agentidp.config import Settings
from agentidp.db.database import Database, connect
from agentidp.db.organization import Transaction, operator_transaction
from agentidp.oauth.client_document import agent_id_of, host_of
from agentidp.oauth.grants import Permission, add_grant
from agentidp.openid.claims import list_actor_fields
from agentidp.registry.agents import add_agent, update_agent
from agentidp.registry.credentials import PUBLIC_JWKS, add_credential, end_credential
from agentidp.registry.delegation_rules import NewDelegationRuleSchema, add_rule
from agentidp.registry.quotas import set_quota
from agentidp.registry.resource_servers import add_resource_server
from agentidp.scopes import DEFAULT_SCOPES, SCOPES
from agentidp.usage_history.adding import Hours, add_usage, compute_hour_number

ORGANIZATION_ID = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
"""The organization ID in the guide's examples. It is fixed, because it identifies the demo."""

NAME = "Demo organization"
DAYS = 90  # days of traffic, including today
GROWTH = 0.45  # fraction of today's traffic by which the first day's traffic is lower
MONTHLY_TOKEN_BUDGET = 120_000  # the traffic exceeds the budget in the last days of a month


class Rhythm(NamedTuple):
    """The daily activity of a demo agent: a digit per UTC hour, from 0 (none) to 9 (the agent's peak).

    :param grows: whether the activity grows over the days of traffic.
    """

    weekday: str
    weekend: str
    grows: bool = True


EUROPE = Rhythm("000000148999799985310000", "000000000011111100000000")
AMERICAS = Rhythm("210000000000148999799985", "000000000000000111111000")
CUSTOMERS = Rhythm("333334456789988899987654", "222223334455544455544433")
CONSTANT = Rhythm("9" * 24, "9" * 24, grows=False)
NIGHTLY = Rhythm("099900000000000000000000", "099900000000000000000000", grows=False)
WEEKENDS = Rhythm("0" * 24, "000000999900000000000000", grows=False)

SERVERS = {
    "https://orders.demo.example": ("Orders", ["orders:read"]),
    "https://tickets.demo.example": ("Tickets", ["tickets:read", "tickets:write"]),
    "https://payments.demo.example": ("Payments", ["payments:hold"]),
    "https://order-tracker.demo.example": ("Order tracker", ["orders:read"]),
}
"""The name and the scopes of each resource server, by its identifier."""

ORDERS, TICKETS, PAYMENTS, TRACKER = SERVERS

PROVIDER = "https://login.demo.example"
CLIENT_URI = "https://assistant.demo.example/client.json"
REDIRECT_URI = "http://127.0.0.1/callback"
"""The people's OpenID Connect provider, the desktop client's metadata document, and the redirect URI of both clients.
Nothing requests these URLs."""


@dataclass(frozen=True)
class DemoAgent:
    """An agent of the demo organization and its traffic.

    :param tokens: number of tokens per hour at the agent's peak.
    :param calls: number of requests per token, in addition to the token request.
    :param resources: the resource servers that share the agent's tokens equally. An empty string means our own API.
    :param joined: number of days, including today, since the agent's first activity.
    :param last: number of days since the agent's last activity.
    """

    name: str
    description: str
    owner: str
    rhythm: Rhythm
    tokens: int
    calls: int
    resources: tuple[str, ...] = ("",)
    joined: int = DAYS
    last: int = 0


AGENTS = (
    DemoAgent("fleet-console", "Shows the operators how the fleet behaves.", "Platform", EUROPE, 1, 12),
    DemoAgent("price-watcher", "Compares prices for each page viewed.", "Shop", CUSTOMERS, 330, 0),
    DemoAgent("invoice-reader", "Reads amounts and due dates from supplier invoices.", "Finance", EUROPE, 6, 11),
    DemoAgent("support-triage", "Sorts support tickets by urgency and team.", "Support", CUSTOMERS, 4, 14, (TRACKER,)),
    DemoAgent("order-tracker", "Tells customers where their parcel is.", "Shop", CUSTOMERS, 3, 18, (ORDERS, TICKETS)),
    DemoAgent("fraud-monitor", "Holds payments that look like fraud.", "Finance", CONSTANT, 1, 45, (PAYMENTS,)),
    DemoAgent("uptime-watcher", "Checks the public services every minute.", "Platform", CONSTANT, 1, 60),
    DemoAgent("log-summarizer", "Turns error logs into one summary an hour.", "Platform", CONSTANT, 1, 8),
    DemoAgent("knowledge-indexer", "Indexes new documents for search.", "Support", CONSTANT, 1, 15),
    DemoAgent("crm-sync", "Keeps the customer records of sales and support the same.", "Sales", CONSTANT, 1, 20),
    DemoAgent("sales-researcher", "Gathers facts about a company before a call.", "Sales", AMERICAS, 5, 10, (TRACKER,)),
    DemoAgent("code-editor", "Lets developers work on tickets in the editor.", "Platform", EUROPE, 6, 16, (TICKETS,)),
    DemoAgent("release-notes", "Writes release notes from merged changes.", "Platform", AMERICAS, 2, 7),
    DemoAgent("contract-summarizer", "Sums up contracts for the legal team.", "Legal", EUROPE, 4, 9, last=15),
    DemoAgent("translation-desk", "Translates product texts into nine languages.", "Marketing", EUROPE, 5, 13),
    DemoAgent("hiring-screener", "Answers applicants and books interviews.", "People", AMERICAS, 2, 9),
    DemoAgent("social-poster", "Drafts and schedules social media posts.", "Marketing", AMERICAS, 3, 6, last=26),
    DemoAgent("backup-verifier", "Restores last night's backup and compares it.", "Platform", NIGHTLY, 1, 25),
    DemoAgent("warehouse-loader", "Loads the day's events into the data warehouse.", "Data", NIGHTLY, 1, 70),
    DemoAgent("stock-forecaster", "Forecasts what to reorder.", "Data", NIGHTLY, 1, 40),
    DemoAgent("weekly-report", "Writes the week's figures for the management.", "Data", WEEKENDS, 2, 30),
    DemoAgent("data-cleaner", "Finds duplicate and stale records.", "Data", WEEKENDS, 1, 50),
    DemoAgent("voice-transcriber", "Transcribes recorded calls.", "Support", AMERICAS, 4, 8, joined=24),
    DemoAgent(host_of(CLIENT_URI), "Helps the staff on their desktops.", "People", EUROPE, 3, 8, (TICKETS,), joined=9),
)

# UNCACHED gets the most tokens of all agents in a month, because it requests a token before every call.
OPERATOR, UNCACHED, RETRYING, TRIAGE, TWO_RESOURCES, PER_CALL = AGENTS[:6]
UNUSED, ROTATED, RESEARCHER = AGENTS[8:11]
EDITOR, EXPIRING, SILENT, SUSPENDED = AGENTS[11], AGENTS[12], AGENTS[13], AGENTS[16]
ASSISTANT = AGENTS[-1]

OUTAGE_AGO, RETRIES_AGO = 19, 38
"""Minimum days since the outage and since the retry loop, both on working days. The loop was before the current month,
so its agent does not have the most tokens."""

RETRY_HOURS, RETRY_TOKENS = range(9, 14), 1800
"""The UTC hours of the retry loop, and its tokens per hour (one token every two seconds)."""

ROTATED_AGO, ROTATED_HOURS, ROTATED_REJECTED = 3, range(8, 12), 75
"""The use of a revoked credential by the agent :data:`ROTATED`: days since then, UTC hours, and rejections per hour."""

REJECTED_BY_CHANCE = 1 / 150  # probability that an hour has a rejected request

DELEGATIONS = {
    (TWO_RESOURCES, ORDERS): ((TRIAGE, 2), (RESEARCHER, 4)),
    (EDITOR, TICKETS): ((None, 1),),
    (ASSISTANT, TICKETS): ((None, 1),),
}
"""By agent and resource server, the agents or people (None) for whom the agent acts. With the divisor 2, half of
the agent's tokens are for them."""

GRANTS = {
    EDITOR: (("Anna Berg", 22), ("Ben Falk", 17)),
    ASSISTANT: (("Carla Ruiz", 9), ("Anna Berg", 6), ("Dan Levy", 4)),
}
"""The people who let an agent act for them, by agent. Each person has the number of days since the consent."""

QUOTAS = ((None, "month", 150_000, False), (UNCACHED, "day", 12_000, True), (RETRYING, "hour", 120, True))
"""The quotas of the demo: agent (None for the organization), window, tokens, whether the quota is enforced."""


class AgentHour(NamedTuple):
    """The counts of a demo agent in an hour. *requests* include the token requests, but not the rejected requests."""

    agent: DemoAgent
    starts_at: datetime
    tokens: int
    requests: int
    rejected: int


def create_demo(url: str, database: Database, at: datetime) -> bool:
    """Create the demo organization in one transaction, unless it exists, and return whether it is new.

    :param url: the database's URL with the operator's role, which alone can create organizations.
    """
    if database.of(ORGANIZATION_ID, at).fetch("organizations/get_organization"):
        return False
    with connect(url) as connection, operator_transaction(connection, ORGANIZATION_ID, at) as transaction:
        return _Demo(transaction, at.astimezone(UTC)).create_organization()


def find_operator_id(database: Database, at: datetime) -> UUID | None:
    """Return the id of the demo's operator, which is an agent; None if no agent has its name."""
    rows = database.of(ORGANIZATION_ID, at).fetch("agents/agents_named", name=OPERATOR.name, is_deleted=False)
    return rows[0].agent_id if rows else None


class _Demo:
    """Creates the demo organization in one transaction, and stores the IDs of its agents and credentials meanwhile."""

    def __init__(self, transaction: Transaction, at: datetime) -> None:
        self._transaction, self._at = transaction, at
        self._settings = Settings.from_environment({})
        self._agent_ids: dict[DemoAgent, UUID] = {}
        self._credential_ids: dict[DemoAgent, UUID] = {}

    def create_organization(self) -> bool:
        """Create the objects in the order of their times. Return False if another process has created the demo."""
        transaction = self._begin_on(220, 8)
        if not transaction.fetch("demo/add_organization", name=NAME, monthly_token_budget=MONTHLY_TOKEN_BUDGET):
            return False
        new_members = {"name": NAME, "monthlyTokenBudget": MONTHLY_TOKEN_BUDGET}
        audit.record(transaction, "organization.created", ORGANIZATION_ID, after=new_members)
        for resource in (ORDERS, TICKETS, PAYMENTS):
            self._add_server(resource, 215)
        for agent_number, agent in enumerate(AGENTS[:-2]):
            self._add_agent(agent, 210 - 5 * agent_number)
        self._add_server(TRACKER, 100, agent_id=self._agent_ids[TWO_RESOURCES])
        self._add_credential(UNUSED, self._begin_on(95), "test environment")
        rule_members = {
            "name": "staff",
            "trust": {"issuer": PROVIDER, "claims": {"groups": "staff"}},
            "agentIds": [str(self._agent_ids[EDITOR])],
            "clientHosts": [host_of(CLIENT_URI)],
            "resources": [{"resource": TICKETS, "scopes": SERVERS[TICKETS][1]}],
        }
        rule_row = add_rule(self._begin_on(92), self._settings, NewDelegationRuleSchema().load(rule_members))
        update_agent(self._begin_on(SUSPENDED.last - 1), self._agent_ids[SUSPENDED], {"status": "suspended"})
        self._add_agent(AGENTS[-2], AGENTS[-2].joined)
        self._add_grants(EDITOR, rule_row.delegation_rule_id)
        # The quotas are set after the day of the retry loop, so that they do not refuse the loop's tokens.
        for quota_holder, window, tokens, is_enforced in QUOTAS:
            holder_id = self._agent_ids[quota_holder] if quota_holder else None
            set_quota(self._begin_on(12), holder_id, window, tokens=tokens, is_enforced=is_enforced)
        self._add_agent(ASSISTANT, ASSISTANT.joined)
        self._add_grants(ASSISTANT, rule_row.delegation_rule_id)
        revoked_id = self._credential_ids[ROTATED]
        rotation = self._begin_on(ROTATED_AGO, 7)
        self._credential_ids[ROTATED] = self._add_credential(ROTATED, rotation, "production, rotated")
        transaction = self._begin_on(ROTATED_AGO, ROTATED_HOURS.start)
        end_credential(transaction, self._agent_ids[ROTATED], revoked_id)
        self._add_usage(revoked_id, transaction.at)
        return True

    def _begin_on(self, days_ago: int, hour: int = 9) -> Transaction:
        day = self._at.date() - timedelta(days=days_ago)
        return self._transaction.as_of(datetime.combine(day, time(hour), UTC))

    def _add_server(self, resource: str, days_ago: int, **members: Any) -> None:
        server_name, scopes = SERVERS[resource]
        members |= {"resource": resource, "name": server_name, "scopes": scopes, "token_per_call": resource == PAYMENTS}
        add_resource_server(self._begin_on(days_ago), self._settings, **members)

    def _add_agent(self, agent: DemoAgent, days_ago: int) -> None:
        members: dict[str, Any] = {"name": agent.name, "description": agent.description, "owner": agent.owner}
        scopes = [*(SCOPES if agent is OPERATOR else DEFAULT_SCOPES)]
        scopes += [scope for resource in filter(None, agent.resources) for scope in SERVERS[resource][1]]
        if agent in GRANTS:
            members["redirect_uris"] = [REDIRECT_URI]
        if agent is ASSISTANT:
            members |= {"agent_id": agent_id_of(ORGANIZATION_ID, CLIENT_URI), "client_uri": CLIENT_URI}
        transaction = self._begin_on(days_ago)
        agent_row = add_agent(transaction, max_agents=Settings.max_agents, scopes=scopes, **members)
        self._agent_ids[agent] = agent_row.agent_id
        self._credential_ids[agent] = self._add_credential(agent, transaction, "production")
        if agent is ASSISTANT:
            transaction.fetch("agents/refresh_document", agent_id=agent_row.agent_id, fresh_until=self._at)

    def _add_credential(self, agent: DemoAgent, transaction: Transaction, label: str) -> Any:
        # The random secret is discarded, so nobody can authenticate with the credential.
        expires_at = self._at + timedelta(days=6) if agent is EXPIRING else transaction.at + timedelta(days=365)
        jwks = PUBLIC_JWKS if agent in GRANTS else None
        agent_id = self._agent_ids[agent]
        credential_row, _ = add_credential(transaction, agent_id, expires_at=expires_at, label=label, jwks=jwks)
        return credential_row.credential_id

    def _add_grants(self, agent: DemoAgent, rule_id: UUID) -> None:
        agent_id, scopes = self._agent_ids[agent], SERVERS[TICKETS][1]
        for person, days_ago in GRANTS[agent]:
            subject = person.replace(" ", ".").lower()
            actor_type, actor_name, display_name = list_actor_fields(PROVIDER, subject, person)
            transaction = self._begin_on(days_ago)
            transaction = transaction.as_of(transaction.at, Actor(actor_type, actor_name, display_name=display_name))
            add_grant(
                transaction,
                Permission(agent_id, rule_id, PROVIDER, subject, TICKETS, scopes, 30, "", REDIRECT_URI, None),
            )
            transaction.fetch("demo/use_grants", expires_at=transaction.at + timedelta(days=30))

    def _add_usage(self, revoked_id: UUID, revoked_at: datetime) -> None:
        hours_by_agent: dict[UUID, Hours] = {agent_id: {} for agent_id in self._agent_ids.values()}
        tokens_by_hour: dict[tuple[date, DemoAgent, UUID, str], list[int]] = {}
        last_used_at_by_credential: dict[UUID, datetime] = {}
        for agent, starts_at, *counts in generate_traffic(self._at):
            day, hour = starts_at.date(), starts_at.hour
            hours_by_agent[self._agent_ids[agent]][compute_hour_number(day, hour)] = counts
            if counts[0]:
                is_revoked = agent is ROTATED and starts_at < revoked_at
                credential_id = revoked_id if is_revoked else self._credential_ids[agent]
                last_used_at_by_credential[credential_id] = starts_at
                for resource_index, resource in enumerate(agent.resources):
                    if tokens := (counts[0] + resource_index) // len(agent.resources):
                        tokens_by_hour.setdefault((day, agent, credential_id, resource), [0] * 24)[hour] = tokens
        add_usage(self._transaction, hours_by_agent)
        self._attribute_tokens(tokens_by_hour)
        credential_ids, used_at = [*last_used_at_by_credential], [*last_used_at_by_credential.values()]
        self._transaction.fetch("demo/use_credentials", credential_ids=credential_ids, used_at=used_at)
        self._transaction.fetch("demo/use_grants", expires_at=None)

    def _attribute_tokens(self, tokens_by_hour: dict[tuple[date, DemoAgent, UUID, str], list[int]]) -> None:
        """Count tokens by credential and resource, and tokens by which an agent acts for another agent or for people.

        :param tokens_by_hour: the tokens of the 24 hours by day, agent, credential and resource.
        """
        usage_rows, delegation_rows = [], []
        for (day, agent, credential_id, resource), hourly_tokens in tokens_by_hour.items():
            row = {"day": str(day), "agent_id": str(self._agent_ids[agent]), "resource": resource}
            usage_rows.append(row | {"credential_id": str(credential_id), "tokens_by_hour": hourly_tokens})
            for subject, divisor in DELEGATIONS.get((agent, resource), ()):
                tokens = sum(hourly_tokens) // divisor
                if subject is None:
                    delegation_rows.append(row | {"issuer": PROVIDER, "tokens": tokens})
                # The tracker can only act for a subject that got a token for the tracker on the same day.
                elif tokens and (day, subject, self._credential_ids[subject], TRACKER) in tokens_by_hour:
                    delegation_rows.append(row | {"subject_agent_id": str(self._agent_ids[subject]), "tokens": tokens})
        self._transaction.fetch("demo/attribute_usage", counts=Jsonb(usage_rows))
        self._transaction.fetch("demo/count_delegations", counts=Jsonb(delegation_rows))


def find_working_day(today: date, days_ago: int) -> date:
    """Return the last working day, Monday to Friday, that is at least *days_ago* days before *today*."""
    day = today - timedelta(days=days_ago)
    return day - timedelta(days=max(0, day.weekday() - 4))


def generate_traffic(at: datetime) -> Iterator[AgentHour]:
    """Yield the counts per agent and hour of the last 90 days until *at*. Hours without counts are omitted.

    :param at: the current time in UTC. The counts of its hour are reduced to the part of the hour before *at*.
    """
    today = at.date()
    outage_day, retry_day = find_working_day(today, OUTAGE_AGO), find_working_day(today, RETRIES_AGO)
    share_of_hour = (at - at.replace(minute=0, second=0, microsecond=0)) / timedelta(hours=1)
    for agent in AGENTS:
        # Each agent has its own random generator, used in order of time, so that a later call yields the same past.
        random = Random(f"agentidp demo {agent.name}")  # noqa: S311 - not a secret
        for days_ago in reversed(range(agent.last, agent.joined)):
            day = today - timedelta(days=days_ago)
            for hour in range(0 if day == outage_day else 24 if days_ago else at.hour + 1):
                counts = _draw_counts(agent, day, days_ago, hour, random, is_retrying=day == retry_day)
                if days_ago == 0 and hour == at.hour:
                    counts = [int(hour_count * share_of_hour) for hour_count in counts]
                if any(counts):
                    yield AgentHour(agent, datetime.combine(day, time(hour), UTC), *counts)


def _draw_counts(
    agent: DemoAgent, day: date, days_ago: int, hour: int, random: Random, *, is_retrying: bool
) -> list[int]:
    if is_retrying and agent is RETRYING and hour in RETRY_HOURS:
        token_count = _draw_count(RETRY_TOKENS, random)
        return [token_count, token_count, 0]
    if agent is ROTATED and days_ago == ROTATED_AGO and hour in ROTATED_HOURS:
        return [0, 0, _draw_count(ROTATED_REJECTED, random)]
    share_of_peak = int((agent.rhythm.weekend if day.weekday() >= 5 else agent.rhythm.weekday)[hour]) / 9
    if share_of_peak == 0:
        return [0, 0, 0]
    if agent.rhythm.grows:
        share_of_peak *= 1 - GROWTH * days_ago / (DAYS - 1)
    token_count = _draw_count(agent.tokens * share_of_peak, random)
    # The number of calls is independent of this hour's tokens, because calls also use cached tokens of earlier hours.
    call_count = _draw_count(agent.tokens * agent.calls * share_of_peak, random)
    return [token_count, token_count + call_count, int(random.random() < REJECTED_BY_CHANCE)]


def _draw_count(mean: float, random: Random) -> int:
    """Return a random whole number that is *mean* on average, and differs by a third of *mean* at most."""
    return int(mean * random.uniform(2 / 3, 4 / 3) + random.random())
