"""``python -m bench.serving``: how many workers and threads serve best? Alternates the ways on one database.

A way is started again for each of its rounds, so that no other one's processes and connections are there meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from bench import latency, load
from bench.database import facts, seed
from bench.requests import GRANT, TOKEN, TREND, basic, get, post, response
from bench.servers import cpu_seconds, free_ports, memory, server, service_settings, workers

COLUMNS = ("token/s", "p99 ms", "µs Python", "trend/s", "p99 ms", "µs Python", "beside slow, max ms", "PSS MB")


def measure(
    service: dict[str, str], clients: list[tuple[str, str]], way: tuple[int, int], seconds: float
) -> list[float]:
    """One round of a way to serve: a figure for each of the ``COLUMNS``.

    :param service: its settings.
    :param way: workers and threads.
    """
    [port] = free_ports(1)
    settings = service | {
        "WEB_CONCURRENCY": str(way[0]),
        "AGENTIDP_POOL_MAX_SIZE": str(max(way[1], 8)),
        "GUNICORN_CMD_ARGS": f"--threads {way[1]}",
    }
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "service.log"
        with server(["agentidp", "serve"], port=port, environment=settings, log=log) as process:
            _, body = response(port, "POST", TOKEN, basic(clients[0]), GRANT)
            trend = get(f"{TREND}?days=30", json.loads(body)["access_token"])
            for requests in ([post(TOKEN, GRANT, client) for client in clients[:-1]], [trend]):
                load.run(port, itertools.cycle(requests), connections=16, seconds=seconds / 2)
                begin = cpu_seconds(process)
                result = load.run(port, itertools.cycle(requests), connections=16, seconds=seconds)
                cpu = (cpu_seconds(process) - begin) / result.responses
                figures += [result.rate, result.percentiles[99] * 1000, cpu * 1e6]
            beside, _ = latency.beside_slow_requests(
                port, service["AGENTIDP_DATABASE_URL"], clients, 8, max(seconds, 2.0)
            )
            return [*figures, beside["max_ms"], sum(memory(worker)[1] for worker in workers(process))]


def main() -> None:
    """Measure each way in turn, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 4, 8, 12])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    ways = list(itertools.product(options.workers, options.threads))
    found: dict[tuple[int, int], list[list[float]]] = {way: [] for way in ways}
    with temporary(durable=True) as postgres, tempfile.TemporaryDirectory() as directory:
        migrate(postgres.url)
        clients = seed(postgres.url, ec.generate_private_key(ec.SECP256R1()))
        service = service_settings(postgres.url)
        print(facts(postgres.url, Path(directory)), flush=True)
        for number in range(options.rounds):
            # Forwards and backwards, so that a slow change of the machine affects all ways alike.
            for way in ways if number % 2 else reversed(ways):
                found[way].append(measure(service, clients, way, options.seconds))
    print(f"{'workers, threads':<18}" + "".join(f"{column:>21}" for column in COLUMNS))
    for way, rounds in found.items():
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        print(f"{f'{way[0]}, {way[1]}':<18}" + "".join(f"{median:>21,.1f}" for median in medians))


if __name__ == "__main__":
    main()
