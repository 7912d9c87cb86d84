"""The demo organization: its content is reproducible, and it is created once and completely."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from statistics import median
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import Flask
from psycopg.rows import dict_row

from agentidp.demo import (
    AGENTS,
    ASSISTANT,
    DAYS,
    EDITOR,
    OPERATOR,
    ORGANIZATION_ID,
    ROTATED,
    SILENT,
    SUSPENDED,
    UNCACHED,
    UNUSED,
    DemoAgent,
    create_demo,
    generate_traffic,
)
from agentidp.scopes import SCOPES
from agentidp.services import Services
from agentidp.usage_history.adding import COUNTS
from tests.citus import WATCHES_THE_COORDINATOR
from tests.conftest import Cast
from tests.factories import (
    NOON,
    PATIENCE,
    ROOT,
    SECRET_KEY,
    Agent,
    Api,
    clean_environment,
    demo_ids,
    demo_operator,
    execute,
    usage_sums,
    wait_until,
)

pytestmark = pytest.mark.very_slow

TODAY = NOON.date()
TABLES = (
    "organizations",
    "agents",
    "clients",
    "credentials",
    "resource_servers",
    "usage_daily",
    "agent_usage_daily",
    "credential_usage_daily",
    "delegation_usage_daily",
)


@pytest.fixture
def demo(database_url: str, services: Services) -> Agent:
    """The operator of a demo that was created at noon, in a database that only this test uses."""
    assert create_demo(database_url, services.database, NOON)
    return demo_operator(services)


@dataclass
class Made:
    """A demo that was created at noon and is only read: its rows, and the API as its operator."""

    url: str
    tables: dict[str, list[dict[str, Any]]]
    api: Api
    ids: dict[str, UUID]

    def get(self, path: str) -> Any:
        """Return the body of a response whose status must be 200."""
        response = self.api.get(path)
        assert response.status_code == 200
        return response.json

    def credentials_of(self, agent: DemoAgent) -> dict[str, dict[str, Any]]:
        """Return the credentials of an agent by their labels."""
        data = self.get(f"agents/{self.ids[agent.name]}/credentials")["data"]
        return {credential["label"]: credential for credential in data}


@pytest.fixture(scope="module")
def made(shared_app: Flask) -> Made:
    """See :class:`Made`."""
    services: Services = shared_app.extensions["agentidp"]
    url = str(services.settings.database_url)
    assert create_demo(url, services.database, NOON)
    return Made(url, stored(url), Api(shared_app.test_client(), demo_operator(services)), demo_ids(services))


def stored(url: str, organization_id: str = ORGANIZATION_ID) -> dict[str, list[dict[str, Any]]]:
    """Return every row of an organization, read as the operator."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [organization_id])
        return {
            table: connection.execute(
                f"select * from {table} where organization_id = %s order by {table}::text", [organization_id]
            ).fetchall()
            for table in TABLES
        }


def is_weekend(day: date) -> bool:
    """Return whether a day is a Saturday or a Sunday."""
    return day.weekday() >= 5


def test_makes_20_agents_with_an_owner_and_a_credential_that_was_used_for_the_last_token(made: Made) -> None:
    agents = made.get("agents?limit=100")["data"]
    assert [agent["name"] for agent in agents] == [agent.name for agent in AGENTS]
    assert len(agents) == 20
    assert [a["name"] for a in agents if a["status"] == "suspended"] == [SUSPENDED.name]
    assert [a["name"] for a in agents if a["scopes"] == list(SCOPES)] == [OPERATOR.name]
    for agent in agents:
        assert re.fullmatch(r"[A-Z][^.]+\.", agent["description"])
        assert re.fullmatch("[A-Z][a-z]+", agent["owner"])
        data = made.get(f"agents/{agent['agentId']}/credentials")["data"]
        activity = made.get(f"analytics/agents/{agent['agentId']}?days=90")
        last = max(data, key=lambda credential: credential["lastUsedAt"] or "")
        assert last["lastUsedAt"] == activity["lastTokenHour"] > last["createdAt"]
        assert last["label"].startswith("production")
        assert all(credential["expiresAt"] == "2026-10-12T12:00:00.000000Z" for credential in data)


def test_a_credential_is_unused(made: Made) -> None:
    unused = made.credentials_of(UNUSED)["test environment"]
    assert unused["lastUsedAt"] is None
    findings = made.get("analytics/findings")["data"]
    kinds = {finding["credentialId"]: (finding["kind"], finding["severity"]) for finding in findings}
    assert {credential_id: kind for credential_id, kind in kinds.items() if credential_id} == {
        unused["credentialId"]: ("unused_credential", "info")
    }


def test_agents_get_tokens_for_the_resource_servers(made: Made) -> None:
    agent_names = {
        item["resource"]: {agent["agentName"] for agent in item["agents"]}
        for item in made.get("analytics/resources?days=90")["data"]
    }
    own_api = {resource for resource in agent_names if not resource.endswith(".demo.example")}
    assert len(own_api) == 1
    assert {resource: names for resource, names in agent_names.items() if resource not in own_api} == {
        "https://orders.demo.example": {"order-tracker", "fraud-monitor"},
        "https://tickets.demo.example": {"support-triage", EDITOR.name, ASSISTANT.name},
    }
    # The tokens of each agent and day are the tokens of its credential.
    by_credential = {(row["day"], row["agent_id"]): row["tokens"] for row in made.tables["credential_usage_daily"]}
    by_agent = {(row["day"], row["agent_id"]): row["tokens"] for row in made.tables["agent_usage_daily"]}
    assert by_credential == {key: tokens for key, tokens in by_agent.items() if tokens}


def test_people_let_an_editor_and_a_desktop_client_act(made: Made) -> None:
    grants = made.get("grants")["data"]
    assert [(grant["agentName"], grant["delegationRuleName"], grant["resource"]) for grant in grants] == [
        (agent.name, "staff", "https://tickets.demo.example") for agent in (ASSISTANT, ASSISTANT, EDITOR, EDITOR)
    ]
    assert all(grant["createdAt"] < grant["lastUsedAt"] for grant in grants)
    # The newest grant was made 8 days ago, and the rule limits the age of grants to 30 days.
    assert grants[0]["expiresAt"] == "2026-05-07T09:00:00.000000Z"
    delegations = made.get("analytics/delegations?days=90")["data"]
    tokens = {row["agentName"]: row["tokens"] for row in delegations}
    assert {row["issuer"] for row in delegations} == {"https://login.demo.example"}
    for agent in (EDITOR, ASSISTANT):
        # A public client gets no tokens for itself.
        days = made.get(f"analytics/agents/{made.ids[agent.name]}?days=90")["data"]
        assert tokens[agent.name] == sum(day["tokens"] for day in days) > 0
        [credential] = made.credentials_of(agent).values()
        assert credential["type"] == "public"


def test_a_credential_is_revoked_in_the_hour_from_which_on_requests_are_rejected(made: Made) -> None:
    rows = made.tables["credentials"]
    [revoked] = [row for row in rows if row["revoked_at"]]
    assert revoked["agent_id"] == made.ids[ROTATED.name]
    # Three days before the noon of the test was a Sunday, so the incident was on the Friday before.
    assert revoked["revoked_at"] == NOON - timedelta(days=5, hours=4)
    # The agent got its later tokens with its other credential.
    assert revoked["last_used_at"] < revoked["revoked_at"]
    usage_rows = [
        row for row in made.tables["credential_usage_daily"] if row["credential_id"] == revoked["credential_id"]
    ]
    assert max(row["day"] for row in usage_rows) == TODAY - timedelta(days=5)
    # The secrets are random, so their hashes differ.
    assert len(rows) == 22
    assert len({row["secret_hash"] for row in rows if row["secret_hash"] is not None}) == 20


def test_the_audit_trail_is_in_the_order_of_time(made: Made) -> None:
    instants = [event["at"] for event in made.get("audit?limit=100")["data"]]
    assert len(instants) == 53
    assert instants == sorted(instants, reverse=True)


def test_every_figure_of_the_three_endpoints_is_the_same_number_of_tokens_and_requests(made: Made) -> None:
    sums = usage_sums(made.url, ORGANIZATION_ID)
    # This request comes first, because each request is counted.
    heatmap = made.get("analytics/agents/activity")["data"]
    assert sums["requests"] > sums["tokens"] > 300_000
    for kind in COUNTS:
        assert len({count for name, count in sums.items() if kind in name}) == 1
        assert sums[kind] > 0
    assert sum(cell["count"] for cell in heatmap) == sums["requests"]
    days = {item["date"]: item["count"] for item in made.get("analytics/tokens?days=90")["data"]}
    assert sum(days.values()) == sums["tokens"]
    this_month = made.get("analytics/agents")
    assert this_month["month"] == "2026-04"
    # All agents except the silent and the suspended agent.
    assert len(this_month["data"]) == 18
    assert sum(item["tokenCount"] for item in this_month["data"]) == sum(
        count for day, count in days.items() if day >= "2026-04-01"
    )


def test_stores_what_the_generator_says_and_no_zeros(made: Made) -> None:
    by_agent: Counter[tuple[Any, ...]] = Counter()
    by_hour: Counter[tuple[Any, ...]] = Counter()
    for agent, starts_at, counts in generate_traffic(NOON):
        day, hour = starts_at.date(), starts_at.hour
        for kind, count in zip(COUNTS, counts, strict=True):
            by_agent[day, made.ids[agent.name], hour, kind] += count
            by_hour[day, hour, kind] += count
    for table, columns, expected in (
        ("agent_usage_daily", ("day", "agent_id"), by_agent),
        ("usage_daily", ("day",), by_hour),
    ):
        assert {
            (*(row[column] for column in columns), hour, kind): count
            for row in made.tables[table]
            for kind in COUNTS
            for hour, count in enumerate(row[f"{kind}_by_hour"])
            if count
        } == +expected
        assert {row["slot"] for row in made.tables[table]} == {16}
    for row in made.tables["agent_usage_daily"]:
        assert {kind: row[kind] for kind in COUNTS} == {k: sum(row[f"{k}_by_hour"]) for k in COUNTS}
        assert row["requests"] + row["rejected"] > 0
        assert row["requests"] >= row["tokens"]
    assert all(row["tokens"] == sum(row["tokens_by_hour"]) for row in made.tables["usage_daily"])


def test_nothing_is_counted_of_an_agent_before_it_is_registered_or_after_it_is_suspended(made: Made) -> None:
    [organization] = made.tables["organizations"]
    agents = {agent["agent_id"]: agent for agent in made.tables["agents"]}
    assert all(organization["created_at"] < agent["created_at"] <= agent["updated_at"] for agent in agents.values())
    for row in made.tables["agent_usage_daily"]:
        agent = agents[row["agent_id"]]
        assert row["day"] > agent["created_at"].astimezone(UTC).date()
        assert agent["status"] == "active" or row["day"] < agent["updated_at"].astimezone(UTC).date()


def test_one_agent_fell_silent_two_weeks_ago_and_the_suspended_one_stopped() -> None:
    active: dict[str, set[date]] = {}
    for agent, starts_at, _ in generate_traffic(NOON):
        active.setdefault(agent.name, set()).add(starts_at.date())
    assert len(active) == 20
    # Every other agent works at least once per week, even if it works only on weekends.
    quiet = {name: (TODAY - max(days)).days for name, days in active.items()}
    assert {name: days for name, days in quiet.items() if days > 7} == {SILENT.name: 15, SUSPENDED.name: 26}


INSTANTS = [
    datetime(2026, 3, 1, 0, 30, tzinfo=UTC),  # a Sunday; 90 days reach into the year before
    datetime(2024, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC),  # behind a leap day
    datetime(2026, 5, 1, 2, 0, tzinfo=UTC),  # a holiday's night: batches run, customers sleep
    datetime(2026, 3, 31, 23, 59, tzinfo=UTC),
]


@pytest.mark.parametrize("at", INSTANTS, ids=str)
def test_shows_the_same_story_on_any_day_and_hour(at: datetime) -> None:
    traffic = list(generate_traffic(at))
    assert min(starts_at.date() for _, starts_at, _ in traffic) == at.date() - timedelta(days=DAYS - 1)
    assert max(starts_at for _, starts_at, _ in traffic) <= at
    this_month: Counter[str] = Counter()
    days: Counter[date] = Counter()
    for agent, starts_at, (tokens, *_) in traffic:
        days[starts_at.date()] += tokens
        if starts_at.date() >= at.date().replace(day=1):
            this_month[agent.name] += tokens
    assert this_month[UNCACHED.name] > 0.8 * this_month.total() > 0
    before_today = {day: days[day] for day in (at.date() - timedelta(days=n) for n in range(1, DAYS))}
    assert [is_weekend(day) for day, count in before_today.items() if count == 0] == [False]
    usual = median(count for day, count in before_today.items() if not is_weekend(day))
    [spike] = [day for day, count in before_today.items() if count > 2 * usual]
    assert not is_weekend(spike)
    assert spike < at.date().replace(day=1)


def test_nothing_is_counted_at_the_first_instant_of_a_day() -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    assert max(starts_at for _, starts_at, _ in generate_traffic(midnight)) == datetime(2026, 2, 28, 23, tzinfo=UTC)


def test_an_instant_makes_one_story_whatever_its_time_zone_and_new_secrets_each_time(
    made: Made, database_url: str, services: Services
) -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=14)))
    assert create_demo(database_url, services.database, elsewhere)
    another = stored(database_url)
    for table in ("usage_daily", "organizations"):
        assert another[table] == made.tables[table]
    for table, column in (("credentials", "secret_hash"), ("credentials", "credential_id"), ("agents", "agent_id")):
        values, other_values = ({row[column] for row in tables[table]} for tables in (made.tables, another))
        # A public credential has no secret.
        assert values & other_values <= {None}


def test_running_it_again_changes_nothing_and_needs_no_connection_of_the_operator(
    demo: Agent, database_url: str, services: Services
) -> None:
    before = stored(database_url)
    for url, later in ((database_url, 0), (database_url, 40), ("postgresql://nobody@/none?host=/nonexistent", 0)):
        assert create_demo(url, services.database, NOON + timedelta(days=later)) is False
    assert stored(database_url) == before
    # Further tokens are added to the counts.
    sums = usage_sums(database_url, ORGANIZATION_ID)
    demo.count(NOON, tokens=2)
    after = usage_sums(database_url, ORGANIZATION_ID)
    assert after == {name: count + (0 if "rejected" in name else 2) for name, count in sums.items()}


def test_touches_no_other_organization(cast: Cast, database_url: str, services: Services) -> None:
    other_ids = [cast.acme.organization_id, cast.outsider.organization_id]
    before = [stored(database_url, organization_id) for organization_id in other_ids]
    assert create_demo(database_url, services.database, NOON)
    assert [stored(database_url, organization_id) for organization_id in other_ids] == before
    counted = "select organization_id from agent_usage_daily union select organization_id from usage_daily"
    assert execute(database_url, counted) == [(ORGANIZATION_ID,)]


@contextmanager
def counters_locked(url: str) -> Iterator[Callable[[], int]]:
    """Lock the counters, and yield a function that returns the number of processes that wait for a lock."""
    waits = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with psycopg.connect(url) as holder:
        holder.execute("lock table usage_daily in exclusive mode")
        yield lambda: len(execute(url, waits))
        holder.rollback()


@WATCHES_THE_COORDINATOR
def test_of_two_at_once_one_makes_it_and_the_other_finds_it(database_url: str, services: Services) -> None:
    with ThreadPoolExecutor(2) as pool:
        with counters_locked(database_url) as waiting:
            results = [pool.submit(create_demo, database_url, services.database, NOON) for _ in range(2)]
            wait_until(lambda: waiting() == 2)
        assert sorted(future.result(timeout=PATIENCE) for future in results) == [False, True]
    assert len(stored(database_url)["agents"]) == 20


def command(url: str) -> dict[str, Any]:
    """Return the arguments of a process that runs ``agentidp demo`` on a database."""
    environment = clean_environment()
    return {
        "args": [sys.executable, "-m", "agentidp", "demo"],
        "env": environment | {"AGENTIDP_DATABASE_URL": url, "AGENTIDP_SECRET_KEY": SECRET_KEY},
        "cwd": ROOT,
    }


def test_leaves_nothing_when_it_is_killed_in_the_middle(database_url: str, services: Services) -> None:
    with counters_locked(database_url) as waiting, subprocess.Popen(**command(database_url)) as process:
        wait_until(lambda: waiting() == 1)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    assert create_demo(database_url, services.database, NOON) is True
    # The last day is the noon of the test, and not the time of the killed command.
    assert max(row["day"] for row in stored(database_url)["usage_daily"]) == TODAY


def test_the_command_says_what_it_made_or_found(database_url: str) -> None:
    organization = f"the demo organization {ORGANIZATION_ID}"
    for verdict in (f"Created {organization}.", f"Nothing was created, because {organization} exists already."):
        done = subprocess.run(**command(database_url), capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert (done.stdout, done.stderr) == (f"{verdict}\n", "")
