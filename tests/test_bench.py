"""The benchmark's own arithmetic, and the bounds of what it counts."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from agentidp.services import Services
from bench import best_python, growth, load, peer, wrk
from bench.calls import calls_by_case
from bench.case import Case, line
from tests.conftest import settings_for
from tests.factories import make_agent, make_organization

MAXIMUM_CALLS = {"token": 625, "trend": 665, "heatmap": 550, "agents": 560, "introspection": 590}
"""Functions that Python calls for a request, those in C included. Python 3.11 calls the most."""

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class TestPythonCalls:
    def test_stay_within_their_bounds(self, services: Services) -> None:
        agent = make_agent(services, make_organization(services))
        settings = settings_for(str(services.settings.database_url), pool_min_size=1)
        found = calls_by_case(settings, (agent.client_id, agent.client_secret))
        assert {name: round(number) for name, number in found.items() if number > MAXIMUM_CALLS[name]} == {}
        assert found.keys() == MAXIMUM_CALLS.keys()


@contextmanager
def serving(*, seconds: float, response: bytes = RESPONSE, received: list[bytes] | None = None) -> Iterator[int]:
    """A server that responds to one request at a time, each after *seconds*; yields its port.

    :param received: gets the requests.
    """
    turn = threading.Lock()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while request := connection.recv(65536):
                if received is not None:
                    received.append(request)
                with turn:
                    time.sleep(seconds)
                    connection.sendall(response)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


class TestLoad:
    @pytest.mark.parametrize(
        ("per_cent", "value"), [(0, 1), (1, 1), (50, 50), (50.1, 51), (99, 99), (99.9, 100), (100, 100)]
    )
    def test_a_percentile_is_the_nearest_rank(self, per_cent: float, value: int) -> None:
        assert load.percentile([float(number) for number in range(1, 101)], per_cent) == value

    def test_a_single_latency_is_every_percentile(self) -> None:
        assert load.Round.of([0.5], 2.0, 0.1).percentiles == {50: 0.5, 99: 0.5, 99.9: 0.5, 100: 0.5}
        assert load.Round.of([0.5, 0.1], 4.0, 0.1).rate == 0.5

    def test_a_closed_loop_waits_for_each_response(self) -> None:
        with serving(seconds=0.02) as port:
            result = load.run(port, itertools.repeat(REQUEST), connections=1, seconds=0.1)
        # What is sent before the end is awaited: five or six, fewer on a slow machine.
        assert 1 <= result.responses <= 6
        assert result.percentiles[50] >= 0.02

    def test_latency_at_a_constant_rate_counts_from_the_instant_at_which_a_request_was_due(self) -> None:
        """Ten requests are due within 50 ms, and served one after the other in 20 ms each: the last waits 150 ms."""
        with serving(seconds=0.02) as port:
            result = load.run_at_rate(port, itertools.repeat(REQUEST), rate=200, connections=1, seconds=0.05)
        assert result.responses == 10
        assert result.percentiles[100] >= 10 * 0.02 - 9 / 200
        assert result.elapsed >= 10 * 0.02

    def test_a_response_that_is_not_a_200_ends_the_run(self) -> None:
        with (
            serving(seconds=0, response=b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n") as port,
            pytest.raises(load.LoadFailed, match="503"),
        ):
            load.run_at_rate(port, itertools.repeat(REQUEST), rate=10, connections=1, seconds=0.1)


class TestWrk:
    @pytest.mark.slow
    def test_sends_the_requests_in_turn(self) -> None:
        requests = [f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for name in ("one", "another")]
        received: list[bytes] = []
        with serving(seconds=0.005, received=received) as port:
            found = wrk.run(port, iter(requests), connections=1, seconds=1)
        assert len(received) >= found.responses > 0
        # wrk calls for one request before it begins.
        assert received[:4] == requests[::-1] * 2
        assert 0.005 <= found.percentiles[50] <= found.percentiles[100]

    def test_its_summary_is_a_round(self) -> None:
        percentiles = {"50": 1000, "99": 2000, "99.9": 3000, "100": 4000}
        summary = {"responses": 500, "elapsed": 2_000_000, "failed": 0, "percentiles": percentiles}
        found = wrk.parsed(json.dumps(summary), 0.5)
        assert (found.rate, found.own_cpu) == (250, 0.5)
        assert found.percentiles == {50: 0.001, 99: 0.002, 99.9: 0.003, 100: 0.004}

    @pytest.mark.parametrize("summary", ["", '{"responses": 5, "failed": 1}', '{"responses": 0, "failed": 0}'])
    def test_a_run_that_failed_is_no_round(self, summary: str) -> None:
        with pytest.raises(load.LoadFailed):
            wrk.parsed(summary, 0)


class TestCase:
    def test_figures_are_medians_over_rounds_of_both(self) -> None:
        """The warm-up is a response like others, and in no figure; the two go first in turn."""
        order = []
        rates = {1: iter([1.0, 10.0, 30.0, 20.0]), 2: iter([1.0, 20.0, 100.0, 100.0])}

        def loaded(port: int, _: Iterator[bytes], seconds: float) -> load.Round:
            order.append((port, seconds))
            responses = int(next(rates[port]))
            return load.Round(responses, 1.0, 0.25, {50: responses / 1000, 99: responses / 100})

        case = Case("token", [REQUEST])
        processes = (1, 1, 1)
        assert case.measure(loaded, (1, 2), processes, Namespace(rounds=3, seconds=2)) == 61
        assert order[:4] == [(2, 1.0), (1, 1.0), (1, 2), (2, 2)]
        found = case.figures()
        assert (found["ratio"], found["min_ratio"], found["max_ratio"]) == (0.3, 0.2, 0.5)
        service = found["service"]
        assert (service["rate"], service["p50_ms"], service["p99_ms"], service["load_cpu"]) == (20, 20, 200, 0.25)
        assert line("token", found).split()[:4] == ["token", "20", "20.00", "200.00"]


class TestGrowth:
    def test_a_row_shows_milliseconds_and_their_multiple(self) -> None:
        row = growth.line("10,000 agents", {"token": 0.003, "trend": 0.001}, {"token": 0.002, "trend": 0.001})
        assert row.split() == ["10,000", "agents", "3.00", "(1.50)", "1.00", "(1.00)"]


class TestBestPython:
    def test_is_the_newest_of_the_optimized(self, monkeypatch: pytest.MonkeyPatch) -> None:
        optimized = {"/usr/bin/python3.12": "True\n", "/opt/python3.14": "False\n"}
        monkeypatch.setattr(best_python, "is_optimized", lambda path: optimized[path] == "True\n")
        paths = {"python3.12": "/usr/bin/python3.12", "python3.14": "/opt/python3.14"}
        monkeypatch.setattr("shutil.which", lambda name, path: paths.get(name))
        assert best_python.best_python() == "/usr/bin/python3.12"

    def test_is_none_if_none_is_optimized(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(best_python, "is_optimized", lambda _: False)
        assert best_python.best_python() is None


class TestPeer:
    def test_a_connection_string_becomes_the_variables_of_libpq(self) -> None:
        found = peer.libpq_environment("host=/run/socket user=ann dbname=peer application_name=x")
        assert found == {"PGHOST": "/run/socket", "PGUSER": "ann", "PGDATABASE": "peer"}
