"""The demo organization: 20 agents with 90 days of generated traffic, and incidents that the dashboard reports.

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
from agentidp.oauth.grants import Permission, add_grant
from agentidp.openid.claims import list_actor_fields
from agentidp.registry.agents import add_agent, update_agent
from agentidp.registry.credentials import PUBLIC_JWKS, add_credential, end_credential
from agentidp.registry.delegation_rules import NewDelegationRuleSchema, add_rule
from agentidp.registry.organizations import insert_organization, update_organization
from agentidp.registry.resource_servers import add_resource_server
from agentidp.scopes import DEFAULT_SCOPES, SCOPES
from agentidp.usage_history.adding import Hours, add_usage, compute_hour_number

ORGANIZATION_ID = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
"""The organization ID in the guide's examples. The ID is fixed, because it identifies the demo organization."""

DAYS = 90  # days of traffic, including today
MONTHLY_TOKEN_BUDGET = 120_000  # the traffic exceeds the budget in the last days of a month
MEAN_REJECTED = 1 / 150  # mean number of rejected requests per agent and hour, at the agent's peak

Rhythm = tuple[str, str, float]
"""The daily activity of an agent: on weekdays and on weekends, a digit per UTC hour, from 0 (none) to 9 (the peak), and
the growth: 0.45 means that the activity on the first day of traffic is 45 % lower than today's."""

EUROPE: Rhythm = ("000000148999799985310000", "000000000011111100000000", 0.45)
AMERICAS: Rhythm = ("210000000000148999799985", "000000000000000111111000", 0.45)
CUSTOMERS: Rhythm = ("333334456789988899987654", "222223334455544455544433", 0.45)
CONSTANT: Rhythm = ("9" * 24, "9" * 24, 0)
NIGHTLY: Rhythm = ("099900000000000000000000", "099900000000000000000000", 0)
WEEKENDS: Rhythm = ("0" * 24, "000000999900000000000000", 0)

ORDERS, TICKETS = "https://orders.demo.example", "https://tickets.demo.example"
SERVERS = {ORDERS: ("Orders", ["orders:read"]), TICKETS: ("Tickets", ["tickets:read", "tickets:write"])}
"""The name and the scopes of each resource server, by its identifier."""

PROVIDER = "https://login.demo.example"  # the people's OpenID Connect provider, which is never called
REDIRECT_URI = "http://127.0.0.1/callback"  # of both public clients


class DemoAgent(NamedTuple):
    """An agent of the demo organization and its traffic."""

    name: str
    description: str
    owner: str
    rhythm: Rhythm
    tokens: int  # number of tokens per hour at the agent's peak
    calls: int  # number of requests per token, in addition to the token request
    resource: str = ""  # the resource server that accepts the agent's tokens; empty for our own API
    last: int = 0  # number of days since the agent's last activity


AGENTS = (
    DemoAgent("fleet-console", "Shows the operators how the fleet behaves.", "Platform", EUROPE, 1, 12),
    DemoAgent("price-watcher", "Compares prices for each page viewed.", "Shop", CUSTOMERS, 330, 0),
    DemoAgent("invoice-reader", "Reads amounts and due dates from supplier invoices.", "Finance", EUROPE, 6, 11),
    DemoAgent("knowledge-indexer", "Indexes new documents for search.", "Support", CONSTANT, 1, 15),
    DemoAgent("crm-sync", "Keeps the customer records of sales and support the same.", "Sales", CONSTANT, 1, 20),
    DemoAgent("code-editor", "Lets developers work on tickets in the editor.", "Platform", EUROPE, 6, 16, TICKETS),
    DemoAgent("desktop-assistant", "Helps the staff on their desktops.", "People", EUROPE, 3, 8, TICKETS),
    DemoAgent("contract-summarizer", "Sums up contracts for the legal team.", "Legal", EUROPE, 4, 9, last=15),
    DemoAgent("social-poster", "Drafts and schedules social media posts.", "Marketing", AMERICAS, 3, 6, last=26),
    DemoAgent("support-triage", "Sorts support tickets by urgency and team.", "Support", CUSTOMERS, 4, 14, TICKETS),
    DemoAgent("order-tracker", "Tells customers where their parcel is.", "Shop", CUSTOMERS, 3, 18, ORDERS),
    DemoAgent("fraud-monitor", "Holds payments that look like fraud.", "Finance", CONSTANT, 1, 45, ORDERS),
    DemoAgent("release-notes", "Writes release notes from merged changes.", "Platform", AMERICAS, 2, 7),
    DemoAgent("uptime-watcher", "Checks the public services every minute.", "Platform", CONSTANT, 1, 60),
    DemoAgent("sales-researcher", "Gathers facts about a company before a call.", "Sales", AMERICAS, 5, 10),
    DemoAgent("translation-desk", "Translates product texts into nine languages.", "Marketing", EUROPE, 5, 13),
    DemoAgent("backup-verifier", "Restores last night's backup and compares it.", "Platform", NIGHTLY, 1, 25),
    DemoAgent("warehouse-loader", "Loads the day's events into the data warehouse.", "Data", NIGHTLY, 1, 70),
    DemoAgent("weekly-report", "Writes the week's figures for the management.", "Data", WEEKENDS, 2, 30),
    DemoAgent("voice-transcriber", "Transcribes recorded calls.", "Support", AMERICAS, 4, 8),
)

# UNCACHED gets the most tokens of all agents in a month, because it requests a token before every call.
OPERATOR, UNCACHED, RETRYING, UNUSED, ROTATED, EDITOR, ASSISTANT, SILENT, SUSPENDED = AGENTS[:9]
PUBLIC_CLIENTS = (EDITOR, ASSISTANT)  # they act for people
GRANTS = ((EDITOR, "Anna Berg", 22), (EDITOR, "Ben Falk", 17), (ASSISTANT, "Anna Berg", 15), (ASSISTANT, "Dan Levy", 8))
"""The people who let an agent act for them: agent, person, and number of days since the consent."""


class Incident(NamedTuple):
    """Hours of a working day in which agents do not follow their rhythm."""

    agents: tuple[DemoAgent, ...]
    days_ago: int  # minimum number of days since the incident
    hours: range  # the UTC hours of the incident
    tokens: int = 0  # mean number of tokens per agent and hour
    rejected: int = 0  # mean number of rejected requests per agent and hour

    def count_days_since(self, today: date) -> int:
        """Return the number of days since the incident. An incident on a weekend is moved to the Friday before."""
        return self.days_ago + max(0, (today - timedelta(days=self.days_ago)).weekday() - 4)


OUTAGE = Incident(AGENTS, 19, range(24))
# The loop gets a token every two seconds. The loop ended before the current month, because otherwise its agent would
# have the most tokens of this month.
RETRY_LOOP = Incident((RETRYING,), 38, range(9, 14), tokens=1800)
# Requests with the leaked secret are rejected in these hours. The secret is revoked at the beginning of the first hour.
LEAK = Incident((ROTATED,), 3, range(8, 24), rejected=20)
INCIDENTS = (OUTAGE, RETRY_LOOP, LEAK)


def create_demo(url: str, database: Database, at: datetime) -> bool:
    """Create the demo organization, unless it exists, and return whether it is new. *url* names the operator's role."""
    at = at.astimezone(UTC)
    if database.of(ORGANIZATION_ID, at).fetch("organizations/get_organization"):
        return False
    try:
        with connect(url) as connection, operator_transaction(connection, ORGANIZATION_ID, at) as transaction:
            _create_organization(transaction)
    except psycopg.errors.UniqueViolation:
        return False  # another process has created the demo meanwhile
    return True


def _create_organization(transaction: Transaction) -> None:
    """Create the demo organization and its objects, the oldest object first."""
    settings, expires_at = Settings.from_environment({}), transaction.at + timedelta(days=180)
    insert_organization(_move_back(transaction, 220), name="Demo organization")
    update_organization(_move_back(transaction, 220), {"monthly_token_budget": MONTHLY_TOKEN_BUDGET})
    for resource, (server_name, scopes) in SERVERS.items():
        add_resource_server(_move_back(transaction, 215), settings, resource=resource, name=server_name, scopes=scopes)
    agent_ids: dict[DemoAgent, UUID] = {}
    for agent_number, agent in enumerate(AGENTS):
        agent_ids[agent] = _add_agent(_move_back(transaction, 200 - 4 * agent_number), agent, expires_at)
    add_credential(_move_back(transaction, 95), agent_ids[UNUSED], label="test environment", expires_at=expires_at)
    rule_members = {
        "name": "staff",
        "trust": {"issuer": PROVIDER, "claims": {"groups": "staff"}},
        "agentIds": [str(agent_ids[agent]) for agent in PUBLIC_CLIENTS],
        "resources": [{"resource": TICKETS, "scopes": SERVERS[TICKETS][1]}],
    }
    rule_row = add_rule(_move_back(transaction, 92), settings, NewDelegationRuleSchema().load(rule_members))
    update_agent(_move_back(transaction, SUSPENDED.last - 1), agent_ids[SUSPENDED], {"status": "suspended"})
    for agent, person, days_ago in GRANTS:
        _add_grant(_move_back(transaction, days_ago), agent_ids[agent], rule_row.delegation_rule_id, person)
    leak_days_ago, agent_id = LEAK.count_days_since(transaction.at.date()), agent_ids[ROTATED]
    [leaked_credential_row] = transaction.fetch("agents/list_credentials", agent_id=agent_id)
    rotation_transaction = _move_back(transaction, leak_days_ago, LEAK.hours.start - 1)
    add_credential(rotation_transaction, agent_id, label="production, rotated", expires_at=expires_at)
    revocation_transaction = _move_back(transaction, leak_days_ago, LEAK.hours.start)
    end_credential(revocation_transaction, agent_id, leaked_credential_row.credential_id)
    _add_usage(transaction, agent_ids)


def _move_back(transaction: Transaction, days: int, hour: int = 9) -> Transaction:
    """Return the transaction with another current time for its statements: a UTC hour *days* days ago."""
    return transaction.as_of(datetime.combine(transaction.at.date() - timedelta(days), time(hour), UTC))


def _add_agent(transaction: Transaction, agent: DemoAgent, expires_at: datetime) -> UUID:
    scopes = [*(SCOPES if agent is OPERATOR else DEFAULT_SCOPES)]
    if agent.resource:
        scopes += SERVERS[agent.resource][1]
    agent_members: dict[str, Any] = {"name": agent.name, "description": agent.description, "owner": agent.owner}
    if agent in PUBLIC_CLIENTS:
        agent_members["redirect_uris"] = [REDIRECT_URI]
    agent_id: UUID = add_agent(transaction, scopes=scopes, max_agents=Settings.max_agents, **agent_members).agent_id
    jwks = PUBLIC_JWKS if agent in PUBLIC_CLIENTS else None
    add_credential(transaction, agent_id, label="production", expires_at=expires_at, jwks=jwks)
    return agent_id


def _add_grant(transaction: Transaction, agent_id: UUID, rule_id: UUID, person: str) -> None:
    scopes, subject = SERVERS[TICKETS][1], person.replace(" ", ".").lower()
    actor_type, actor_name, display_name = list_actor_fields(PROVIDER, subject, person)
    transaction = transaction.as_of(transaction.at, Actor(actor_type, actor_name, display_name=display_name))
    permission = Permission(agent_id, rule_id, PROVIDER, subject, TICKETS, scopes, 30, "", REDIRECT_URI, None)
    add_grant(transaction, permission)


def _add_usage(transaction: Transaction, agent_ids: dict[DemoAgent, UUID]) -> None:
    hours_by_agent: dict[UUID, Hours] = {agent_id: {} for agent_id in agent_ids.values()}
    for agent, starts_at, hour_counts in generate_traffic(transaction.at):
        hours_by_agent[agent_ids[agent]][compute_hour_number(starts_at.date(), starts_at.hour)] = hour_counts
    add_usage(transaction, hours_by_agent)
    resources = [agent.resource for agent in agent_ids]
    transaction.fetch("demo/attribute_usage", agent_ids=[*hours_by_agent], resources=resources)
    public_client_ids = [agent_ids[agent] for agent in PUBLIC_CLIENTS]
    transaction.fetch("demo/count_delegations", agent_ids=public_client_ids, issuer=PROVIDER)
    transaction.fetch("demo/use_credentials")
    transaction.fetch("demo/use_grants")


def generate_traffic(at: datetime) -> Iterator[tuple[DemoAgent, datetime, list[int]]]:
    """Yield the tokens, requests and rejected requests per agent and UTC hour. Hours without counts are omitted.

    :param at: the end of the 90 days, in UTC. The counts of the last hour are only for the part before *at*.
    """
    midnight, random = datetime.combine(at.date(), time(), UTC), Random("agentidp demo")  # noqa: S311 - not a secret
    for agent in AGENTS:
        incidents = [incident for incident in INCIDENTS if agent in incident.agents]
        incidents_by_day = {incident.count_days_since(at.date()): incident for incident in incidents}
        for days_ago in reversed(range(agent.last, DAYS)):
            for hour in range(24 if days_ago else at.hour + 1):
                starts_at = midnight + timedelta(days=-days_ago, hours=hour)
                mean_counts = _compute_means(agent, starts_at, days_ago, incidents_by_day.get(days_ago))
                elapsed_share = min(1, (at - starts_at) / timedelta(hours=1))
                # Adding a random fraction before int() rounds down keeps the mean.
                token_count, api_request_count, rejection_count = (
                    int((mean * random.uniform(2 / 3, 4 / 3) + random.random()) * elapsed_share) for mean in mean_counts
                )
                if token_count or api_request_count or rejection_count:
                    yield agent, starts_at, [token_count, token_count + api_request_count, rejection_count]


def _compute_means(agent: DemoAgent, starts_at: datetime, days_ago: int, incident: Incident | None) -> list[float]:
    """Return the mean number of tokens, of requests with tokens, and of rejected requests of an agent in an hour."""
    if incident is not None and starts_at.hour in incident.hours:
        return [incident.tokens, 0, incident.rejected]
    weekday_activity, weekend_activity, growth_share = agent.rhythm
    share_of_peak = int((weekend_activity if starts_at.weekday() >= 5 else weekday_activity)[starts_at.hour]) / 9
    mean_tokens = agent.tokens * share_of_peak * (1 - growth_share * days_ago / (DAYS - 1))
    return [mean_tokens, mean_tokens * agent.calls, MEAN_REJECTED * share_of_peak]
