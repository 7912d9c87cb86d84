"""``python -m bench``: measure the service beside a bare Flask route, print a table, and write the figures as JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.config import Settings
from agentidp.db.embedded_postgres import EmbeddedPostgresError, temporary
from agentidp.db.migrations import migrate
from agentidp.server.serve import gunicorn_config
from bench import best_python, latency, load, wrk
from bench.calls import REQUESTS, calls_by_case
from bench.case import Case, Load, header, line, usual_cases
from bench.database import (
    AGENTS,
    FEDERATED_RULE,
    TARGET,
    TOOLS,
    Shape,
    are_delegations_counted,
    counted,
    counted_since,
    facts,
    let_act,
    seed,
    set_quotas,
)
from bench.growth import measure_growth
from bench.peer import peer
from bench.requests import (
    AGENT_USAGE,
    GRANT,
    HEATMAP,
    INTROSPECT,
    TOKEN,
    TREND,
    basic,
    exchange_of,
    get,
    post,
    post_assertions,
    post_federated,
    response,
)
from bench.servers import ServerFailed, free_ports, memory, server, service_settings, workers
from bench.two_databases import compare_databases

FLOOR_WORKER = (
    *("--worker-class", "gthread", "--threads", "4"),
    *("--logger-class", "gunicorn.glogging.Logger", "--forwarded-allow-ips", ""),
)
"""The floor is served by gunicorn's own worker, with the settings of earlier versions, so that ratios compare."""

MAX_ASSERTIONS = 3000
"""Made for each second of the service's rounds, beforehand."""


class Bench:
    """One run: a database, the service on it, and what has been measured so far.

    The clients are 100 agents without quotas, one that is far from its three, one that has used up its quota, and one
    that acts for another one.

    :param stack: ends what the run starts.
    """

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self.options, self._stack = options, stack
        self.issued = self.under_way = 0
        self.figures: dict[str, Any] = {}
        self.postgres = stack.enter_context(temporary(durable=True))
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentidp-bench-")))
        self.key = ec.generate_private_key(ec.SECP256R1())
        migrate(self.postgres.url)
        *self.clients, self.far, self.used, self.subject, self.actor = seed(
            self.postgres.url, self.key, Shape(agents=AGENTS + 4)
        )
        set_quotas(self.postgres.url, self.far, self.used)
        let_act(self.postgres.url, self.subject, self.actor)
        self.postmaster = int((self.postgres.home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        self.before = counted(self.postgres.url)
        self.port, self.floor_port, self.stock_port, self.peer_port = free_ports(4)
        self.settings = service_settings(self.postgres.url)
        # Also of the server on stock parts, which gets the same tokens.
        self.settings["AGENTIDP_ISSUER"] = f"http://localhost:{self.port}"
        log = self.directory / "service.log"
        self.service = stack.enter_context(
            server(["agentidp", "serve"], port=self.port, environment=self.settings, log=log)
        )
        token = response(self.port, "POST", TOKEN, basic(self.clients[0]), GRANT)
        self.issued += 1
        self.bearer = json.loads(token[1])["access_token"]
        self.floor = self._start_floor(token)

    def _start_floor(self, token: tuple[str, str]) -> int:
        introspection = response(self.port, "POST", INTROSPECT, basic(self.clients[0]), f"token={self.bearer}")
        answers = {TOKEN: ("POST", *token), INTROSPECT: ("POST", *introspection)}
        for path in (TREND, HEATMAP, AGENT_USAGE):
            answers[path] = ("GET", *response(self.port, "GET", path, f"Bearer {self.bearer}"))
        (self.directory / "answers.json").write_text(json.dumps(answers))
        return self._stack.enter_context(
            server(
                ["gunicorn", "--config", str(gunicorn_config()), *FLOOR_WORKER, "bench.floor:app"],
                port=self.floor_port,
                environment={"BENCH_ANSWERS": str(self.directory / "answers.json"), **self.settings},
                log=self.directory / "floor.log",
            )
        )

    def cases(self) -> list[Case]:
        """The chosen cases."""
        federated = post_federated(self.clients[0][0], self.key, FEDERATED_RULE)
        by_assertion = [post(TOKEN, GRANT + "x" * 600)]
        cases = [
            *usual_cases(self.clients, self.bearer),
            Case("token, three quotas", [post(TOKEN, GRANT, self.far)], issues_tokens=True),
            Case("token, refused by a quota", [post(TOKEN, GRANT, self.used)], is_refused=True),
            Case("private_key_jwt", [], issues_tokens=True, once=True, other_requests=by_assertion),
            Case("token by exchange", [], issues_tokens=True, once=True, other_requests=by_assertion),
            Case("federated token", [federated], issues_tokens=True, other_requests=by_assertion),
        ]
        chosen = [case for case in cases if any(word in case.name for word in self.options.only or [""])]
        for case in chosen:
            if case.once:
                number = assertions_needed(self.options)
                issuer = f"http://localhost:{self.port}"
                client, grant = self.clients[0], GRANT
                if case.name == "token by exchange":
                    client, grant = self.actor, exchange_of(self._subject_token(), TARGET)
                case.upcoming = iter(post_assertions(client[0], self.key, issuer, number, grant)), case.upcoming[1]
        return chosen

    def _subject_token(self) -> str:
        """A token that the actor may exchange."""
        _, body = response(self.port, "POST", TOKEN, basic(self.subject), f"{GRANT}&resource={TOOLS}")
        self.issued += 1
        return str(json.loads(body)["access_token"])

    def count_calls(self) -> None:
        """The Python calls of a request."""
        settings = Settings.from_environment(os.environ | self.settings | {"AGENTIDP_POOL_MIN_SIZE": "1"})
        calls = self.figures["calls"] = calls_by_case(settings, self.clients[0])
        self.issued += REQUESTS + 1
        print("Python calls of a request: " + ", ".join(f"{name} {number:,.0f}" for name, number in calls.items()))

    def compare(self, other: str, port: int, process: int, cases: list[Case], *, is_ours: bool = False) -> None:
        """The cases beside *other*, which listens on *port*.

        :param is_ours: its tokens are counted in the same database.
        """
        print(f"\n{header(other)}")
        found = self.figures[other] = {}
        loader = loader_of(self.options)
        for case in cases:
            processes = (self.service, process, [self.postmaster])
            responses = case.measure(loader, (self.port, port), processes, self.options)
            if case.issues_tokens:
                self.issued += sum(responses if is_ours else responses[:1])
                self.under_way += sum(case.under_way if is_ours else case.under_way[:1])
            found[case.name] = case.figures()
            print(line(case.name, found[case.name]), flush=True)

    def compare_with_stock(self) -> None:
        """Trend and tokens, beside the same service on the stock parts of gunicorn and Flask."""
        log = self.directory / "stock.log"
        environment = self.settings | {"AGENTIDP_FAST_PATH": "off"}
        process = self._stack.enter_context(
            server(["agentidp", "serve"], port=self.stock_port, environment=environment, log=log)
        )
        wanted = self.options.only or ["trend, 30 days", "token, 100 agents"]
        usual = usual_cases(self.clients, self.bearer)
        cases = [case for case in usual if any(word in case.name for word in wanted)]
        self.compare("stock", self.stock_port, process, cases, is_ours=True)

    def compare_with_peer(self) -> None:
        """Tokens, beside the peer, which stores its own in the same PostgreSQL."""
        process = self._stack.enter_context(peer(self.postgres.url, self.peer_port, self.clients, self.directory))
        requests = [post(TOKEN, GRANT, client) for client in self.clients]
        self.compare("peer", self.peer_port, process, [Case("token, 100 agents", requests, issues_tokens=True)])

    def measure_latency(self) -> None:
        """Latencies of the cases "trend" and "token" at constant rates, and of tokens beside slow requests."""
        print(f"\nconstant rates, latency from the instant at which a request was due\n{latency.HEADER}")
        rows = self.figures["latency"] = []
        requests = {
            "trend": [get(f"{TREND}?days=30", self.bearer)],
            "token": [post(TOKEN, GRANT, client) for client in self.clients],
        }
        for name, measured in (("trend", "trend, 30 days"), ("token", "token, 100 agents")):
            if measured in self.figures["floor"]:
                rate = self.figures["floor"][measured]["service"]["rate"]
                found = latency.at_constant_rates(name, self.port, requests[name], rate, self.options.latency_seconds)
                rows += found
                if name == "token":
                    self.issued += sum(int(one["rate"] * self.options.latency_seconds) for one in found)
        beside, issued = latency.beside_slow_requests(
            self.port, self.postgres.url, self.clients, self.options.connections // 2 or 1, self.options.latency_seconds
        )
        self.issued += issued
        for row in [*rows, beside]:
            print(latency.line(row))
        rows.append(beside)

    def print_memory(self) -> None:
        """The memory of the workers."""
        for name, root in (("service", self.service), ("floor", self.floor)):
            sizes = [memory(worker) for worker in workers(root)]
            text = "; ".join(f"RSS {rss:.0f} MB, PSS {pss:.0f} MB" for rss, pss in sizes)
            print(f"memory of the {name}'s workers: {text}")

    def is_exact(self) -> bool:
        """Whether every token was counted exactly once."""
        is_exact, sentence = counted_since(self.postgres.url, self.before, self.issued, self.under_way)
        agree, delegations = are_delegations_counted(self.postgres.url)
        print(f"\n{sentence}; {delegations}")
        return is_exact and agree


def assertions_needed(options: argparse.Namespace) -> int:
    """How many requests that can be sent once the rounds and the warm-up take."""
    rounds: int = options.rounds + 1
    return rounds * wrk.MAX_REQUESTS if options.wrk else int(rounds * options.seconds * MAX_ASSERTIONS)


def loader_of(options: argparse.Namespace) -> Load:
    """A closed loop, by wrk if told so."""
    run = wrk.run if options.wrk else load.run
    return lambda port, upcoming, seconds: run(port, upcoming, connections=options.connections, seconds=seconds)


def write(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Write the figures as JSON, and say where."""
    options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"all figures: {options.json}")


def run(options: argparse.Namespace) -> bool:
    """Run the benchmark and print it; returns whether every token was counted exactly once."""
    if options.database or options.growth:
        measure = compare_databases if options.database else measure_growth
        exact, figures = measure(options, loader_of(options))
        write(options, figures)
        return exact
    with ExitStack() as stack:
        bench = Bench(options, stack)
        bench.figures["facts"] = facts(bench.postgres.url, bench.directory)
        print(bench.figures["facts"], flush=True)
        by = "wrk" if options.wrk else "Python"
        print(f"{options.connections} connections by {by}, {options.rounds} rounds of {options.seconds:g} s")
        bench.count_calls()
        bench.compare("floor", bench.floor_port, bench.floor, bench.cases())
        bench.compare_with_stock()
        if options.peer:
            bench.compare_with_peer()
        bench.measure_latency()
        exact = bench.is_exact()
        bench.print_memory()
        write(options, bench.figures)
        return exact


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="of a round (default: 2)")
    parser.add_argument("--rounds", type=int, default=8, help="of each server and case (default: 8)")
    parser.add_argument("--connections", type=int, default=16, help="kept busy (default: 16)")
    parser.add_argument("--only", action="append", metavar="CASE", help="cases with CASE in their name; repeatable")
    parser.add_argument("--quick", action="store_true", help="3 rounds of half a second: does it work at all")
    parser.add_argument("--latency-seconds", type=float, default=5, help="of a run at a constant rate (default: 5)")
    parser.add_argument("--wrk", action="store_true", help="load with wrk, in rounds of whole seconds")
    parser.add_argument("--peer", action="store_true", help="compare tokens with @node-oauth/oauth2-server; needs npm")
    parser.add_argument("--growth", action="store_true", help="compare a small database with grown ones instead")
    parser.add_argument(
        "--database", metavar="URL", help="compare this empty database, on Citus too, with local tables"
    )
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="file (default: build/bench.json)")
    parser.add_argument("--best-python", action="store_true", help="run under the newest fast Python of this machine")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.latency_seconds = 0.5, 3, 2
    if min(options.seconds, options.rounds, options.connections, options.latency_seconds) <= 0:
        parser.error("--seconds, --rounds, --connections and --latency-seconds must be greater than zero")
    for wanted, program in ((options.wrk, "wrk"), (options.peer, "npm")):
        if wanted and shutil.which(program) is None:
            parser.error(f"{program} is not installed")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    return options


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run, and say in one sentence what went wrong if something did."""
    if sys.platform != "linux":
        raise SystemExit("the benchmark reads /proc and needs Linux")
    options = arguments()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    try:
        if options.best_python:
            best_python.run_again_under_it()
        exact = run(options)
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None
    except (load.LoadFailed, ServerFailed, EmbeddedPostgresError, OSError) as error:
        raise SystemExit(f"the benchmark failed: {error}") from None
    if not exact:
        raise SystemExit("the counters do not agree with the tokens that were answered")


if __name__ == "__main__":
    main()
