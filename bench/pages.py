"""``python -m bench.pages``: how long the dashboard's pages take, for an organization of 1,000 agents and 90 days.

One client asks for one page after the other, over the loopback. The findings have been evaluated before, as by
`agentidp watch`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.clock import utc_now
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from bench.database import Shape, facts, seed
from bench.requests import GRANT, TOKEN, basic, response
from bench.servers import cpu_seconds, free_ports, server, service_settings

AGENTS = 1_000
DAYS = 90
REQUESTS = 40
WARM_UP = 8
"""Requests before those that are measured, so that each thread of the service has had one."""


class Timing(NamedTuple):
    """Of one response: when its first and its last byte had arrived, in seconds, and how many bytes it had."""

    first: float
    last: float
    size: int


def ask(port: int, path: str, cookie: str) -> Timing:
    """Ask for a page, which must be a 200 and complete."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    begin = time.perf_counter()
    connection.request("GET", path, headers={"Cookie": cookie})
    received = connection.getresponse()
    first = time.perf_counter() - begin
    text = received.read()
    last = time.perf_counter() - begin
    connection.close()
    if received.status != 200 or not text.rstrip().endswith(b"</html>"):
        raise SystemExit(f"{path}: {received.status} {text[-300:]!r}")
    return Timing(first, last, len(text))


def measure(port: int, pages: dict[str, str], cookie: str, requests: int, processes: tuple[int, int]) -> None:
    """Print a line for each page.

    :param processes: the service and PostgreSQL, whose processor time is measured.
    """
    columns = ("KB", "first byte", "median", "p95", "Python", "PostgreSQL")
    print(f"{'milliseconds':<14}" + "".join(f"{column:>12}" for column in columns))
    for name, path in pages.items():
        for _ in range(WARM_UP):
            ask(port, path, cookie)
        before = [cpu_seconds(process) for process in processes]
        timings = [ask(port, path, cookie) for _ in range(requests)]
        used = [(cpu_seconds(process) - then) / requests for process, then in zip(processes, before, strict=True)]
        whole = [one.last for one in timings]
        seconds = (statistics.median(one.first for one in timings), statistics.median(whole), p95(whole), *used)
        figures = (timings[0].size / 1e6, *seconds)
        print(f"{name:<14}" + "".join(f"{figure * 1000:>12,.1f}" for figure in figures), flush=True)


def p95(times: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


def main() -> None:
    """Make the organization, evaluate its findings, and measure its pages."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="for each page")
    options = parser.parse_args()
    with temporary(durable=True) as postgres, tempfile.TemporaryDirectory() as directory:
        migrate(postgres.url)
        shape = Shape(agents=options.agents, others=0, days=DAYS)
        clients = seed(postgres.url, ec.generate_private_key(ec.SECP256R1()), shape)
        settings = service_settings(postgres.url)
        watch = [sys.executable, "-m", "agentidp", "watch", "--once"]
        subprocess.run(watch, env=os.environ | settings, check=True, stderr=subprocess.DEVNULL)
        print(facts(postgres.url, Path(directory)), flush=True)
        postmaster = int((postgres.home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        [port] = free_ports(1)
        with server(
            ["agentidp", "serve"], port=port, environment=settings, log=Path(directory) / "service.log"
        ) as service:
            _, body = response(port, "POST", TOKEN, basic(clients[0]), GRANT)
            # The page to sign in accepts a token of the API as well, and makes a session of it that is the token.
            cookie = f"agentidp_session={json.loads(body)['access_token']}"
            yesterday = utc_now().date() - timedelta(days=1)
            pages = {
                "overview": f"/dashboard?days={DAYS}",
                "agents": f"/dashboard/agents?days={DAYS}",
                "agent": f"/dashboard/agents/{clients[1][0]}?days={DAYS}",
                "day": f"/dashboard/days/{yesterday}",
            }
            measure(port, pages, cookie, options.requests, (service, postmaster))


if __name__ == "__main__":
    main()
