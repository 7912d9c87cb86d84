"""``python -m bench --database URL``: the service on a given database, beside the same service on local tables."""

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

from agentidp.db.distribution import distribute
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from bench.case import Case, Load, header, line, usual_cases
from bench.database import USUAL, Shape, counted, counted_since, facts, seed
from bench.requests import GRANT, TOKEN, basic, response
from bench.servers import ServerFailed, free_ports, server, service_settings

_POSTMASTER = "split_part(pg_read_file('postmaster.pid'), E'\\n', 1)"


@dataclass
class Served:
    """The service on one database.

    :param process: its process id.
    :param before: the tokens that were counted before the first request.
    """

    url: str
    port: int
    process: int
    clients: list[tuple[str, str]]
    bearer: str
    before: list[int]
    issued: int = 1
    under_way: int = 0

    def note(self, case: Case, which: int, responses: list[int]) -> None:
        """Note what a case has issued here.

        :param which: 0 if this was the case's service, and 1 if it was the other one.
        """
        if case.issues_tokens:
            self.issued += responses[which]
            self.under_way += case.under_way[which]

    def is_exact(self, name: str) -> bool:
        """Whether every token was counted exactly once."""
        is_exact, sentence = counted_since(self.url, self.before, self.issued, self.under_way)
        print(f"{name}: {sentence}")
        return is_exact


def compare_databases(options: Namespace, load: Load) -> tuple[bool, dict[str, Any]]:
    """Run the cases on both databases in turn and print them.

    :param options: ``database`` is the URL of an empty database, as a superuser. It stays filled.
    :returns: whether every token was counted exactly once on both, and the figures.
    :raises ServerFailed: the database is not empty, or its role is no superuser.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentidp-bench-")))
        has_citus = _check(options.database)
        given = stack.enter_context(served(options.database, directory / "given.log", is_distributed=has_citus))
        beside = stack.enter_context(database_beside(options.database) if has_citus else _own_database())
        local = stack.enter_context(served(beside, directory / "local.log", is_distributed=False))
        postmasters = postmasters_here(options.database)
        figures: dict[str, Any] = {"facts": facts(options.database, directory), "local": {}}
        kind = "distributed by Citus" if has_citus else "the given one"
        where = "of the same server" if has_citus else "of the benchmark's own PostgreSQL"
        print(f"{figures['facts']}\nservice: the database {kind}; local: local tables {where}\n{header('local')}")
        for case in both(usual_cases(given.clients, given.bearer), usual_cases(local.clients, local.bearer), options):
            processes = (given.process, local.process, postmasters)
            answered = case.measure(load, (given.port, local.port), processes, options)
            given.note(case, 0, answered)
            local.note(case, 1, answered)
            found = figures["local"][case.name] = case.figures()
            print(line(case.name, found) + _processor_time(found), flush=True)
        return all([given.is_exact("given"), local.is_exact("local")]), figures


def both(given: list[Case], local: list[Case], options: Namespace) -> list[Case]:
    """The chosen cases: the requests of each database's own agents."""
    return [
        Case(one.name, one.requests, issues_tokens=one.issues_tokens, other_requests=other.requests)
        for one, other in zip(given, local, strict=True)
        if any(word in one.name for word in options.only or [""])
    ]


def _processor_time(figures: dict[str, Any]) -> str:
    """Of PostgreSQL for a request; nothing if its servers are on other machines."""
    given, workers = figures["service"]["postgres_us"], figures["service"]["workers_us"]
    local = figures["other"]["postgres_us"]
    if not local:
        return ""
    parts = f" (coordinator {given - workers:.0f}, workers {workers:.0f})" if workers else ""
    return f"  PostgreSQL {given:.0f} µs{parts}, local {local:.0f} µs: {given / local:.2f} times"


@contextlib.contextmanager
def served(url: str, log: Path, *, is_distributed: bool, shape: Shape = USUAL) -> Iterator[Served]:
    """Migrate and fill an empty database, distribute its tables if told so, and run the service on it."""
    migrate(url)
    clients = seed(url, ec.generate_private_key(ec.SECP256R1()), shape)
    if is_distributed:
        list(distribute(url))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("vacuum analyze")
    before = counted(url)
    [port] = free_ports(1)
    with server(["agentidp", "serve"], port=port, environment=service_settings(url), log=log) as process:
        _, body = response(port, "POST", TOKEN, basic(clients[0]), GRANT)
        yield Served(url, port, process, clients, json.loads(body)["access_token"], before)


def _check(url: str) -> bool:
    """Whether the database has Citus."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select current_setting('is_superuser') = 'on', to_regclass('organizations') is null,"
            " exists (select from pg_extension where extname = 'citus')"
        ).fetchone()
    assert row is not None
    is_superuser, is_empty, has_citus = row
    if not is_superuser:
        raise ServerFailed("--database must name a superuser, because tables with row-level security are filled")
    if not is_empty:
        raise ServerFailed("--database must name an empty database: this one has tables of AgentIdP")
    return bool(has_citus)


@contextlib.contextmanager
def database_beside(url: str) -> Iterator[str]:
    """A throw-away database without Citus on the same server."""
    name = f"agentidp_bench_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextlib.contextmanager
def _own_database() -> Iterator[str]:
    with temporary(durable=True) as postgres:
        yield postgres.url


def postmasters_here(url: str) -> list[int]:
    """The process ids of the database's servers, then of Citus's workers, if they run on this machine."""
    with psycopg.connect(url) as connection:
        [(is_here, has_citus)] = connection.execute(
            "select coalesce(inet_server_addr() << '127.0.0.0/8' or inet_server_addr() = '::1', true),"
            " exists (select from pg_extension where extname = 'citus')"
        ).fetchall()
        if not is_here:
            return []
        found = connection.execute(f"select {_POSTMASTER}").fetchall()
        if has_citus:
            found += connection.execute(
                "select result from run_command_on_workers(%s)", [f"select {_POSTMASTER}"]
            ).fetchall()
    return [int(process) for (process,) in found]
