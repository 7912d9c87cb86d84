"""The demo organization: 24 agents, their credentials, resource servers and quotas, and 90 days of generated traffic
that looks like a real fleet's.

The rows depend only on a fixed seed and on the instant at which they are created, but for their ids, which are random
like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from random import Random
from typing import NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from agentidp import audit
from agentidp.config import Settings
from agentidp.db.database import Database, connect
from agentidp.db.organization import Transaction, operator_transaction
from agentidp.registry.agents import add_agent, update_agent
from agentidp.registry.credentials import add_credential, end_credential
from agentidp.registry.quotas import set_quota
from agentidp.registry.resource_servers import add_resource_server
from agentidp.scopes import DEFAULT_SCOPES, SCOPES
from agentidp.usage_history.adding import Hours, add_usage, hour_number

ORGANIZATION_ID = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
"""The one in the guide's examples. It is fixed, because it says whether there is a demo. No other id is."""

NAME = "Demo organization"

DAYS = 90
"""Days of traffic, today included."""

SEED = "agentidp demo"
GROWTH = 0.45
"""By which share the first day's traffic is lower than today's."""

MONTHLY_TOKEN_BUDGET = 120_000
"""What a month exceeds in its last days."""


class Rhythm(NamedTuple):
    """When an agent works: a digit for each UTC hour, from 0 (not at all) to 9 (its peak)."""

    weekday: str
    weekend: str
    grows: bool = True
    """Whether its use grows over the 90 days. Scheduled work of machines does not."""


NEVER = "000000000000000000000000"
EUROPE = Rhythm("000000148999799985310000", "000000000011111100000000")
AMERICAS = Rhythm("210000000000148999799985", "000000000000000111111000")
CUSTOMERS = Rhythm("333334456789988899987654", "222223334455544455544433")
CONSTANT = Rhythm("999999999999999999999999", "999999999999999999999999", grows=False)
NIGHTLY = Rhythm("099900000000000000000000", "099900000000000000000000", grows=False)
WEEKENDS = Rhythm(NEVER, "000000999900000000000000", grows=False)


@dataclass(frozen=True)
class DemoAgent:
    """An agent of the demo.

    ``tokens`` is how many it gets in an hour at its peak, ``calls`` how many further requests it makes with
    each, ``joined`` how many days ago it was registered if that is within the demo's days, ``last`` how
    many days ago it last worked.
    """

    name: str
    description: str
    owner: str
    rhythm: Rhythm
    tokens: int
    calls: int
    joined: int = 0
    last: int = 0


class DemoCredential(NamedTuple):
    """A credential of an agent of the demo."""

    agent: DemoAgent
    which: str = "current"


OPERATOR = DemoAgent("fleet-console", "Shows the operators how the fleet behaves.", "Platform", EUROPE, 1, 12)
# Asks for a token before every call instead of keeping it, and so dominates the month.
UNCACHED = DemoAgent("price-watcher", "Compares prices for each page viewed.", "Shop", CUSTOMERS, 330, 0)
RETRYING = DemoAgent("invoice-reader", "Reads amounts and due dates from supplier invoices.", "Finance", EUROPE, 6, 11)
SILENT = DemoAgent("contract-summarizer", "Sums up contracts for the legal team.", "Legal", EUROPE, 4, 9, last=15)
ROTATED = DemoAgent("crm-sync", "Keeps the customer records of sales and support the same.", "Sales", CONSTANT, 1, 20)
SUSPENDED = DemoAgent("social-poster", "Drafts and schedules social media posts.", "Marketing", AMERICAS, 3, 6, last=26)
# Some of its instances still have the old secret.
HALF_ROTATED = DemoAgent("code-reviewer", "Comments on pull requests.", "Platform", EUROPE, 6, 16)
# Its credential ends soon.
EXPIRING = DemoAgent("release-notes", "Writes release notes from merged changes.", "Platform", AMERICAS, 2, 7)
TWO_RESOURCES = DemoAgent("order-tracker", "Tells customers where their parcel is.", "Shop", CUSTOMERS, 3, 18)
# Its API wants a token for each call.
PER_CALL = DemoAgent("fraud-monitor", "Holds payments that look like fraud.", "Finance", CONSTANT, 1, 45)
# Ask the order tracker, which acts for them.
TRIAGE = DemoAgent("support-triage", "Sorts support tickets by urgency and team.", "Support", CUSTOMERS, 4, 14)
RESEARCHER = DemoAgent(
    "sales-researcher", "Gathers what is known of a company before a call.", "Sales", AMERICAS, 5, 10
)
UNUSED = DemoAgent("knowledge-indexer", "Indexes new documents for search.", "Support", CONSTANT, 1, 15)

AGENTS = (
    OPERATOR,
    UNCACHED,
    RETRYING,
    TRIAGE,
    TWO_RESOURCES,
    PER_CALL,
    DemoAgent("uptime-watcher", "Checks the public services every minute.", "Platform", CONSTANT, 1, 60),
    DemoAgent("log-summarizer", "Turns error logs into one summary an hour.", "Platform", CONSTANT, 1, 8),
    UNUSED,
    ROTATED,
    RESEARCHER,
    HALF_ROTATED,
    EXPIRING,
    SILENT,
    DemoAgent("translation-desk", "Translates product texts into nine languages.", "Marketing", EUROPE, 5, 13),
    DemoAgent("hiring-screener", "Answers applicants and books interviews.", "People", AMERICAS, 2, 9),
    SUSPENDED,
    DemoAgent("backup-verifier", "Restores last night's backup and compares it.", "Platform", NIGHTLY, 1, 25),
    DemoAgent("warehouse-loader", "Loads the day's events into the data warehouse.", "Data", NIGHTLY, 1, 70),
    DemoAgent("stock-forecaster", "Forecasts what to reorder.", "Data", NIGHTLY, 1, 40),
    DemoAgent("weekly-report", "Writes the week's figures for the management.", "Data", WEEKENDS, 2, 30),
    DemoAgent("data-cleaner", "Finds duplicate and stale records.", "Data", WEEKENDS, 1, 50),
    DemoAgent("voice-transcriber", "Transcribes recorded calls.", "Support", AMERICAS, 4, 8, joined=24),
    DemoAgent("meeting-notes", "Writes the minutes of meetings.", "People", EUROPE, 3, 8, joined=9),
)

SUSPENDED_AGO = SUSPENDED.last - 1
RETRY_HOURS = range(9, 14)
RETRY_TOKENS = 1800
"""Tokens an hour in the retry loop: one every two seconds."""

ROTATED_AGO = 3
ROTATED_HOURS = range(8, 12)
REVOKED = DemoCredential(ROTATED, "revoked")
ROTATED_REJECTED = 75
"""Failed authentications an hour with the secret that was revoked."""

REJECTED_BY_CHANCE = 1 / 150

NEW_SECRET_AGO = 20
"""Days since HALF_ROTATED has its new secret."""

OLD = DemoCredential(HALF_ROTATED, "old")
OLD_PERCENT = 40
"""Of its tokens since then, that are issued to the old one."""

EXPIRES_IN = timedelta(days=6)

NEVER_USED = DemoCredential(UNUSED, "never used")
NO_LONGER_USED = DemoCredential(UNUSED, "no longer used")
SPARE_AGO = 150
"""Days since UNUSED has these two."""

NO_LONGER_USED_AGO = 97
"""Days since the second one was used last, before the days of traffic."""


class DemoServer(NamedTuple):
    """A resource server of the demo."""

    resource: str
    name: str
    scopes: tuple[str, ...]
    token_per_call: bool = False
    agent: DemoAgent | None = None
    """The one that runs it."""


ORDERS = DemoServer("https://orders.demo.example", "Orders", ("orders:read",))
TICKETS = DemoServer("https://tickets.demo.example", "Tickets", ("tickets:read", "tickets:write"))
PAYMENTS = DemoServer("https://payments.demo.example", "Payments", ("payments:hold",), token_per_call=True)
TRACKER = DemoServer("https://order-tracker.demo.example", "Order tracker", ORDERS.scopes, agent=TWO_RESOURCES)
SERVERS = (ORDERS, TICKETS, PAYMENTS, TRACKER)
SERVERS_AGO = 200
"""Days since they were registered: before the agents."""

TRACKER_AGO = 170
"""Days since that one was registered: after its agent."""

RESOURCES = {
    TWO_RESOURCES: (ORDERS, TICKETS),
    PER_CALL: (PAYMENTS,),
    TRIAGE: (TRACKER,),
    RESEARCHER: (TRACKER,),
}
"""Agent -> what its tokens are for, in equal parts. Those of all others are for our own API."""

ACTS_FOR = {TRIAGE: 2, RESEARCHER: 4}
"""For whom the order tracker gets tokens for the orders: each agent -> one of so many."""

QUOTAS = (
    (None, "month", 150_000, False),
    (UNCACHED, "day", 12_000, True),
    (RETRYING, "hour", 120, True),
)
"""The holder (the organization itself, if ``None``), the window, the tokens, and whether it is enforced."""

QUOTAS_AGO = 12
"""Days since they were set: after the loop, which a quota of an hour would have ended."""


Ids = dict[DemoAgent | DemoCredential, UUID]
"""Of what was created."""


class Usage(NamedTuple):
    """What is counted of an agent in an hour. A token is a request too; a rejected request is neither."""

    tokens: int
    requests: int
    rejected: int


NOTHING = Usage(0, 0, 0)


class Calendar(NamedTuple):
    """The days on which something happened."""

    today: date
    retries: date
    outage: date

    @classmethod
    def of(cls, today: date) -> Calendar:
        """On working days, so that they stand out; the retries before the current month, which another agent
        dominates.
        """
        return cls(
            today,
            retries=_working_day(today - timedelta(days=38)),
            outage=_working_day(today - timedelta(days=19)),
        )


def _working_day(day: date) -> date:
    """*day*, or the Friday before it."""
    return day - timedelta(days=max(0, day.weekday() - 4))


class AgentHour(NamedTuple):
    """Usage with its place: an agent, a UTC day and an hour of it."""

    agent: DemoAgent
    day: date
    hour: int
    usage: Usage


def create_demo(url: str, database: Database, at: datetime) -> bool:
    """Create the demo organization in one transaction, unless it exists.

    :param url: the database as the operator, who alone can create organizations.
    :param database: the service's, to check whether it exists.
    :param at: now, aware; nothing is counted after it.
    :returns: whether it was created now.
    """
    if database.of(ORGANIZATION_ID, at).fetch("organizations/get_organization"):
        return False
    at = at.astimezone(UTC)
    with connect(url) as connection, operator_transaction(connection, ORGANIZATION_ID, at) as transaction:
        founding = transaction.as_of(_instant(at, len(AGENTS) * 5 + DAYS, 8))
        if not founding.fetch("demo/add_organization", name=NAME, monthly_token_budget=MONTHLY_TOKEN_BUDGET):
            return False
        values = {"name": NAME, "monthlyTokenBudget": MONTHLY_TOKEN_BUDGET}
        audit.record(founding, "organization.created", ORGANIZATION_ID, after=values)
        # In the order of time, in which the audit trail has them.
        ids: Ids = {}
        for when, change in sorted(_changes(at, ids), key=lambda each: each[0]):
            change(transaction.as_of(when))
        _add_usage(transaction, ids, at)
    return True


def operator_id(database: Database, at: datetime) -> UUID | None:
    """The id of the demo's operator, by its name; ``None`` if there is no such agent."""
    rows = database.of(ORGANIZATION_ID, at).fetch("agents/agents_named", name=OPERATOR.name, is_deleted=False)
    return rows[0].agent_id if rows else None


def _changes(at: datetime, ids: Ids) -> Iterator[tuple[datetime, Callable[[Transaction], object]]]:
    """What happened to the agents, and when.

    :param ids: gets those of what is created.
    """
    for index, agent in enumerate(AGENTS):
        ago = agent.joined or (len(AGENTS) - index) * 5 + DAYS - 1
        expires_at = at + EXPIRES_IN if agent is EXPIRING else None
        yield _instant(at, ago, 9, index), partial(_register, ids, agent, expires_at=expires_at)
    for server in SERVERS:
        yield _instant(at, TRACKER_AGO if server.agent else SERVERS_AGO, 8, 30), partial(_register_server, ids, server)
    yield (
        _instant(at, NEW_SECRET_AGO, 9),
        partial(_add_credential, ids, DemoCredential(HALF_ROTATED), label="production, rotated"),
    )
    for credential, label in ((NEVER_USED, "test environment"), (NO_LONGER_USED, "laptop of Ines")):
        yield _instant(at, SPARE_AGO, 11), partial(_add_credential, ids, credential, label=label)
    for quota in QUOTAS:
        yield _instant(at, QUOTAS_AGO, 10), partial(_set_quota, ids, *quota)
    rotated = _instant(at, ROTATED_AGO, ROTATED_HOURS.start)
    yield rotated - timedelta(minutes=5), partial(_add_credential, ids, DemoCredential(ROTATED))
    yield rotated, lambda opened: end_credential(opened, ids[ROTATED], ids[REVOKED])
    yield (
        _instant(at, SUSPENDED_AGO, 7),
        lambda opened: update_agent(opened, ids[SUSPENDED], {"status": "suspended"}),
    )


def _register(ids: Ids, agent: DemoAgent, opened: Transaction, *, expires_at: datetime | None) -> None:
    ids[agent] = add_agent(
        opened,
        name=agent.name,
        description=agent.description,
        owner=agent.owner,
        scopes=list(SCOPES if agent is OPERATOR else DEFAULT_SCOPES)
        + [scope for server in RESOURCES.get(agent, ()) for scope in server.scopes],
        most=Settings.max_agents,
    ).agent_id
    _add_credential(ids, first_credential(agent), opened, expires_at=expires_at)


def first_credential(agent: DemoAgent) -> DemoCredential:
    """The credential that the agent was registered with."""
    return {ROTATED: REVOKED, HALF_ROTATED: OLD}.get(agent, DemoCredential(agent))


def _add_credential(
    ids: Ids,
    credential: DemoCredential,
    opened: Transaction,
    *,
    label: str = "production",
    expires_at: datetime | None = None,
) -> None:
    # Nobody gets its secret, which is random.
    expires_at = expires_at or opened.at + timedelta(days=365)
    row, _ = add_credential(opened, ids[credential.agent], expires_at=expires_at, label=label)
    ids[credential] = row.credential_id


def _register_server(ids: Ids, server: DemoServer, opened: Transaction) -> None:
    add_resource_server(
        opened,
        Settings.from_environment({}),
        resource=server.resource,
        name=server.name,
        scopes=list(server.scopes),
        token_per_call=server.token_per_call,
        agent_id=ids[server.agent] if server.agent else None,
    )


def _set_quota(
    ids: Ids, holder: DemoAgent | None, window: str, tokens: int, is_enforced: bool, opened: Transaction
) -> None:
    # Not under the lock of quotas: nobody else knows the organization yet.
    set_quota(opened, ids[holder] if holder else None, window, tokens=tokens, is_enforced=is_enforced)


def _instant(at: datetime, days_ago: int, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(at.date() - timedelta(days=days_ago), time(hour, minute), UTC)


def _add_usage(transaction: Transaction, ids: Ids, at: datetime) -> None:
    sums: dict[UUID, Hours] = {ids[agent]: {} for agent in AGENTS}
    by_use: dict[tuple[date, UUID, UUID, str], list[int]] = {}
    used = {ids[NO_LONGER_USED]: _instant(at, NO_LONGER_USED_AGO, 16)}
    for agent, day, hour, usage in traffic(at):
        sums[ids[agent]][hour_number(day, hour)] = [usage.tokens, usage.requests, usage.rejected]
        for credential, resource, tokens in uses(agent, day, hour, usage.tokens, at):
            by_use.setdefault((day, ids[agent], ids[credential], resource), [0] * 24)[hour] = tokens
            used[ids[credential]] = datetime.combine(day, time(hour), UTC)
    add_usage(transaction, sums)
    names = ("day", "agent_id", "credential_id", "resource")
    counts = [
        dict(zip(names, map(str, use), strict=True)) | {"tokens_by_hour": tokens} for use, tokens in by_use.items()
    ]
    transaction.fetch("demo/attribute_usage", counts=Jsonb(counts))
    delegated = [
        {"day": str(day), "agent_id": str(agent_id), "subject_agent_id": str(ids[subject]), "resource": resource}
        | {"tokens": sum(tokens) // one_of}
        for (day, agent_id, _, resource), tokens in by_use.items()
        if (agent_id, resource) == (ids[TWO_RESOURCES], ORDERS.resource)
        for subject, one_of in ACTS_FOR.items()
        # Which has a token to exchange.
        if sum(tokens) >= one_of and (day, ids[subject], ids[DemoCredential(subject)], TRACKER.resource) in by_use
    ]
    transaction.fetch("demo/count_delegations", counts=Jsonb(delegated))
    transaction.fetch("demo/use_credentials", credential_ids=list(used), used_at=list(used.values()))


def uses(
    agent: DemoAgent, day: date, hour: int, tokens: int, at: datetime
) -> Iterator[tuple[DemoCredential, str, int]]:
    """Which credentials got an agent's tokens of an hour, for which resources, and how many each: *tokens* in all."""
    ago = (at.date() - day).days
    current = DemoCredential(agent)
    by_credential = {current: tokens}
    if agent is HALF_ROTATED and ago < NEW_SECRET_AGO:
        old = tokens * OLD_PERCENT // 100
        by_credential = {OLD: old, current: tokens - old}
    elif agent is HALF_ROTATED or (agent is ROTATED and (-ago, hour) < (-ROTATED_AGO, ROTATED_HOURS.start)):
        by_credential = {first_credential(agent): tokens}
    first, *others = [server.resource for server in RESOURCES.get(agent, ())] or [""]
    for credential, of_credential in by_credential.items():
        part = of_credential // (1 + len(others))
        by_resource = {first: of_credential - part * len(others)} | dict.fromkeys(others, part)
        yield from ((credential, resource, count) for resource, count in by_resource.items() if count)


def traffic(at: datetime) -> Iterator[AgentHour]:
    """The hours of the last 90 days up to *at* in which something is counted, by agent, day and hour.

    :param at: aware, in UTC. Its own hour is counted in part, up to that minute.
    """
    calendar = Calendar.of(at.date())
    gone = (at - at.replace(minute=0, second=0, microsecond=0)) / timedelta(hours=1)
    for agent in AGENTS:
        # A generator for each agent, used in the order of time: a later instant of the day only adds.
        random = Random(f"{SEED} {agent.name}")  # noqa: S311 - not a secret
        for ago in reversed(range(DAYS)):
            day = calendar.today - timedelta(days=ago)
            for hour in range(24 if ago else at.hour + 1):
                usage = usage_in_hour(agent, calendar, day, hour, random)
                if ago == 0 and hour == at.hour:
                    usage = Usage(*(int(count * gone) for count in usage))
                if usage != NOTHING:
                    yield AgentHour(agent, day, hour, usage)


def usage_in_hour(agent: DemoAgent, calendar: Calendar, day: date, hour: int, random: Random) -> Usage:
    """What is counted of *agent* in a whole hour."""
    ago = (calendar.today - day).days
    if day == calendar.outage or ago < agent.last or (agent.joined and ago >= agent.joined):
        return NOTHING
    if agent is RETRYING and day == calendar.retries and hour in RETRY_HOURS:
        tokens = _about(RETRY_TOKENS, random)
        return Usage(tokens, tokens, 0)
    if agent is ROTATED and ago == ROTATED_AGO and hour in ROTATED_HOURS:
        return Usage(0, 0, _about(ROTATED_REJECTED, random))
    level = int((agent.rhythm.weekend if day.weekday() >= 5 else agent.rhythm.weekday)[hour]) / 9
    if level == 0:
        return NOTHING
    if agent.rhythm.grows:
        level *= 1 - GROWTH * ago / (DAYS - 1)
    tokens = _about(agent.tokens * level, random)
    # A token that is kept serves the next hour too, so the calls do not follow from this hour's tokens.
    calls = _about(agent.tokens * agent.calls * level, random)
    return Usage(tokens, tokens + calls, int(random.random() < REJECTED_BY_CHANCE))


def _about(mean: float, random: Random) -> int:
    """A count that is *mean* on average: within a third of it, then rounded up or down by chance."""
    return int(mean * random.uniform(2 / 3, 4 / 3) + random.random())
