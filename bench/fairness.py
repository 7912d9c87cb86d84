"""``python -m bench.fairness``: measure the tokens and reads of an organization while another one reads continuously.

An organization of 20,000 agents sends each read of the API, MCP and the dashboard by 16 connections. Meanwhile a second
organization requests tokens and reads its trend. The first line is the control, in which the connections read a trend.
With ``--organizations 2`` two such organizations read at the same time. It needs wrk.
"""

from __future__ import annotations

import argparse
import contextlib
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

from agentidp import create_app
from agentidp.config import Settings
from agentidp.db.embedded_postgres import temporary
from agentidp.http.openapi import declarations_of, to_camel_case
from agentidp.scopes import SCOPES
from bench import wrk
from bench.case import is_chosen
from bench.database import Shape, describe_machine, seed
from bench.load import PATIENCE
from bench.requests import GRANT, TOKEN, TREND, basic, get
from bench.servers import service_settings
from bench.service import serve

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


def be_neighbour(port: int, client: tuple[str, str], stopped: threading.Event) -> tuple[list[float], Counter[int]]:
    """Request tokens of another organization, and read its trend after every tenth token, until *stopped* is set.

    :returns: the seconds per token, and the statuses of the reads.
    """
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"Authorization": basic(client), "Content-Type": "application/x-www-form-urlencoded"}
    with contextlib.closing(connection):
        while not stopped.wait(0.005):
            begin = time.perf_counter()
            connection.request("POST", TOKEN, GRANT, headers)
            bearer = json.loads(connection.getresponse().read())["access_token"]
            latencies.append(time.perf_counter() - begin)
            if len(latencies) % 10 == 1:
                connection.request("GET", TREND, headers={"Authorization": f"Bearer {bearer}"})
                response = connection.getresponse()
                response.read()
                statuses[response.status] += 1
    return latencies, statuses


def read_status(port: int, request: bytes) -> str:
    """Return the status of the service's response to a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        return connection.recv(12, socket.MSG_WAITALL)[9:].decode()


def measure(
    port: int, requests: list[bytes], client: tuple[str, str], seconds: float
) -> tuple[float, list[float], Counter[int]]:
    """Load the service with :data:`CONNECTIONS` per request while a neighbour sends its own requests.

    :returns: responses per second to *requests*, the seconds per token of the neighbour, and the statuses of its reads.
    """
    stopped, load = threading.Event(), partial(wrk.run, port, connections=CONNECTIONS, seconds=seconds)
    with ThreadPoolExecutor(1 + len(requests)) as pool:
        neighbour = pool.submit(be_neighbour, port, client, stopped)
        try:
            rate = sum(result.rate for result in pool.map(load, [iter([request]) for request in requests]))
        finally:
            stopped.set()
    return rate, *neighbour.result()


def main() -> None:
    """Measure each read, and print a row of a table per read."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--agents", type=int, default=20_000)
    parser.add_argument("--organizations", type=int, default=1, help="busy organizations (default: 1)")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument(
        "--only", action="append", help="the control, and the reads with this text in their name; repeatable"
    )
    options = parser.parse_args()
    with temporary(durable=True) as postgres, tempfile.TemporaryDirectory() as directory:
        shape = Shape(agents=options.agents, others=0, days=31)
        with serve(postgres.url, shape, Path(directory) / "log") as service:
            # seed() makes one large organization per call.
            more = [seed(postgres.url, service.key, shape)[0] for _ in range(1, options.organizations)]
            [client] = seed(postgres.url, service.key, Shape(agents=1, others=0))
            port, readers = service.port, [service.clients[0], *more]
            with psycopg.connect(postgres.url) as connection:
                agent_ids = [agent_id for agent_id, _ in readers]
                connection.execute("update agents set scopes = %s where agent_id = any(%s)", [[*SCOPES], agent_ids])
            print(describe_machine(postgres.url, Path(directory)), COLUMNS, sep="\n\n", flush=True)
            settings = Settings.from_environment(os.environ | service_settings(postgres.url) | {"PORT": str(port)})
            control = (0.0, 0.0)
            reads = [build_reads(settings, service.request_token(reader), reader[0]) for reader in readers]
            for name, request in reads[0].items():
                if name == CONTROL or is_chosen(name, options.only):
                    requests = [requests_by_name[name] for requests_by_name in reads]
                    rate, latencies, statuses = measure(port, requests, client, options.seconds)
                    percentiles = statistics.quantiles(latencies, n=100)
                    p50, p99 = percentiles[49] * 1000, percentiles[98] * 1000
                    control = (p50, p99) if name == CONTROL else control
                    neighbour_reads = ", ".join(f"{count} of {code}" for code, count in sorted(statuses.items()))
                    ratios = f"{p50 / control[0]:.1f}, {p99 / control[1]:.1f}"
                    columns = [name, read_status(port, request), f"{rate:,.0f}", f"{p50:.1f}", f"{p99:.1f}"]
                    print(f"| {' | '.join([*columns, ratios, neighbour_reads])} |", flush=True)


if __name__ == "__main__":
    main()
