"""``python -m bench --growth``: does a request cost more with more organizations, agents or tokens?

Two databases of one PostgreSQL, a service on each, loaded in turn: a small one, and one in which one thing is more.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from agentidp.db.embedded_postgres import temporary
from agentidp.registry.cursor import encode_cursor
from bench.case import Case, Load, usual_cases
from bench.database import Shape, facts
from bench.requests import GRANT, TOKEN, get, post
from bench.two_databases import Served, both, database_beside, served

SECONDS = 0.5
"""Of a round: many short ones in turn, so that other load on the machine affects both."""

SMALL = Shape(agents=10, others=0, agents_each=1, days=14)
"""One organization with about 10 thousand tokens."""

GROWN = {
    "10,000 organizations": Shape(agents=10, others=9_999, agents_each=1, days=14),
    "10,000 agents": Shape(agents=10_000, others=0, days=14),
    "1 billion tokens": Shape(agents=10, others=0, days=14, times=100_000),
}
"""What is more -> all that is in the database."""

PAGE = 5
"""Agents of a page."""


def measure_growth(options: Namespace, load: Load) -> tuple[bool, dict[str, Any]]:
    """Print and return the processor time of each request, in the small database and in each of the grown ones.

    :returns: whether every token was counted exactly once, and the figures.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentidp-bench-")))
        # Autovacuum's work would be charged to the requests of both. The databases are vacuumed when they are filled.
        postgres = stack.enter_context(temporary(durable=True, settings={"autovacuum": "off"}))
        postmaster = int((postgres.home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        figures: dict[str, Any] = {"facts": facts(postgres.url, directory)}
        print(f"{figures['facts']}\nprocessor time of a request in µs, Python and PostgreSQL\n{HEADER}")
        small_url = stack.enter_context(database_beside(postgres.url))
        small = stack.enter_context(served(small_url, directory / "small.log", is_distributed=False, shape=SMALL))
        exact = True
        for name, shape in GROWN.items():
            with (
                database_beside(postgres.url) as url,
                served(url, directory / "grown.log", is_distributed=False, shape=shape) as grown,
            ):
                compared = both(cases_of(small), cases_of(grown), options)
                if shape.agents > SMALL.agents:
                    compared += [
                        case for case in hot_agent(grown) if any(word in case.name for word in options.only or [""])
                    ]
                figures[name] = {}
                for case in compared:
                    first = grown if case.name == HOT else small
                    one = case.measure(
                        load,
                        (first.port, grown.port),
                        (first.process, grown.process, [postmaster]),
                        Namespace(rounds=options.rounds, seconds=min(options.seconds, SECONDS)),
                    )
                    first.note(case, 0, one)
                    grown.note(case, 1, one)
                    figures[name][case.name] = case.figures()
                    print(line(name, case.name, figures[name][case.name]), flush=True)
                exact &= grown.is_exact(name)
        return exact & small.is_exact("small"), figures


HOT = "token, 100 agents beside one"


def hot_agent(database: Served) -> list[Case]:
    """One agent that gets all tokens, beside a hundred."""
    one, *_ = database.clients
    hundred = [post(TOKEN, GRANT, client) for client in database.clients[:100]]
    return [Case(HOT, [post(TOKEN, GRANT, one)], issues_tokens=True, other_requests=hundred)]


def cases_of(database: Served) -> list[Case]:
    """What is compared. "agents" lists each agent that has tokens, so its response grows with them."""
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
    """A row of the table: what a request takes in both, and how many times the small one's that is."""
    small, grown = (figures[which]["cpu_us"] + figures[which]["postgres_us"] for which in ("service", "other"))
    # The kernel counts processor time in hundredths of a second: a round of few requests may have none.
    ratio = f"{grown / small:.2f}" if small else "-"
    return f"{name:<22}{case:<30}{small:>8.0f}{grown:>8.0f}{ratio:>7}"
