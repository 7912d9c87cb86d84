"""``python -m bench``: compare the service with a bare Flask route, print tables, and write the figures as JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from agentidp.db.embedded_postgres import EmbeddedPostgresError, temporary
from agentidp.db.embedded_postgres.home import read_postmaster
from agentidp.server.serve import gunicorn_config
from bench import load
from bench.case import Case, header, is_chosen, line, usual_cases
from bench.database import FEDERATED_RULE, TARGET, TOOLS, Shape, add_codes, describe_machine, execute, set_quotas
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
    post,
    post_assertions,
    post_federated,
    send,
)
from bench.servers import ServerFailed, free_ports, server, service_settings
from bench.service import serve

ASSERTIONS_PER_SECOND = 3000
"""Number of assertions that are signed in advance per second of the service's rounds."""


class Bench:
    """One run of the benchmark: a database, the service on it, and the figures.

    The clients are 100 agents without quotas, one agent far from its three quotas, one agent that has used up its
    quota, and one agent that acts for another.

    :param stack: ends what the run starts.
    """

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self.options, self._stack = options, stack
        self.figures: dict[str, Any] = {}
        self.postgres = stack.enter_context(temporary(durable=True))
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentidp-bench-")))
        shape, log = Shape(agents=104), self.directory / "service.log"
        self.service = stack.enter_context(serve(self.postgres.url, shape, log))
        *self.clients, self.far, self.exhausted, self.subject, self.actor = self.service.clients
        set_quotas(self.postgres.url, self.far, self.exhausted)
        execute(self.postgres.url, "add_resource_servers", agent_id=self.actor[0], target=TARGET, tools=TOOLS)
        # The server on stock parts gets the same tokens, so both have one issuer.
        self.issuer = f"http://localhost:{self.service.port}"
        self.settings = service_settings(self.postgres.url) | {"AGENTIDP_ISSUER": self.issuer}

    def _start(self, name: str, arguments: list[str], environment: dict[str, str]) -> tuple[int, int]:
        """Start a server and return its port and its process id."""
        [port], log = free_ports(1), self.directory / f"{name}.log"
        settings = self.settings | environment
        return port, self._stack.enter_context(server(arguments, port=port, environment=settings, log=log))

    def compare_with_floor(self) -> None:
        """Compare with a bare Flask route."""
        port, client, bearer = self.service.port, self.clients[0], self.service.bearer
        self.service.tally.issued += 1
        bodies = {TOKEN: GRANT, INTROSPECT: f"token={bearer}"}
        answers = {path: ("POST", *send(port, "POST", path, basic(client), body)) for path, body in bodies.items()}
        for path in (TREND, HEATMAP, AGENT_USAGE):
            answers[path] = ("GET", *send(port, "GET", path, f"Bearer {bearer}"))
        (self.directory / "answers.json").write_text(json.dumps(answers))
        # The floor keeps gunicorn's own worker and the settings of earlier versions, so that ratios can be compared.
        worker = "--worker-class gthread --threads 4 --logger-class gunicorn.glogging.Logger --forwarded-allow-ips="
        command = ["gunicorn", "--config", str(gunicorn_config()), *worker.split(), "bench.floor:app"]
        floor = self._start("floor", command, {"BENCH_ANSWERS": str(self.directory / "answers.json")})
        self.compare("floor", *floor, self.cases())

    def cases(self) -> list[Case]:
        """Return the chosen cases."""
        federated = post_federated(self.clients[0][0], self.service.key, FEDERATED_RULE)
        cases = [
            *usual_cases(self.clients, self.service.bearer),
            Case("token, three quotas", [post(TOKEN, GRANT, self.far)], issues_tokens=True),
            Case("token, refused by a quota", [post(TOKEN, GRANT, self.exhausted)], is_refused=True),
            Case("federated token", [federated], issues_tokens=True),
        ]
        number = int((self.options.rounds + 1) * self.options.seconds * ASSERTIONS_PER_SECOND)
        forms_by_case: dict[str, tuple[tuple[str, str], Callable[[], list[str]]]] = {
            "private_key_jwt": (self.clients[0], lambda: [GRANT] * number),
            "token from an exchange": (self.actor, lambda: [self._exchange()] * number),
            "token by code": (self.actor, lambda: add_codes(self.postgres.url, self.actor, number)),
        }
        for name, (client, make_forms) in forms_by_case.items():
            if is_chosen(name, self.options.only):
                requests = post_assertions(client[0], self.service.key, self.issuer, make_forms())
                cases.append(Case(name, requests, issues_tokens=True, once=True))
        return [case for case in cases if is_chosen(case.name, self.options.only)]

    def _exchange(self) -> str:
        """Return the form by which the actor exchanges a token of the subject."""
        return exchange_of(self.service.request_token(self.subject, f"&resource={TOOLS}"), TARGET)

    def compare(self, other: str, port: int, process: int, cases: list[Case], *, is_ours: bool = False) -> None:
        """Measure the cases on the service and on the server *other* at *port*, and print them.

        :param is_ours: whether the tokens of *other* are counted in the same database.
        """
        print(f"\n{header(other)}")
        figures, tally = self.figures.setdefault(other, {}), self.service.tally
        for case in cases:
            processes = (self.service.process, process, read_postmaster(self.postgres.home).pid)
            responses = case.measure((self.service.port, port), processes, self.options)
            if case.issues_tokens:
                tally.issued += sum(responses if is_ours else responses[:1])
                if self.options.wrk:
                    tally.unanswered += self.options.connections * (self.options.rounds + 1) * (1 + is_ours)
            figures[case.name] = case.figures()
            print(line(case.name, figures[case.name]), flush=True)

    def compare_with_stock(self) -> None:
        """Compare with the same service on the stock parts of gunicorn and Flask."""
        stock = self._start("stock", ["agentidp", "serve"], {"AGENTIDP_FAST_PATH": "off"})
        names = self.options.only or ["trend, 30 days", "token, 100 agents"]
        cases = [case for case in usual_cases(self.clients, self.service.bearer) if is_chosen(case.name, names)]
        self.compare("stock", *stock, cases, is_ours=True)

    def compare_with_peer(self) -> None:
        """Compare tokens with the peer, which stores its tokens in the same PostgreSQL."""
        [port] = free_ports(1)
        process = self._stack.enter_context(peer(self.postgres.url, port, self.directory))
        requests = [post(TOKEN, GRANT, client) for client in self.clients]
        self.compare("peer", port, process, [Case("token, 100 agents", requests, issues_tokens=True)])


def run(options: argparse.Namespace) -> tuple[bool, dict[str, Any]]:
    """Run and print the comparison with the floor, and return whether every token was counted once, and the figures."""
    with ExitStack() as stack:
        bench = Bench(options, stack)
        bench.figures["facts"] = describe_machine(bench.postgres.url, bench.directory)
        print(bench.figures["facts"], flush=True)
        generator = "wrk" if options.wrk else "Python"
        print(f"{options.connections} connections by {generator}, {options.rounds} rounds of {options.seconds:g} s")
        bench.compare_with_floor()
        bench.compare_with_stock()
        if options.peer:
            bench.compare_with_peer()
        return bench.service.tally.is_exact("\ntokens"), bench.figures


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="seconds per round (default: 2)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds per server and case (default: 8)")
    parser.add_argument("--connections", type=int, default=16, help="busy connections (default: 16)")
    parser.add_argument("--only", action="append", metavar="CASE", help="cases with CASE in their name; repeatable")
    parser.add_argument("--wrk", action="store_true", help="load with wrk where requests may repeat, in whole seconds")
    parser.add_argument("--peer", action="store_true", help="compare tokens with @node-oauth/oauth2-server; needs npm")
    parser.add_argument("--growth", action="store_true", help="compare a small database with grown databases instead")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="file (default: build/bench.json)")
    options = parser.parse_args()
    if min(options.seconds, options.rounds, options.connections) <= 0:
        parser.error("--seconds, --rounds and --connections must be greater than zero")
    for is_needed, program in ((options.wrk, "wrk"), (options.peer, "npm")):
        if is_needed and shutil.which(program) is None:
            parser.error(f"{program} is not installed")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    return options


def main() -> None:
    """Run the benchmark, or end with a sentence that says what failed."""
    if sys.platform != "linux":
        raise SystemExit("the benchmark reads /proc and needs Linux")
    options = arguments()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)
    try:
        exact, figures = measure_growth(options) if options.growth else run(options)
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print(f"all figures: {options.json}")
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None
    except (load.LoadFailed, ServerFailed, EmbeddedPostgresError, OSError) as error:
        raise SystemExit(f"the benchmark failed: {error}") from None
    if not exact:
        raise SystemExit("the counters do not agree with the tokens that were answered")


if __name__ == "__main__":
    main()
