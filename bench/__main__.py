"""``python -m bench``: compare the service with a bare Flask route, print tables, and write the figures as JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.db.embedded_postgres import EmbeddedPostgresError, temporary
from agentidp.db.migrations import migrate
from agentidp.server.serve import gunicorn_config
from bench import load
from bench.case import Case, header, line, usual_cases
from bench.database import (
    AGENTS,
    FEDERATED_RULE,
    TARGET,
    TOOLS,
    Shape,
    Tally,
    add_codes,
    allow_exchange,
    are_delegations_counted,
    describe_machine,
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
    post,
    post_assertions,
    post_federated,
    send,
)
from bench.servers import ServerFailed, free_ports, server, service_settings

FLOOR_WORKER = (
    *("--worker-class", "gthread", "--threads", "4"),
    *("--logger-class", "gunicorn.glogging.Logger", "--forwarded-allow-ips", ""),
)
"""The floor keeps gunicorn's own worker and the settings of earlier versions, so that ratios can be compared."""

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
        self.key = ec.generate_private_key(ec.SECP256R1())
        migrate(self.postgres.url)
        clients = seed(self.postgres.url, self.key, Shape(agents=AGENTS + 4))
        *self.clients, self.far, self.exhausted, self.subject, self.actor = clients
        set_quotas(self.postgres.url, self.far, self.exhausted)
        allow_exchange(self.postgres.url, self.subject, self.actor)
        self.postmaster = int((self.postgres.home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        self.tally = Tally(self.postgres.url)
        self.port, self.floor_port, self.stock_port, self.peer_port = free_ports(4)
        self.issuer = f"http://localhost:{self.port}"
        # The server on stock parts gets the same tokens, so both have one issuer.
        self.settings = service_settings(self.postgres.url) | {"AGENTIDP_ISSUER": self.issuer}
        self.service = self._start("service", ["agentidp", "serve"], self.port, self.settings)
        token = send(self.port, "POST", TOKEN, basic(self.clients[0]), GRANT)
        self.tally.issued += 1
        self.bearer = json.loads(token[1])["access_token"]
        self.floor = self._start_floor(token)

    def _start(self, name: str, arguments: list[str], port: int, environment: dict[str, str]) -> int:
        log = self.directory / f"{name}.log"
        return self._stack.enter_context(server(arguments, port=port, environment=environment, log=log))

    def _start_floor(self, token: tuple[str, str]) -> int:
        introspection = send(self.port, "POST", INTROSPECT, basic(self.clients[0]), f"token={self.bearer}")
        answers = {TOKEN: ("POST", *token), INTROSPECT: ("POST", *introspection)}
        for path in (TREND, HEATMAP, AGENT_USAGE):
            answers[path] = ("GET", *send(self.port, "GET", path, f"Bearer {self.bearer}"))
        (self.directory / "answers.json").write_text(json.dumps(answers))
        return self._start(
            "floor",
            ["gunicorn", "--config", str(gunicorn_config()), *FLOOR_WORKER, "bench.floor:app"],
            self.floor_port,
            {"BENCH_ANSWERS": str(self.directory / "answers.json"), **self.settings},
        )

    def cases(self) -> list[Case]:
        """Return the chosen cases."""
        federated = post_federated(self.clients[0][0], self.key, FEDERATED_RULE)
        floor_requests = [post(TOKEN, GRANT + "x" * 600)]
        cases = [
            *usual_cases(self.clients, self.bearer),
            Case("token, three quotas", [post(TOKEN, GRANT, self.far)], issues_tokens=True),
            Case("token, refused by a quota", [post(TOKEN, GRANT, self.exhausted)], is_refused=True),
            Case("private_key_jwt", [], issues_tokens=True, once=True, other_requests=floor_requests),
            Case("token by exchange", [], issues_tokens=True, once=True, other_requests=floor_requests),
            Case("token by code", [], issues_tokens=True, once=True, other_requests=floor_requests),
            Case("federated token", [federated], issues_tokens=True, other_requests=floor_requests),
        ]
        chosen = [case for case in cases if is_chosen(case, self.options)]
        for case in chosen:
            if case.once:
                number = int((self.options.rounds + 1) * self.options.seconds * ASSERTIONS_PER_SECOND)
                client, forms = self.clients[0], [GRANT] * number
                if case.name == "token by exchange":
                    client, forms = self.actor, [exchange_of(self._subject_token(), TARGET)] * number
                elif case.name == "token by code":
                    client, forms = self.actor, add_codes(self.postgres.url, self.actor, number)
                case.upcoming = iter(post_assertions(client[0], self.key, self.issuer, forms)), case.upcoming[1]
        return chosen

    def _subject_token(self) -> str:
        """Return a token that the actor may exchange."""
        _, body = send(self.port, "POST", TOKEN, basic(self.subject), f"{GRANT}&resource={TOOLS}")
        self.tally.issued += 1
        return str(json.loads(body)["access_token"])

    def compare(self, other: str, port: int, process: int, cases: list[Case], *, is_ours: bool = False) -> None:
        """Measure the cases on the service and on the server *other* at *port*, and print them.

        :param is_ours: whether the tokens of *other* are counted in the same database.
        """
        print(f"\n{header(other)}")
        self.figures[other] = {}
        for case in cases:
            processes = (self.service, process, self.postmaster)
            responses = case.measure((self.port, port), processes, self.options)
            if case.issues_tokens:
                self.tally.issued += sum(responses if is_ours else responses[:1])
                if self.options.wrk:
                    self.tally.unanswered += self.options.connections * (self.options.rounds + 1) * (1 + is_ours)
            self.figures[other][case.name] = case.figures()
            print(line(case.name, self.figures[other][case.name]), flush=True)

    def compare_with_stock(self) -> None:
        """Compare with the same service on the stock parts of gunicorn and Flask."""
        environment = self.settings | {"AGENTIDP_FAST_PATH": "off"}
        process = self._start("stock", ["agentidp", "serve"], self.stock_port, environment)
        names = self.options.only or ["trend, 30 days", "token, 100 agents"]
        cases = [case for case in usual_cases(self.clients, self.bearer) if any(name in case.name for name in names)]
        self.compare("stock", self.stock_port, process, cases, is_ours=True)

    def compare_with_peer(self) -> None:
        """Compare tokens with the peer, which stores its tokens in the same PostgreSQL."""
        process = self._stack.enter_context(peer(self.postgres.url, self.peer_port, self.clients, self.directory))
        requests = [post(TOKEN, GRANT, client) for client in self.clients]
        self.compare("peer", self.peer_port, process, [Case("token, 100 agents", requests, issues_tokens=True)])

    def is_exact(self) -> bool:
        """Print and return whether every token was counted exactly once."""
        is_exact, sentence = self.tally.is_exact()
        are_exact, delegations = are_delegations_counted(self.postgres.url)
        print(f"\n{sentence}; {delegations}")
        return is_exact and are_exact


def is_chosen(case: Case, options: argparse.Namespace) -> bool:
    """Return whether the options choose a case."""
    return any(word in case.name for word in options.only or [""])


def run(options: argparse.Namespace) -> tuple[bool, dict[str, Any]]:
    """Run and print the comparison with the floor, and return whether every token was counted once, and the figures."""
    with ExitStack() as stack:
        bench = Bench(options, stack)
        bench.figures["facts"] = describe_machine(bench.postgres.url, bench.directory)
        print(bench.figures["facts"], flush=True)
        generator = "wrk" if options.wrk else "Python"
        print(f"{options.connections} connections by {generator}, {options.rounds} rounds of {options.seconds:g} s")
        bench.compare("floor", bench.floor_port, bench.floor, bench.cases())
        bench.compare_with_stock()
        if options.peer:
            bench.compare_with_peer()
        return bench.is_exact(), bench.figures


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="seconds per round (default: 2)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds per server and case (default: 8)")
    parser.add_argument("--connections", type=int, default=16, help="busy connections (default: 16)")
    parser.add_argument("--only", action="append", metavar="CASE", help="cases with CASE in their name; repeatable")
    parser.add_argument("--quick", action="store_true", help="3 rounds of half a second, to see that it works")
    parser.add_argument("--wrk", action="store_true", help="load with wrk where requests may repeat, in whole seconds")
    parser.add_argument("--peer", action="store_true", help="compare tokens with @node-oauth/oauth2-server; needs npm")
    parser.add_argument("--growth", action="store_true", help="compare a small database with grown databases instead")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="file (default: build/bench.json)")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 0.5, 3
    if min(options.seconds, options.rounds, options.connections) <= 0:
        parser.error("--seconds, --rounds and --connections must be greater than zero")
    for is_needed, program in ((options.wrk, "wrk"), (options.peer, "npm")):
        if is_needed and shutil.which(program) is None:
            parser.error(f"{program} is not installed")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    return options


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the benchmark, or end with a sentence that says what failed."""
    if sys.platform != "linux":
        raise SystemExit("the benchmark reads /proc and needs Linux")
    options = arguments()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
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
