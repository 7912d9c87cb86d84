"""``python -m bench.fairness``: measure the tokens and reads of an organization while another one reads continuously.

An organization of 20,000 agents sends each read of the API, MCP and the dashboard by 16 connections. Meanwhile a second
organization requests tokens and reads its trend. The first line is the control, in which the connections read a trend.
With ``--organizations 2`` two such organizations read at the same time. It needs wrk.
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
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

from agentidp import create_app
from agentidp.config import Settings
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from agentidp.http.openapi import declarations_of, to_camel_case
from agentidp.scopes import SCOPES
from bench import wrk
from bench.database import Shape, describe_machine, seed
from bench.load import PATIENCE
from bench.requests import GRANT, TOKEN, TREND, basic, get, send
from bench.servers import free_ports, server, service_settings

CONNECTIONS = 16
CONTROL = "`GET /api/v1/analytics/tokens?days=90`"
COLUMNS = """\
| read by 16 connections | status | per second | token, p50 ms | p99 ms | to the control | neighbour's reads |
|---|---|---|---|---|---|---|"""


def build_reads(settings: Settings, bearer: str, agent_id: str) -> dict[str, bytes]:
    """Return the requests of all reading operations, tools and pages by name.

    :param bearer: a token of the organization that reads.
    :param agent_id: the agent for addresses that name an agent.
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
        if (tool := declarations_of(view).tool) is not None:
            ids = {to_camel_case(name): agent_id for name in rule.arguments}
            call = {"name": tool[0], "arguments": ids | query}
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
            head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            request = get("/api/v1/mcp", bearer).replace(b"GET ", b"POST ")
            reads[f"tool `{tool[0]}`"] = request.replace(b"\r\n\r\n", f"\r\n{head}\r\n{body}".encode())
    return reads


def _parameters(view: object) -> set[str]:
    schemas = [described["schema"] for described in declarations_of(view).parameters if "schema" in described]
    return {name for schema in schemas for name in getattr(schema, "fields", {})}


class Neighbour(threading.Thread):
    """A client of another organization, which requests tokens and reads its trend until it is stopped."""

    def __init__(self, port: int, client: tuple[str, str]) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.reads: Counter[int] = Counter()
        self._port, self._client, self._stopped = port, client, threading.Event()

    def run(self) -> None:
        """Send token requests, and a read after every tenth token."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        headers = {"Authorization": basic(self._client), "Content-Type": "application/x-www-form-urlencoded"}
        while not self._stopped.is_set():
            begin = time.perf_counter()
            connection.request("POST", TOKEN, GRANT, headers)
            bearer = json.loads(connection.getresponse().read())["access_token"]
            self.latencies.append(time.perf_counter() - begin)
            if len(self.latencies) % 10 == 1:
                connection.request("GET", TREND, headers={"Authorization": f"Bearer {bearer}"})
                response = connection.getresponse()
                response.read()
                self.reads[response.status] += 1
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


def read_status(port: int, request: bytes) -> str:
    """Return the status of the service's response to a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        return connection.recv(12, socket.MSG_WAITALL)[9:].decode()


def measure(port: int, requests: list[bytes], client: tuple[str, str], seconds: float) -> tuple[float, Neighbour]:
    """Load the service with :data:`CONNECTIONS` per request while a neighbour sends its own requests.

    :returns: responses per second to *requests*, and the neighbour, which has stopped.
    """
    neighbour = Neighbour(port, client)
    neighbour.start()

    with ThreadPoolExecutor(len(requests)) as pool:
        load = partial(wrk.run, port, connections=CONNECTIONS, seconds=seconds)
        rounds = pool.map(load, [iter([request]) for request in requests])
    neighbour.stop()
    return sum(result.rate for result in rounds), neighbour


def main() -> None:
    """Measure each read, and print a row of a table per read."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--agents", type=int, default=20_000)
    parser.add_argument(
        "--organizations", type=int, default=1, help="number of organizations that read at the same time"
    )
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument(
        "--only", action="append", help="the control, and the reads with this text in their name; repeatable"
    )
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
        print(describe_machine(postgres.url, Path(directory)), COLUMNS, sep="\n\n", flush=True)
        with server(["agentidp", "serve"], port=port, environment=environment, log=Path(directory) / "log"):
            bodies = [send(port, "POST", TOKEN, basic(agent), GRANT)[1] for agent in busy]
            reads = [
                build_reads(settings, json.loads(body)["access_token"], agent[0])
                for body, agent in zip(bodies, busy, strict=True)
            ]
            control = (0.0, 0.0)
            for name in reads[0]:
                if name == CONTROL or any(text in name for text in options.only or [""]):
                    rate, neighbour = measure(port, [read[name] for read in reads], client, options.seconds)
                    p50, p99 = neighbour.percentiles()
                    control = (p50, p99) if name == CONTROL else control
                    statuses = ", ".join(f"{count} of {code}" for code, count in sorted(neighbour.reads.items()))
                    ratios = f"{p50 / control[0]:.1f}, {p99 / control[1]:.1f}"
                    status = read_status(port, reads[0][name])
                    print(
                        f"| {name} | {status} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {ratios} | {statuses} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
