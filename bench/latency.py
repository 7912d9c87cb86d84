"""Latency under a constant rate of requests, and beside requests that take a second each."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg.rows import dict_row

from bench import load
from bench.requests import GRANT, TOKEN, post

SHARES = (0.5, 0.8)
"""Of the rate that a closed loop reached in the same run."""

CONNECTIONS = 64
"""Requests that can be under way at a time at a constant rate."""

SLOW_REQUESTS = 4
SLOW_SECONDS = 1.0

_ROWS = """
insert into agent_usage_daily
    (
        organization_id, day, agent_id, slot, tokens, requests, rejected,
        tokens_by_hour, requests_by_hour, rejected_by_hour
    )
select organization_id, (now() at time zone 'UTC')::date + days, agent_id, slot, 0, 0, 0,
    count_nothing(), count_nothing(), count_nothing()
from agents
cross join generate_series(0, 1) as days
cross join generate_series(0, 15) as slot
where organization_id = %(organization)s and agent_id = %(agent)s
on conflict do nothing
"""
_LOCK = """
select from agent_usage_daily
where organization_id = %(organization)s and agent_id = %(agent)s and day >= (now() at time zone 'UTC')::date
for update
"""
"""Citus locks rows of one organization only."""


def at_constant_rates(name: str, port: int, requests: list[bytes], rate: float, seconds: float) -> list[dict[str, Any]]:
    """The latencies at each of the ``SHARES`` of *rate*."""
    found = []
    for share in SHARES:
        due = itertools.cycle(requests)
        result = load.run_at_rate(port, due, rate=rate * share, connections=CONNECTIONS, seconds=seconds)
        found.append({"case": f"{name}, {share:.0%}", "rate": rate * share, **milliseconds(result)})
    return found


def beside_slow_requests(
    port: int, url: str, clients: list[tuple[str, str]], connections: int, seconds: float
) -> tuple[dict[str, Any], int]:
    """The latencies of tokens while four further requests wait for a locked counter; and how many tokens were issued.

    The four are sent while the counter is locked, and the next four when all have their response. In a closed loop more
    would pass between two locks than wait for one.

    :param clients: the last one is the agent whose counters are locked.
    :raises LoadFailed: the slow requests were not slow, or a response was not a 200.
    """
    slow = itertools.repeat(post(TOKEN, GRANT, clients[-1]))
    fast = itertools.cycle([post(TOKEN, GRANT, client) for client in clients[:-1]])
    issued = 0
    with ThreadPoolExecutor(2) as pool:
        beside = pool.submit(load.run, port, fast, connections=connections, seconds=seconds)
        while not beside.done():
            with locked_counters(url, clients[-1][0]):
                waiting = pool.submit(load.run, port, slow, connections=SLOW_REQUESTS, seconds=0)
                time.sleep(SLOW_SECONDS)
                have_waited = not waiting.done()
            issued += waiting.result().responses
            if not have_waited:
                raise load.LoadFailed("the requests that should wait for a locked row did not wait")
        result = beside.result()
    return {
        "case": f"token beside {SLOW_REQUESTS} of {SLOW_SECONDS:g} s",
        "rate": result.rate,
        **milliseconds(result),
    }, issued + result.responses


@contextlib.contextmanager
def locked_counters(url: str, agent_id: str) -> Iterator[None]:
    """Lock an agent's counters of today, and of tomorrow if midnight is near, until the block ends."""
    with psycopg.connect(url, autocommit=True) as connection:
        client = "select organization_id as organization, client_id as agent from clients where client_id = %s"
        [known] = connection.cursor(row_factory=dict_row).execute(client, [agent_id]).fetchall()
        connection.execute(_ROWS, known)
        with connection.transaction():
            connection.execute(_LOCK, known)
            yield


def milliseconds(result: load.Round) -> dict[str, float]:
    """The percentiles of a round for the table and the JSON."""
    return {
        "p50_ms": result.percentiles[50] * 1000,
        "p99_ms": result.percentiles[99] * 1000,
        "p99_9_ms": result.percentiles[99.9] * 1000,
        "max_ms": result.percentiles[100] * 1000,
    }


HEADER = f"{'':<30}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>10}{'max ms':>9}"


def line(figures: dict[str, Any]) -> str:
    """A row of the table of latencies."""
    return (
        f"{figures['case']:<30}{figures['rate']:>11,.0f}{figures['p50_ms']:>9.2f}{figures['p99_ms']:>9.2f}"
        f"{figures['p99_9_ms']:>10.2f}{figures['max_ms']:>9.2f}"
    )
