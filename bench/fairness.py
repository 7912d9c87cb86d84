"""``python -m bench.fairness``: what do tokens and reads cost beside an organization that reads as much as it can?

An organization of 20,000 agents sends each read of the API, of MCP and of the dashboard by 16 connections. Meanwhile a
second organization requests tokens and reads its trend. The first line is the control: 16 connections that read a
trend. With ``--organizations 2`` two such organizations read at the same time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

from agentidp import create_app
from agentidp.config import Settings
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from agentidp.http.openapi import camel_case, declared
from agentidp.scopes import SCOPES
from bench import load, wrk
from bench.database import Shape, facts, seed
from bench.requests import GRANT, TOKEN, TREND, basic, get, response
from bench.servers import free_ports, server, service_settings

CONNECTIONS = 16
CONTROL = "`GET /api/v1/analytics/tokens?days=90`"
COLUMNS = """\
| read by 16 connections | status | per second | token, p50 ms | p99 ms | to the control | neighbour's reads |
|---|---|---|---|---|---|---|"""


def reads_of(settings: Settings, bearer: str, agent_id: str) -> dict[str, bytes]:
    """Every read that a route offers, as the bytes of its request: operations, tools and pages.

    :param bearer: a token of the organization that reads.
    :param agent_id: one of its agents, for addresses that name one.
    """
    app = create_app(settings)
    reads = {CONTROL: get(f"{TREND}?days=90", bearer)}
    for rule in sorted(app.url_map.iter_rules(), key=str):
        view: Any = app.view_functions[rule.endpoint]
        path = rule.rule.replace("<uuid:agent_id>", agent_id).replace("<on_day>", time.strftime("%F", time.gmtime()))
        if "GET" not in (rule.methods or ()) or "<" in path or view.authentication in ("public", "client"):
            continue
        query = {"days": "90"} if "days" in _parameters(view) else {}
        address = f"{path}?{urlencode(query)}" if query else path
        cookie = f"Cookie: agentidp_session={bearer}\r\n" if path.startswith("/dashboard") else ""
        reads[f"`GET {rule.rule}{f'?{urlencode(query)}' if query else ''}`"] = get(address, bearer).replace(
            b"\r\n\r\n", f"\r\n{cookie}\r\n".encode()
        )
        if (tool := declared(view).tool) is not None:
            ids = {camel_case(name): agent_id for name in rule.arguments}
            call = {"name": tool[0], "arguments": ids | query}
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
            head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            request = get("/api/v1/mcp", bearer).replace(b"GET ", b"POST ")
            request = request.replace(b"\r\n\r\n", f"\r\n{head}\r\n".encode())
            reads[f"tool `{tool[0]}`"] = request + body.encode()
    return reads


def _parameters(view: object) -> set[str]:
    schemas = [described["schema"] for described in declared(view).parameters if "schema" in described]
    return {name for schema in schemas for name in getattr(schema, "fields", {})}


class Neighbour(threading.Thread):
    """A client of another organization, which requests tokens and reads its trend until it is stopped."""

    def __init__(self, port: int, client: tuple[str, str]) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.reads: Counter[int] = Counter()
        self._port, self._client, self._stopped = port, client, threading.Event()

    def run(self) -> None:
        """Send one request after the other; every tenth one is a read."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=load.PATIENCE)
        headers = {"Authorization": basic(self._client), "Content-Type": "application/x-www-form-urlencoded"}
        while not self._stopped.is_set():
            begin = time.perf_counter()
            connection.request("POST", TOKEN, GRANT, headers)
            bearer = json.loads(connection.getresponse().read())["access_token"]
            self.latencies.append(time.perf_counter() - begin)
            if len(self.latencies) % 10 == 1:
                connection.request("GET", TREND, headers={"Authorization": f"Bearer {bearer}"})
                answer = connection.getresponse()
                answer.read()
                self.reads[answer.status] += 1
            time.sleep(0.005)
        connection.close()

    def stop(self) -> None:
        """Wait for the last response."""
        self._stopped.set()
        self.join()

    def percentiles(self) -> tuple[float, float]:
        """Return the p50 and the p99 of the tokens in milliseconds."""
        percentiles = statistics.quantiles(self.latencies, n=100)
        return percentiles[49] * 1000, percentiles[98] * 1000


def status_of(port: int, request: bytes) -> str:
    """Return the status with which the service answers a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        return connection.recv(12, socket.MSG_WAITALL)[9:].decode()


def measure(port: int, requests: list[bytes], client: tuple[str, str], seconds: float) -> tuple[float, Neighbour]:
    """Load the service by :data:`CONNECTIONS` for each of *requests*, beside a neighbour.

    :returns: answered reads per second, and the neighbour, which has stopped.
    """
    neighbour = Neighbour(port, client)
    neighbour.start()

    def rate(request: bytes) -> float:
        try:
            return wrk.run(port, iter([request]), connections=CONNECTIONS, seconds=seconds).rate
        except load.LoadFailed:
            # No read ended in that time.
            return 0

    with ThreadPoolExecutor(len(requests)) as pool:
        total = sum(pool.map(rate, requests))
    neighbour.stop()
    return total, neighbour


def main() -> None:
    """Measure each read, and print a row of a table per read."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--agents", type=int, default=20_000)
    parser.add_argument("--organizations", type=int, default=1, help="how many organizations read at the same time")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="", help="the reads whose names contain this text, beside the control")
    options = parser.parse_args()
    key = ec.generate_private_key(ec.SECP256R1())
    with temporary(durable=True) as postgres, tempfile.TemporaryDirectory() as directory:
        migrate(postgres.url)
        # seed() makes one large organization per call.
        shapes = [Shape(agents=options.agents, others=0, days=31)] * options.organizations
        busy = [seed(postgres.url, key, shape)[0] for shape in shapes]
        with psycopg.connect(postgres.url) as connection:
            connection.execute(
                "update agents set scopes = %s where agent_id = any (%s)", ([*SCOPES], [agent[0] for agent in busy])
            )
        [client] = seed(postgres.url, key, Shape(agents=1, others=0))
        [port] = free_ports(1)
        environment = service_settings(postgres.url) | {"AGENTIDP_ISSUER": f"http://localhost:{port}"}
        settings = Settings.from_environment(os.environ | environment)
        print(facts(postgres.url, Path(directory)), COLUMNS, sep="\n\n", flush=True)
        with server(["agentidp", "serve"], port=port, environment=environment, log=Path(directory) / "log"):
            bodies = [response(port, "POST", TOKEN, basic(agent), GRANT)[1] for agent in busy]
            reads = [
                reads_of(settings, json.loads(body)["access_token"], agent[0])
                for body, agent in zip(bodies, busy, strict=True)
            ]
            control = (0.0, 0.0)
            for name in reads[0]:
                if name == CONTROL or options.only in name:
                    rate, neighbour = measure(port, [read[name] for read in reads], client, options.seconds)
                    p50, p99 = neighbour.percentiles()
                    control = (p50, p99) if name == CONTROL else control
                    own = ", ".join(f"{count} of {code}" for code, count in sorted(neighbour.reads.items()))
                    ratios = f"{p50 / control[0]:.1f}, {p99 / control[1]:.1f}"
                    status = status_of(port, reads[0][name])
                    print(f"| {name} | {status} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {ratios} | {own} |", flush=True)


if __name__ == "__main__":
    main()
