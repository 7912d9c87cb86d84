"""The demo organization: 24 agents with 90 days of generated traffic, and incidents that the dashboard reports.

Ids and secrets are random. All other values depend only on a fixed seed and on the instant of creation.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

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
from agentidp.registry.organizations import insert_organization, update_organization
from agentidp.registry.quotas import set_quota
from agentidp.registry.resource_servers import add_resource_server
from agentidp.scopes import DEFAULT_SCOPES, SCOPES
from agentidp.usage_history.adding import Hours, add_usage, compute_hour_number

ORGANIZATION_ID = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
"""The organization ID in the guide's examples. It is fixed, because it identifies the demo."""

NAME = "Demo organization"
DAYS = 90  # days of traffic, including today
MONTHLY_TOKEN_BUDGET = 120_000  # the traffic exceeds the budget in the last days of a month
REJECTED_BY_CHANCE = 1 / 150  # probability that an hour has a rejected request

Rhythm = tuple[str, str, float]
"""The daily activity of an agent: on weekdays and on weekends, a digit per UTC hour, from 0 (none) to 9 (the peak). The
number is the fraction of today's activity by which the activity on the first day of traffic is lower."""

EUROPE: Rhythm = ("000000148999799985310000", "000000000011111100000000", 0.45)
AMERICAS: Rhythm = ("210000000000148999799985", "000000000000000111111000", 0.45)
CUSTOMERS: Rhythm = ("333334456789988899987654", "222223334455544455544433", 0.45)
CONSTANT: Rhythm = ("9" * 24, "9" * 24, 0)
NIGHTLY: Rhythm = ("099900000000000000000000", "099900000000000000000000", 0)
WEEKENDS: Rhythm = ("0" * 24, "000000999900000000000000", 0)

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


class DemoAgent(NamedTuple):
    """An agent of the demo organization and its traffic.

    :param tokens: number of tokens per hour at the agent's peak.
    :param calls: number of requests per token, in addition to the token request.
    :param resource: the resource server that accepts the agent's tokens. An empty string means our own API.
    :param last: number of days since the agent's last activity.
    """

    name: str
    description: str
    owner: str
    rhythm: Rhythm
    tokens: int
    calls: int
    resource: str = ""
    last: int = 0


AGENTS = (
    DemoAgent("fleet-console", "Shows the operators how the fleet behaves.", "Platform", EUROPE, 1, 12),
    DemoAgent("price-watcher", "Compares prices for each page viewed.", "Shop", CUSTOMERS, 330, 0),
    DemoAgent("invoice-reader", "Reads amounts and due dates from supplier invoices.", "Finance", EUROPE, 6, 11),
    DemoAgent("support-triage", "Sorts support tickets by urgency and team.", "Support", CUSTOMERS, 4, 14, TRACKER),
    DemoAgent("order-tracker", "Tells customers where their parcel is.", "Shop", CUSTOMERS, 3, 18, ORDERS),
    DemoAgent("fraud-monitor", "Holds payments that look like fraud.", "Finance", CONSTANT, 1, 45, PAYMENTS),
    DemoAgent("knowledge-indexer", "Indexes new documents for search.", "Support", CONSTANT, 1, 15),
    DemoAgent("crm-sync", "Keeps the customer records of sales and support the same.", "Sales", CONSTANT, 1, 20),
    DemoAgent("code-editor", "Lets developers work on tickets in the editor.", "Platform", EUROPE, 6, 16, TICKETS),
    DemoAgent(host_of(CLIENT_URI), "Helps the staff on their desktops.", "People", EUROPE, 3, 8, TICKETS),
    DemoAgent("release-notes", "Writes release notes from merged changes.", "Platform", AMERICAS, 2, 7),
    DemoAgent("contract-summarizer", "Sums up contracts for the legal team.", "Legal", EUROPE, 4, 9, last=15),
    DemoAgent("social-poster", "Drafts and schedules social media posts.", "Marketing", AMERICAS, 3, 6, last=26),
    DemoAgent("uptime-watcher", "Checks the public services every minute.", "Platform", CONSTANT, 1, 60),
    DemoAgent("log-summarizer", "Turns error logs into one summary an hour.", "Platform", CONSTANT, 1, 8),
    DemoAgent("sales-researcher", "Gathers facts about a company before a call.", "Sales", AMERICAS, 5, 10, TRACKER),
    DemoAgent("translation-desk", "Translates product texts into nine languages.", "Marketing", EUROPE, 5, 13),
    DemoAgent("hiring-screener", "Answers applicants and books interviews.", "People", AMERICAS, 2, 9),
    DemoAgent("backup-verifier", "Restores last night's backup and compares it.", "Platform", NIGHTLY, 1, 25),
    DemoAgent("warehouse-loader", "Loads the day's events into the data warehouse.", "Data", NIGHTLY, 1, 70),
    DemoAgent("stock-forecaster", "Forecasts what to reorder.", "Data", NIGHTLY, 1, 40),
    DemoAgent("weekly-report", "Writes the week's figures for the management.", "Data", WEEKENDS, 2, 30),
    DemoAgent("data-cleaner", "Finds duplicate and stale records.", "Data", WEEKENDS, 1, 50),
    DemoAgent("voice-transcriber", "Transcribes recorded calls.", "Support", AMERICAS, 4, 8),
)

# UNCACHED gets the most tokens of all agents in a month, because it requests a token before every call.
OPERATOR, UNCACHED, RETRYING, TRIAGE, TRACKING, PER_CALL = AGENTS[:6]
UNUSED, ROTATED, EDITOR, ASSISTANT, EXPIRING, SILENT, SUSPENDED = AGENTS[6:13]
PUBLIC_CLIENTS = (EDITOR, ASSISTANT)

DELEGATIONS = {TRACKING: TRIAGE, EDITOR: None, ASSISTANT: None}
"""The agents that act for another agent or for people (None)."""

GRANTS = ((EDITOR, "Anna Berg", 22), (EDITOR, "Ben Falk", 17), (ASSISTANT, "Anna Berg", 15), (ASSISTANT, "Dan Levy", 8))
"""The people who let an agent act for them: agent, person, and number of days since the consent."""

QUOTAS = ((None, "month", 150_000, False), (UNCACHED, "day", 12_000, True), (RETRYING, "hour", 120, True))
"""The quotas of the demo: agent (None for the organization), window, tokens, whether the quota is enforced."""


class Incident(NamedTuple):
    """Hours of a working day in which agents do not follow their rhythm.

    :param days_ago: minimum number of days since the incident.
    :param hours: the UTC hours of the incident.
    :param tokens: number of tokens per agent and hour.
    :param rejected: number of rejected requests per agent and hour.
    """

    agents: tuple[DemoAgent, ...]
    days_ago: int
    hours: range
    tokens: int = 0
    rejected: int = 0

    def count_days_since(self, today: date) -> int:
        """Return the number of days since the incident, which was on the last day from Monday to Friday."""
        return self.days_ago + max(0, (today - timedelta(days=self.days_ago)).weekday() - 4)


OUTAGE = Incident(AGENTS, 19, range(24))
# The loop gets a token every two seconds. The loop ended before the current month, because otherwise its agent would
# have the most tokens of this month.
RETRY_LOOP = Incident((RETRYING,), 38, range(9, 14), tokens=1800)
# The agent uses a leaked secret, which was revoked at the beginning of these hours, until the end of the day.
LEAK = Incident((ROTATED,), 3, range(8, 24), rejected=20)


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
    try:
        with connect(url) as connection, operator_transaction(connection, ORGANIZATION_ID, at) as transaction:
            _Demo(transaction, at.astimezone(UTC)).create_organization()
    except psycopg.errors.UniqueViolation:
        return False
    return True


class _Demo:
    """Creates the demo organization in one transaction, and stores the IDs of its agents and credentials meanwhile."""

    def __init__(self, transaction: Transaction, at: datetime) -> None:
        self._transaction, self._at = transaction, at
        self._settings = Settings.from_environment({})
        self._agent_ids: dict[DemoAgent, UUID] = {}
        self._credential_ids: dict[DemoAgent, UUID] = {}

    def create_organization(self) -> None:
        """Create the objects in the order of their times.

        :raises psycopg.errors.UniqueViolation: another process has created the demo meanwhile.
        """
        insert_organization(self._begin_on(220), name=NAME)
        update_organization(self._begin_on(220), {"monthly_token_budget": MONTHLY_TOKEN_BUDGET})
        for resource in (ORDERS, TICKETS, PAYMENTS):
            self._add_server(resource, 215)
        for agent_number, agent in enumerate(AGENTS):
            self._add_agent(agent, 200 - 4 * agent_number)
        self._add_server(TRACKER, 100, agent_id=self._agent_ids[TRACKING])
        self._add_credential(UNUSED, self._begin_on(95), "test environment")
        rule_members = {
            "name": "staff",
            "trust": {"issuer": PROVIDER, "claims": {"groups": "staff"}},
            "agentIds": [str(self._agent_ids[EDITOR])],
            "clientHosts": [ASSISTANT.name],
            "resources": [{"resource": TICKETS, "scopes": SERVERS[TICKETS][1]}],
        }
        rule_row = add_rule(self._begin_on(92), self._settings, NewDelegationRuleSchema().load(rule_members))
        # The quotas are set after the day of the retry loop, so that they do not refuse the loop's tokens.
        for quota_holder, window, tokens, is_enforced in QUOTAS:
            holder_id = self._agent_ids[quota_holder] if quota_holder else None
            set_quota(self._begin_on(30), holder_id, window, tokens=tokens, is_enforced=is_enforced)
        update_agent(self._begin_on(SUSPENDED.last - 1), self._agent_ids[SUSPENDED], {"status": "suspended"})
        for agent, person, days_ago in GRANTS:
            self._add_grant(agent, person, self._begin_on(days_ago), rule_row.delegation_rule_id)
        leak_day = LEAK.count_days_since(self._at.date())
        revoked_id = self._credential_ids[ROTATED]
        self._add_credential(ROTATED, self._begin_on(leak_day, LEAK.hours.start - 1), "production, rotated")
        end_credential(self._begin_on(leak_day, LEAK.hours.start), self._agent_ids[ROTATED], revoked_id)
        self._add_usage()

    def _begin_on(self, days_ago: int, hour: int = 9) -> Transaction:
        day = self._at.date() - timedelta(days=days_ago)
        return self._transaction.as_of(datetime.combine(day, time(hour), UTC))

    def _add_server(self, resource: str, days_ago: int, **members: Any) -> None:
        server_name, scopes = SERVERS[resource]
        members |= {"resource": resource, "name": server_name, "scopes": scopes, "token_per_call": resource == PAYMENTS}
        add_resource_server(self._begin_on(days_ago), self._settings, **members)

    def _add_agent(self, agent: DemoAgent, days_ago: int) -> None:
        transaction, scopes = self._begin_on(days_ago), [*(SCOPES if agent is OPERATOR else DEFAULT_SCOPES)]
        members: dict[str, Any] = {"name": agent.name, "description": agent.description, "owner": agent.owner}
        if agent.resource:
            scopes += SERVERS[agent.resource][1]
        if agent in PUBLIC_CLIENTS:
            members["redirect_uris"] = [REDIRECT_URI]
        if agent is ASSISTANT:
            members |= {"agent_id": agent_id_of(ORGANIZATION_ID, CLIENT_URI), "client_uri": CLIENT_URI}
        agent_id = add_agent(transaction, max_agents=Settings.max_agents, scopes=scopes, **members).agent_id
        self._agent_ids[agent] = agent_id
        self._add_credential(agent, transaction, "production")
        if agent is ASSISTANT:
            transaction.fetch("agents/refresh_document", agent_id=agent_id, fresh_until=self._at)

    def _add_credential(self, agent: DemoAgent, transaction: Transaction, label: str) -> None:
        # The random secret is discarded, so nobody can authenticate with the credential.
        expires_at = self._at + timedelta(days=6) if agent is EXPIRING else transaction.at + timedelta(days=365)
        jwks = PUBLIC_JWKS if agent in PUBLIC_CLIENTS else None
        agent_id = self._agent_ids[agent]
        credential_row, _ = add_credential(transaction, agent_id, expires_at=expires_at, label=label, jwks=jwks)
        self._credential_ids[agent] = credential_row.credential_id

    def _add_grant(self, agent: DemoAgent, person: str, transaction: Transaction, rule_id: UUID) -> None:
        agent_id, scopes, subject = self._agent_ids[agent], SERVERS[TICKETS][1], person.replace(" ", ".").lower()
        actor_type, actor_name, display_name = list_actor_fields(PROVIDER, subject, person)
        transaction = transaction.as_of(transaction.at, Actor(actor_type, actor_name, display_name=display_name))
        permission = Permission(agent_id, rule_id, PROVIDER, subject, TICKETS, scopes, 30, "", REDIRECT_URI, None)
        add_grant(transaction, permission)
        transaction.fetch("demo/use_grants", expires_at=transaction.at + timedelta(days=30))

    def _add_usage(self) -> None:
        hours_by_agent: dict[UUID, Hours] = {agent_id: {} for agent_id in self._agent_ids.values()}
        for agent, starts_at, *counts in generate_traffic(self._at):
            hours_by_agent[self._agent_ids[agent]][compute_hour_number(starts_at.date(), starts_at.hour)] = counts
        add_usage(self._transaction, hours_by_agent)
        resources = [agent.resource for agent in self._agent_ids]
        self._transaction.fetch("demo/attribute_usage", agent_ids=[*hours_by_agent], resources=resources)
        agent_ids = [self._agent_ids[agent] for agent in DELEGATIONS]
        subject_ids = [self._agent_ids[subject] if subject else None for subject in DELEGATIONS.values()]
        self._transaction.fetch(
            "demo/count_delegations", agent_ids=agent_ids, subject_agent_ids=subject_ids, issuer=PROVIDER
        )
        self._transaction.fetch("demo/use_credentials")
        self._transaction.fetch("demo/use_grants", expires_at=None)


def generate_traffic(at: datetime) -> Iterator[AgentHour]:
    """Yield the counts per agent and hour of the last 90 days until *at*. Hours without counts are omitted.

    :param at: the current time in UTC. The counts of its hour are reduced to the part of the hour before *at*.
    """
    midnight = datetime.combine(at.date(), time(), UTC)
    incidents = {
        (incident.count_days_since(at.date()), hour, agent): incident
        for incident in (OUTAGE, RETRY_LOOP, LEAK)
        for hour in incident.hours
        for agent in incident.agents
    }
    for agent in AGENTS:
        # Each agent has its own random generator, used in order of time, so that each later call generates the same
        # past again.
        random = Random(f"agentidp demo {agent.name}")  # noqa: S311 - not a secret
        for days_ago in reversed(range(agent.last, DAYS)):
            for hour in range(24 if days_ago else at.hour + 1):
                starts_at = midnight - timedelta(days=days_ago) + timedelta(hours=hour)
                counts = _draw_counts(agent, starts_at, days_ago, random, incidents.get((days_ago, hour, agent)))
                counts = [int(hour_count * min(1, (at - starts_at) / timedelta(hours=1))) for hour_count in counts]
                if any(counts):
                    yield AgentHour(agent, starts_at, *counts)


def _draw_counts(
    agent: DemoAgent, starts_at: datetime, days_ago: int, random: Random, incident: Incident | None
) -> list[int]:
    if incident is not None:
        tokens = _draw_count(incident.tokens, random)
        return [tokens, tokens, _draw_count(incident.rejected, random)]
    weekday_activity, weekend_activity, growth = agent.rhythm
    share_of_peak = int((weekend_activity if starts_at.weekday() >= 5 else weekday_activity)[starts_at.hour]) / 9
    if share_of_peak == 0:
        return [0, 0, 0]
    mean_tokens = agent.tokens * share_of_peak * (1 - growth * days_ago / (DAYS - 1))
    tokens = _draw_count(mean_tokens, random)
    # The number of calls is independent of this hour's tokens, because calls also use cached tokens of earlier hours.
    calls = _draw_count(mean_tokens * agent.calls, random)
    return [tokens, tokens + calls, int(random.random() < REJECTED_BY_CHANCE)]


def _draw_count(mean: float, random: Random) -> int:
    """Return a random whole number that is *mean* on average, and differs by a third of *mean* at most."""
    return int(mean * random.uniform(2 / 3, 4 / 3) + random.random()) if mean else 0
