"""``python -m bench``: start both servers, load them in turn, print what came out."""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import os
import platform
import re
import secrets
import signal
import statistics
import sys
import sysconfig
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import jwt
import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.config import Settings
from agentidp.db.embedded_postgres import EmbeddedPostgresError, temporary
from agentidp.db.migrations import migrate
from agentidp.jose.jwk import public_jwk
from agentidp.oauth.client_secret import hash_secret, new_secret
from agentidp.server.serve import gunicorn_config
from bench import load
from bench.calls import REQUESTS, calls_by_case
from bench.servers import ServerFailed, cpu_seconds, free_ports, memory, server, workers

AGENTS = 100
WARM_UP = 0.5
"""Of a round's seconds; warm-up rounds are counted as tokens, and not in the figures."""

TREND = "/api/v1/analytics/tokens"
HEATMAP = "/api/v1/analytics/agents/activity"
AGENT_USAGE = "/api/v1/analytics/agents"
TOKEN = "/api/v1/token"  # noqa: S105 - a path
INTROSPECT = "/api/v1/token/introspect"
GRANT = "grant_type=client_credentials"
MOST_ASSERTIONS = 3000
"""Made for each second of the service's rounds, beforehand."""


@dataclass
class Case:
    """Something to measure: the requests, and the rounds of the service and of the floor.

    The requests are sent in turn and then again, so there must be enough of those that are good once.
    """

    name: str
    requests: list[bytes]
    issues_tokens: bool = False
    service: list[load.Round] = field(default_factory=list)
    floor: list[load.Round] = field(default_factory=list)
    service_cpu: float = 0.0
    postgres_cpu: float = 0.0
    floor_cpu: float = 0.0

    def __post_init__(self) -> None:
        self.upcoming = {target: itertools.cycle(self.requests) for target in ("service", "floor")}


def get(path: str, bearer: str) -> bytes:
    """The bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\n\r\n".encode()


def post(path: str, body: str, client: tuple[str, str] | None = None) -> bytes:
    """The bytes of a POST of a form, with ``client_secret_basic`` where there is a *client*."""
    basic = base64.b64encode(":".join(client).encode()).decode() if client else ""
    authorization = f"Authorization: Basic {basic}\r\n" if client else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def post_assertions(client_id: str, key: ec.EllipticCurvePrivateKey, issuer: str, number: int) -> list[bytes]:
    """Token requests with ``private_key_jwt``, each with a ``jti`` of its own."""
    claims = {"iss": client_id, "sub": client_id, "aud": issuer, "exp": int(time.time()) + 3000}
    form = (
        "grant_type=client_credentials"
        "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion="
    )
    return [
        post(TOKEN, form + jwt.encode(claims | {"jti": str(jti)}, key, "ES256", headers={"kid": "bench"}))
        for jti in range(number)
    ]


def answer(port: int, method: str, path: str, authorization: str, body: str | None = None) -> tuple[str, str]:
    """Content type and body of one answer, which must be a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"Authorization": authorization, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise load.LoadFailed(f"{method} {path} answered {response.status}: {text[:500]}")
        return response.headers["Content-Type"], text
    finally:
        connection.close()


def seed(url: str, key: ec.EllipticCurvePrivateKey) -> list[tuple[str, str]]:
    """Fill the database; returns client_id and client_secret of the large organization's agents.

    :param key: of the first of them.
    """
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    client_secrets = [new_secret() for _ in range(AGENTS)]
    statement = (Path(__file__).parent / "seed.sql").read_text(encoding="utf-8")
    parameters = {
        "large": f"org-{uuid.uuid4()}",
        "secret_hashes": [hash_secret(secret) for secret in client_secrets],
        "jwks": json.dumps([public_jwk(jwk | {"kid": "bench"})]),
    }
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(statement, parameters).fetchall()
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    return [(str(agent_id), client_secrets[number - 1]) for agent_id, number in rows]


def counted(url: str) -> tuple[int, int]:
    """The tokens that the organizations' and the agents' counters hold."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select sum(tokens)::bigint, (select sum(tokens) from agent_usage_daily)::bigint from usage_daily"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def sync_time(directory: Path) -> float:
    """Seconds that one write of 8 kB takes to be on the disk below *directory*: what a commit waits for."""
    times = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(100):
            begin = time.perf_counter()
            file.write(b"x" * 8192)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure(case: Case, ports: dict[str, int], processes: tuple[int, int, int], options: Any) -> int:
    """Run the rounds of *case*, service and floor in turn; returns the number of the service's answers.

    :param ports: of the service and the floor.
    :param processes: the process ids of the service, the floor and PostgreSQL.
    """
    answers = 0
    for number in range(options.rounds + 1):
        # Which goes first alternates as well, so that neither always runs on what the other leaves behind.
        for target in ("service", "floor") if number % 2 else ("floor", "service"):
            seconds = options.seconds if number else options.seconds * WARM_UP
            begin = [cpu_seconds(process) for process in processes]
            result = load.run(ports[target], case.upcoming[target], connections=options.connections, seconds=seconds)
            cpu = [cpu_seconds(process) - at_begin for process, at_begin in zip(processes, begin, strict=True)]
            if target == "service":
                answers += len(result.latencies)
            if number and target == "service":
                case.service.append(result)
                case.service_cpu += cpu[0]
                case.postgres_cpu += cpu[2]
            elif number:
                case.floor.append(result)
                case.floor_cpu += cpu[1]
    return answers


HEADER = (
    f"{'':<18}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'floor/s':>9}{'p50 ms':>9}{'p99 ms':>9}"
    f"{'ratio':>7}{'least':>7}{'most':>6}{'µs Python':>11}{'µs PostgreSQL':>15}"
    f"{'µs floor':>10}{'load CPU':>10}"
)


def line(case: Case) -> str:
    """A case's row of the table."""
    ratios = [service.rate / floor.rate for service, floor in zip(case.service, case.floor, strict=True)]
    text = f"{case.name:<18}"
    for rounds, widths in ((case.service, (11, 9, 9)), (case.floor, (9, 9, 9))):
        latencies = sorted(latency for one in rounds for latency in one.latencies)
        text += f"{statistics.median(one.rate for one in rounds):>{widths[0]},.0f}"
        text += f"{latencies[len(latencies) // 2] * 1000:>{widths[1]}.2f}"
        text += f"{latencies[len(latencies) * 99 // 100] * 1000:>{widths[2]}.2f}"
    answers = sum(len(one.latencies) for one in case.service)
    load_cpu = [
        sum(one.own_cpu for one in rounds) / sum(one.elapsed for one in rounds) for rounds in (case.service, case.floor)
    ]
    text += f"{statistics.median(ratios):>7.2f}{min(ratios):>7.2f}{max(ratios):>6.2f}"
    text += f"{case.service_cpu / answers * 1e6:>11.0f}{case.postgres_cpu / answers * 1e6:>15.0f}"
    text += f"{case.floor_cpu / sum(len(one.latencies) for one in case.floor) * 1e6:>10.0f}"
    return text + f"{load_cpu[0]:>6.0%}{load_cpu[1]:>4.0%}"


def is_optimized() -> bool:
    """Whether this Python was built with profile-guided optimization: without, it is about a third slower."""
    return "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")


def facts(url: str, home: Path) -> str:
    """What the figures depend on."""
    with psycopg.connect(url) as connection:
        postgresql = connection.info.parameter_status("server_version")
    models = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    cpu = models[0] if models else platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("Flask", "gunicorn", "psycopg", "PyJWT"))
    return (
        f"{time.strftime('%F %R', time.gmtime())} UTC, {len(os.sched_getaffinity(0))} cores ({cpu}), "
        f"load {os.getloadavg()[0]:.1f}\n"
        f"Python {platform.python_version()} built {'with' if is_optimized() else 'without'} optimization, "
        f"PostgreSQL {postgresql} with fsync "
        f"(8 kB on the disk in {sync_time(home) * 1000:.2f} ms), {packages}"
    )


def run(options: argparse.Namespace) -> bool:
    """Run the benchmark and print it; returns whether every token was counted exactly once."""
    with ExitStack() as stack:
        postgres = stack.enter_context(temporary(durable=True))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentidp-bench-")))
        print(facts(postgres.url, directory), flush=True)
        migrate(postgres.url)
        key = ec.generate_private_key(ec.SECP256R1())
        clients = seed(postgres.url, key)
        postmaster = int((postgres.home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        before = counted(postgres.url)
        ports = dict(zip(("service", "floor"), free_ports(2), strict=True))
        port = ports["service"]
        settings = {"AGENTIDP_DATABASE_URL": postgres.url, "AGENTIDP_SECRET_KEY": secrets.token_urlsafe(48)}
        service = stack.enter_context(
            server(["agentidp", "serve"], port=port, environment=settings, log=directory / "service.log")
        )

        basic = "Basic " + base64.b64encode(":".join(clients[0]).encode()).decode()
        token = answer(port, "POST", TOKEN, basic, "grant_type=client_credentials")
        issued = 1
        bearer = json.loads(token[1])["access_token"]
        introspection = f"token={bearer}"
        answers = {
            TOKEN: ("POST", *token),
            INTROSPECT: ("POST", *answer(port, "POST", INTROSPECT, basic, introspection)),
        }
        for path in (TREND, HEATMAP, AGENT_USAGE):
            answers[path] = ("GET", *answer(port, "GET", path, f"Bearer {bearer}"))
        (directory / "answers.json").write_text(json.dumps(answers))
        floor = stack.enter_context(
            server(
                ["gunicorn", "--config", str(gunicorn_config()), "bench.floor:app"],
                port=ports["floor"],
                environment={"BENCH_ANSWERS": str(directory / "answers.json"), **settings},
                log=directory / "floor.log",
            )
        )

        in_process = Settings.from_environment(os.environ | settings | {"AGENTIDP_POOL_MIN_SIZE": "1"})
        calls = calls_by_case(in_process, clients[0])
        issued += REQUESTS + 1
        print("Python calls of a request: " + ", ".join(f"{name} {number:,.0f}" for name, number in calls.items()))

        cases = [
            Case("trend, 30 days", [get(f"{TREND}?days=30", bearer)]),
            Case("heatmap, 90 days", [get(HEATMAP, bearer)]),
            Case("agents", [get(AGENT_USAGE, bearer)]),
            Case("token, 100 agents", [post(TOKEN, GRANT, client) for client in clients], issues_tokens=True),
            Case("token, one agent", [post(TOKEN, GRANT, clients[0])], issues_tokens=True),
            Case("introspection", [post(INTROSPECT, introspection, clients[1])]),
            Case("private_key_jwt", [b""], issues_tokens=True),
        ]
        wanted = options.only or [""]
        chosen = [case for case in cases if any(word in case.name for word in wanted)]
        for case in chosen:
            if case.name == "private_key_jwt":
                issuer = f"http://localhost:{port}"
                most = int((options.rounds + 1) * options.seconds * MOST_ASSERTIONS)
                case.upcoming["service"] = iter(post_assertions(clients[0][0], key, issuer, most))
                case.upcoming["floor"] = itertools.cycle([post(TOKEN, GRANT + "x" * 600)])
        print(f"{options.connections} connections, {options.rounds} rounds of {options.seconds:g} s\n\n{HEADER}")
        for case in chosen:
            answered = measure(case, ports, (service, floor, postmaster), options)
            issued += answered if case.issues_tokens else 0
            print(line(case), flush=True)

        after = counted(postgres.url)
        grown = tuple(a - b for a, b in zip(after, before, strict=True))
        print(f"\ntokens: {issued:,} answered, {grown[0]:,} counted by organization, {grown[1]:,} by agent")
        for name, root in (("service", service), ("floor", floor)):
            sizes = [memory(worker) for worker in workers(root)]
            text = "; ".join(f"RSS {rss:.0f} MB, PSS {pss:.0f} MB" for rss, pss in sizes)
            print(f"memory of the {name}'s workers: {text}")
        return grown == (issued, issued)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="of a round (default: 2)")
    parser.add_argument("--rounds", type=int, default=8, help="of each server and case (default: 8)")
    parser.add_argument("--connections", type=int, default=16, help="kept busy (default: 16)")
    parser.add_argument("--only", action="append", metavar="CASE", help="cases with CASE in their name; repeatable")
    parser.add_argument("--quick", action="store_true", help="3 rounds of half a second: does it work at all")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 0.5, 3
    if options.seconds <= 0 or options.rounds < 1 or options.connections < 1:
        parser.error("--seconds, --rounds and --connections must be greater than zero")
    return options


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run, and say in one sentence what went wrong where something did."""
    if sys.platform != "linux":
        raise SystemExit("the benchmark reads /proc and needs Linux")
    options = arguments()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    try:
        exact = run(options)
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None
    except (load.LoadFailed, ServerFailed, EmbeddedPostgresError, OSError) as error:
        raise SystemExit(f"the benchmark failed: {error}") from None
    if not exact:
        raise SystemExit("the counters do not agree with the tokens that were answered")


if __name__ == "__main__":
    main()
