"""Every token that a client received is counted once: under concurrency, beside failures, and when a worker dies."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import jwt
import pytest

from agentidp.counting import UNKNOWN_AGENT, UNKNOWN_ORGANIZATION
from agentidp.oauth.client_secret import hash_secret
from agentidp.registry.credentials import add_credential
from agentidp.registry.resource_servers import add_resource_server
from agentidp.scopes import SCOPES
from agentidp.services import Services
from tests.factories import (
    PATIENCE,
    Agent,
    Clock,
    Server,
    database_of,
    execute,
    make_agent,
    make_organization,
    wait_until,
)
from tests.helpers.load import API, FORM, THREADS, Load, assert_counted, token_request

pytestmark = pytest.mark.slow

TOKENS = 150
"""Number of tokens that each thread gets."""

RESOURCES = ("", API)


@pytest.fixture
def clock() -> Clock:
    """The clock of the test, which shows the real time like the server's clock."""
    return Clock(None)


def make_fleet(services: Services, organization_id: str, size: int) -> list[Agent]:
    """Create agents that may use our API and the other API in :data:`RESOURCES`."""
    with database_of(services, organization_id).transaction() as opened:
        add_resource_server(opened, services.settings, resource=API, name="api", scopes=["read"])
    return [make_agent(services, organization_id, f"agent {n}", [*SCOPES, "read"]) for n in range(size)]


def with_another_secret(fleet: Sequence[Agent]) -> list[Agent]:
    """Return the same agents, each with a further secret."""
    others = []
    for agent in fleet:
        with database_of(agent.services, agent.organization_id).transaction() as opened:
            _, client_secret = add_credential(opened, agent.agent_id, expires_at=None)
        assert client_secret is not None
        others.append(replace(agent, client_secret=client_secret))
    return others


def is_ours(token: str) -> bool:
    """Whether a token is for our own API."""
    return jwt.decode(token, options={"verify_signature": False})["aud"] != API


class Failures(threading.Thread):
    """Fails to authenticate until it is stopped, at most *most* times.

    Each time from another address of the loopback, so that what holds for an address does not end it.
    """

    def __init__(self, port: int, network: int, most: int, client_id: Callable[[int], str]) -> None:
        super().__init__()
        self.port, self.network, self.most, self.client_id = port, network, most, client_id
        self.answers: Counter[int] = Counter()
        self.enough = threading.Event()

    def run(self) -> None:
        for number in range(self.most):
            if self.enough.is_set():
                return
            address = f"127.{self.network}.{number // 200}.{number % 200 + 1}"
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=PATIENCE, source_address=(address, 0)
            )
            connection.request("POST", "/api/v1/token", FORM, token_request(self.client_id(number), "wrong"))
            response = connection.getresponse()
            response.read()
            self.answers[response.status] += 1
            connection.close()


def ask(server: Server, path: str, token: str) -> dict:
    answer: dict = json.loads(server.get(f"/api/v1/analytics/{path}", {"Authorization": f"Bearer {token}"}))
    return answer


def assert_attributed(url: str, organization_id: str) -> Counter[tuple[UUID, str, str]]:
    """On each day, in each slot and hour each agent's tokens are the sum of those of its credentials and resources.

    :returns: the tokens by agent, the digest of a credential's secret, and resource.
    """
    per_agent = (
        "select day, agent_id, slot, hour, sum(n)::bigint"
        " from {}, unnest(tokens_by_hour) with ordinality as h (n, hour)"
        " where organization_id = %s and n > 0 group by 1, 2, 3, 4 order by 1, 2, 3, 4"
    )
    by_agent, by_credential = (
        execute(url, per_agent.format(table), organization_id)
        for table in ("agent_usage_daily", "credential_usage_daily")
    )
    assert by_credential == by_agent
    rows = execute(
        url,
        "select usage.agent_id, encode(secret_hash, 'hex'), resource, sum(tokens)::bigint"
        " from credential_usage_daily as usage join credentials using (organization_id, credential_id)"
        " where organization_id = %s group by 1, 2, 3",
        organization_id,
    )
    return Counter({(agent_id, digest, resource): tokens for agent_id, digest, resource, tokens in rows})


def test_the_counters_equal_what_the_clients_received(server: Server, services: Services, database_url: str) -> None:
    organization_id = make_organization(services)
    outsider = make_agent(services, make_organization(services, "Outsider"))
    fleet = make_fleet(services, organization_id, 20)
    victims = [make_agent(services, organization_id, f"victim {number}") for number in range(50)]
    failures = [
        Failures(server.port, 1, 200, lambda number: victims[number % len(victims)].client_id),
        Failures(server.port, 2, 200, lambda number: str(uuid.UUID(int=number + 1))),
    ]
    for thread in failures:
        thread.start()
    one = Load(server.port, fleet[:1], TOKENS, RESOURCES).start().join()
    twenty = Load(server.port, fleet + with_another_secret(fleet[:3]), TOKENS, RESOURCES).start().join()
    for thread in failures:
        thread.enough.set()
        thread.join(PATIENCE)

    for load in (one, twenty):
        assert [len(received) for received in load.received] == [TOKENS] * THREADS
        assert sum(load.lost) == 0
        assert not load.refused
    received = [pair for load in (one, twenty) for part in load.received for pair in part]
    total = 2 * THREADS * TOKENS
    assert len({token for _, token in received}) == total
    wrong_secret, unknown_client = failures
    assert set(wrong_secret.answers) == set(unknown_client.answers) == {401}
    assert min(wrong_secret.answers[401], unknown_client.answers[401]) > 20

    rejected = wrong_secret.answers[401]
    assert_counted(database_url, organization_id, tokens=total, requests=total, rejected=rejected)
    token = next(token for _, token in reversed(received) if is_ours(token))
    assert sum(item["count"] for item in ask(server, "tokens?days=2", token)["data"]) == total
    usage = ask(server, "agents", token)
    counted = Counter(agent_id for agent_id, _ in received)
    rows = execute(
        database_url,
        "select to_char(day, 'YYYY-MM'), agent_id, sum(tokens)::bigint from agent_usage_daily"
        " where organization_id = %s group by 1, 2 having sum(tokens) > 0",
        organization_id,
    )
    by_agent: Counter[UUID] = Counter()
    for _, agent_id, tokens in rows:
        by_agent[agent_id] += tokens
    assert by_agent == counted
    # The run may have begun in another month.
    this_month = sorted(
        ((str(agent_id), tokens) for month, agent_id, tokens in rows if month == usage["month"]),
        key=lambda pair: (-pair[1], pair[0]),
    )
    assert [(item["agentId"], item["tokenCount"]) for item in usage["data"]] == this_month
    # 16 threads at once need more rows than one, and never more than one a slot.
    slots = (
        "select count(*), count(distinct slot) from usage_daily where organization_id = %s group by day order by day"
    )
    *_, (in_use, distinct) = execute(database_url, slots, organization_id)
    assert 1 < in_use == distinct <= 16
    # The trend and the summary were asked for before.
    assert sum(item["count"] for item in ask(server, "agents/activity", token)["data"]) == total + 2

    used = sum((part for load in (one, twenty) for part in load.used), Counter())
    assert len(used) == 23 * len(RESOURCES)
    assert assert_attributed(database_url, organization_id) == Counter(
        {(agent_id, hash_secret(secret).hex(), resource): n for (agent_id, secret, resource), n in used.items()}
    )

    assert_counted(database_url, UNKNOWN_ORGANIZATION, rejected=unknown_client.answers[401])
    unknown = "select day, agent_id, count(*) from agent_usage_daily where organization_id = %s group by 1, 2"
    for _, agent_id, rows_a_day in execute(database_url, unknown, UNKNOWN_ORGANIZATION):
        assert (agent_id, rows_a_day <= 16) == (UNKNOWN_AGENT, True)
    assert_counted(database_url, outsider.organization_id)


def test_a_killed_worker_loses_and_doubles_nothing_acknowledged(
    server: Server, services: Services, database_url: str
) -> None:
    organization_id = make_organization(services)
    # The last one only acts for another one.
    *fleet, actor = make_fleet(services, organization_id, 4)
    with database_of(services, organization_id).transaction() as opened:
        mine = {"resource": "https://actor.example", "name": "actor", "scopes": [], "agent_id": actor.agent_id}
        add_resource_server(opened, services.settings, **mine)
    exchanges = [(actor, fleet[0].token(audience="https://actor.example", issuer=server.url))] * 3
    load = Load(server.port, fleet + with_another_secret(fleet[:1]), 150, RESOURCES, exchanges).start()
    begin = datetime.now(UTC)
    killed: list[int] = []
    for threshold in (300, 700, 1100, 1500):
        wait_until(lambda threshold=threshold: load.acknowledged >= threshold)
        # A worker that was there before and is at work, each time another one.
        worker = next(pid for pid in server.workers() if pid not in killed)
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)
        wait_until(lambda: len(set(server.workers()) - set(killed)) == 2)
    load.join()
    assert [len(received) for received in load.received] == [150] * THREADS
    lost = sum(load.lost)
    assert lost > 0, "no request was in flight when the workers died"
    assert set(load.refused) <= {503}

    acknowledged = Counter(agent_id for part in load.received for agent_id, _ in part)
    # What a dead worker had sent is committed or rolled back when its connections are gone.
    at_work = (
        "select from pg_stat_activity"
        " where datname = current_database() and application_name = 'agentidp' and state <> 'idle'"
    )
    wait_until(lambda: not execute(database_url, at_work))
    tokens_of = "select agent_id, sum(tokens)::bigint from agent_usage_daily where organization_id = %s group by 1"
    counted = dict(execute(database_url, tokens_of, organization_id))
    [delegations] = execute(
        database_url,
        "select agent_id, subject_agent_id, resource, sum(tokens)::bigint from delegation_usage_daily"
        " where organization_id = %s group by 1, 2, 3",
        organization_id,
    )
    assert delegations == (actor.agent_id, fleet[0].agent_id, API, counted[actor.agent_id])
    assert acknowledged[actor.agent_id] > 0
    for agent_id, tokens in acknowledged.items():
        assert tokens <= counted[agent_id] <= tokens + lost
    total = sum(counted.values())
    assert load.acknowledged <= total <= load.acknowledged + lost
    assert_counted(database_url, organization_id, tokens=total, requests=total)
    by_use = assert_attributed(database_url, organization_id)
    assert sum(by_use.values()) == total
    used = sum(load.used, Counter())
    for (agent_id, secret, resource), tokens in used.items():
        assert tokens <= by_use[agent_id, hash_secret(secret).hex(), resource] <= tokens + lost
    token = next(token for part in load.received for _, token in part if is_ours(token))
    assert sum(item["count"] for item in ask(server, "tokens?days=2", token)["data"]) == total
    if begin.month == datetime.now(UTC).month:
        assert sum(item["tokenCount"] for item in ask(server, "agents", token)["data"]) == total
        assert sum(item["count"] for item in ask(server, "agents/activity", token)["data"]) == total + 2
