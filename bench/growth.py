"""``python -m bench --growth``: does a request cost more with more organizations, agents or tokens?

It loads two databases of one PostgreSQL in turn, with a service on each: a small database and a grown database.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from agentidp.db.embedded_postgres import temporary
from agentidp.db.embedded_postgres.home import read_postmaster
from bench.case import Case, is_chosen, usual_cases
from bench.database import Shape, describe_machine
from bench.requests import get
from bench.service import Service, serve

MAX_SECONDS = 0.5
"""Maximum seconds per round. In many short rounds, other load on the machine affects both databases."""

SMALL = Shape(agents=10, others=0, agents_each=1, days=14)
"""One organization with about 10 thousand tokens."""

GROWN = {
    "10,000 organizations": Shape(agents=10, others=9_999, agents_each=1, days=14),
    "10,000 agents": Shape(agents=10_000, others=0, days=14),
    "1 billion tokens": Shape(agents=10, others=0, days=14, times=100_000),
}
"""Name -> the content of a grown database."""


def measure_growth(options: Namespace) -> tuple[bool, dict[str, Any]]:
    """Print and return the processor time per request in the small database and in each of the grown databases.

    :returns: whether every token was counted exactly once, and the figures.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentidp-bench-")))
        # Autovacuum's work would be charged to the requests of both. The databases are vacuumed when they are filled.
        postgres = stack.enter_context(temporary(durable=True, settings={"autovacuum": "off"}))
        postmaster = read_postmaster(postgres.home).pid
        figures: dict[str, Any] = {"facts": describe_machine(postgres.url, directory)}
        print(f"{figures['facts']}\nprocessor time of a request in µs, Python and PostgreSQL\n{HEADER}")
        small, is_exact = stack.enter_context(serve_new_database(postgres.url, directory / "small.log", SMALL)), True
        for name, shape in GROWN.items():
            with serve_new_database(postgres.url, directory / "grown.log", shape) as grown:
                figures[name] = {}
                for case in cases_of(small, grown):
                    if not is_chosen(case.name, options.only):
                        continue
                    responses = case.measure(
                        (small.port, grown.port),
                        (small.process, grown.process, postmaster),
                        Namespace(**vars(options) | {"seconds": min(options.seconds, MAX_SECONDS)}),
                    )
                    if case.issues_tokens:
                        small.tally.issued += responses[0]
                        grown.tally.issued += responses[1]
                    figures[name][case.name] = case.figures()
                    print(line(name, case.name, figures[name][case.name]), flush=True)
                is_exact &= grown.tally.is_exact(name)
        return small.tally.is_exact("small") and is_exact, figures


@contextlib.contextmanager
def serve_new_database(server_url: str, log: Path, shape: Shape) -> Iterator[Service]:
    """Fill a throw-away database of a PostgreSQL server and run the service on it."""
    name = f"agentidp_bench_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    with serve(urlsplit(server_url)._replace(path=f"/{name}").geturl(), shape, log) as service:
        yield service


def cases_of(small: Service, grown: Service) -> list[Case]:
    """Return the usual cases of one agent and a page of agents, with the requests of each database's own agents.

    The response of "agents" lists every agent that has tokens, so it grows with them.
    """
    cases, grown_cases = (
        [
            *usual_cases(service.clients[: SMALL.agents], service.bearer),
            Case("page of agents", [get("/api/v1/agents?limit=5", service.bearer)]),
        ]
        for service in (small, grown)
    )
    return [
        replace(case, other_requests=other.requests)
        for case, other in zip(cases, grown_cases, strict=True)
        if case.name != "token, 100 agents"
    ]


HEADER = f"{'grown to':<22}{'request':<30}{'small':>8}{'grown':>8}{'ratio':>7}"


def line(name: str, case: str, figures: dict[str, Any]) -> str:
    """Return a row of the table: the processor time per request in both databases, and the ratio."""
    small, grown = (figures[which]["cpu_us"] + figures[which]["postgres_us"] for which in ("service", "other"))
    # The kernel counts processor time in hundredths of a second: a round of few requests may have none.
    ratio = f"{grown / small:.2f}" if small else "-"
    return f"{name:<22}{case:<30}{small:>8.0f}{grown:>8.0f}{ratio:>7}"
