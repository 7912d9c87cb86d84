"""``python -m bench --growth``: does a request cost more with more organizations, agents or tokens?

It loads two databases of one PostgreSQL in turn, with a service on each: a small database and a grown database.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import sql

from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from agentidp.registry.cursor import encode_cursor
from bench.case import Case, usual_cases
from bench.database import Shape, Tally, describe_machine, seed
from bench.requests import GRANT, TOKEN, basic, get, post, send
from bench.servers import free_ports, server, service_settings

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

PAGE = 5
"""Agents per page."""

BUSY_AGENT = "token, 100 agents beside one"


@dataclass
class Served:
    """The service on one database."""

    url: str
    port: int
    process: int
    clients: list[tuple[str, str]]
    bearer: str
    tally: Tally

    def is_exact(self, name: str) -> bool:
        """Print and return whether every token was counted exactly once."""
        is_exact, sentence = self.tally.is_exact()
        print(f"{name}: {sentence}")
        return is_exact


def measure_growth(options: Namespace) -> tuple[bool, dict[str, Any]]:
    """Print and return the processor time per request in the small database and in each of the grown databases.

    :returns: whether every token was counted exactly once, and the figures.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentidp-bench-")))
        # Autovacuum's work would be charged to the requests of both. The databases are vacuumed when they are filled.
        postgres = stack.enter_context(temporary(durable=True, settings={"autovacuum": "off"}))
        postmaster = int((postgres.home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        figures: dict[str, Any] = {"facts": describe_machine(postgres.url, directory)}
        print(f"{figures['facts']}\nprocessor time of a request in µs, Python and PostgreSQL\n{HEADER}")
        small = stack.enter_context(served(postgres.url, directory / "small.log", SMALL))
        exact = True
        for name, shape in GROWN.items():
            with served(postgres.url, directory / "grown.log", shape) as grown:
                cases = cases_of(small, grown) + (busy_agent(grown) if shape.agents > SMALL.agents else [])
                figures[name] = {}
                for case in cases:
                    if not any(word in case.name for word in options.only or [""]):
                        continue
                    first = grown if case.name == BUSY_AGENT else small
                    responses = case.measure(
                        (first.port, grown.port),
                        (first.process, grown.process, postmaster),
                        Namespace(**vars(options) | {"seconds": min(options.seconds, MAX_SECONDS)}),
                    )
                    if case.issues_tokens:
                        first.tally.issued += responses[0]
                        grown.tally.issued += responses[1]
                    figures[name][case.name] = case.figures()
                    print(line(name, case.name, figures[name][case.name]), flush=True)
                exact &= grown.is_exact(name)
        return exact & small.is_exact("small"), figures


@contextlib.contextmanager
def served(server_url: str, log: Path, shape: Shape) -> Iterator[Served]:
    """Fill a throw-away database of a PostgreSQL server and run the service on it."""
    name = f"agentidp_bench_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    migrate(url)
    clients = seed(url, ec.generate_private_key(ec.SECP256R1()), shape)
    tally = Tally(url)
    [port] = free_ports(1)
    with server(["agentidp", "serve"], port=port, environment=service_settings(url), log=log) as process:
        _, body = send(port, "POST", TOKEN, basic(clients[0]), GRANT)
        tally.issued += 1
        yield Served(url, port, process, clients, json.loads(body)["access_token"], tally)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def busy_agent(database: Served) -> list[Case]:
    """Return the case that compares one agent that gets all tokens with a hundred agents."""
    requests = [post(TOKEN, GRANT, client) for client in database.clients[:100]]
    return [Case(BUSY_AGENT, requests[:1], issues_tokens=True, other_requests=requests)]


def cases_of(small: Served, grown: Served) -> list[Case]:
    """Return the cases with the requests of each database's own agents.

    The response of "agents" lists every agent that has tokens, so it grows with them.
    """
    return [
        Case(case.name, case.requests, issues_tokens=case.issues_tokens, other_requests=other.requests)
        for case, other in zip(cases_of_database(small), cases_of_database(grown), strict=True)
    ]


def cases_of_database(database: Served) -> list[Case]:
    """Return the usual cases of one agent, and the first and the last page of agents."""
    cases = usual_cases(database.clients[: SMALL.agents], database.bearer)
    with psycopg.connect(database.url) as connection:
        [(created_at, agent_id)] = connection.execute(
            "select created_at, agent_id from agents"
            " where organization_id = (select organization_id from clients where client_id = %s)"
            " order by created_at desc, agent_id desc offset %s limit 1",
            [database.clients[0][0], PAGE],
        ).fetchall()
    pages = {"first": "", "last": f"&cursor={encode_cursor(created_at, agent_id)}"}
    for name, cursor in pages.items():
        cases.append(Case(f"{name} page of agents", [get(f"/api/v1/agents?limit={PAGE}{cursor}", database.bearer)]))
    return [case for case in cases if case.name != "token, 100 agents"]


HEADER = f"{'grown to':<22}{'request':<30}{'small':>8}{'grown':>8}{'ratio':>7}"


def line(name: str, case: str, figures: dict[str, Any]) -> str:
    """Return a row of the table: the processor time per request in both databases, and the ratio."""
    small, grown = (figures[which]["cpu_us"] + figures[which]["postgres_us"] for which in ("service", "other"))
    # The kernel counts processor time in hundredths of a second: a round of few requests may have none.
    ratio = f"{grown / small:.2f}" if small else "-"
    return f"{name:<22}{case:<30}{small:>8.0f}{grown:>8.0f}{ratio:>7}"
