"""The benchmark's arithmetic, its check of the counters, and each of its modes."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agentidp.services import Services
from bench import growth, load, wrk
from bench.case import Case, line
from bench.servers import free_ports
from bench.service import COUNTERS, Tally
from tests.factories import NOON, count_usage, make_agent, make_organization

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


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
    def test_a_closed_loop_waits_for_each_response(self) -> None:
        with serving(seconds=0.02) as port:
            result = load.run(port, itertools.repeat(REQUEST), connections=1, seconds=0.1)
        # What is sent before the end is awaited: five or six, fewer on a slow machine.
        assert 1 <= result.responses <= 6
        assert 0.02 <= result.percentiles[50] <= result.percentiles[99]

    def test_a_response_that_is_not_a_200_ends_the_run(self) -> None:
        with (
            serving(seconds=0, response=b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n") as port,
            pytest.raises(load.LoadFailed, match="503"),
        ):
            load.run(port, itertools.repeat(REQUEST), connections=1, seconds=0.1)


def test_no_client_takes_the_port_of_a_server_that_starts() -> None:
    ports_of_clients = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    ports = free_ports(3)
    assert len(set(ports)) == 3
    assert max(ports) < int(ports_of_clients[0])


class TestWrk:
    @pytest.mark.program
    def test_sends_the_requests_in_turn_and_counts_responses_of_any_status(self) -> None:
        received: list[bytes] = []
        other = b"GET /other HTTP/1.1\r\n\r\n"
        refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        with serving(seconds=0.01, response=refusal, received=received) as port:
            result = wrk.run(port, iter([REQUEST, other]), connections=1, seconds=1)
        assert 0 < result.responses == result.refused <= result.elapsed / 0.01
        assert 0.01 <= result.percentiles[50] <= result.percentiles[99]
        # wrk does not wait for its last request.
        assert result.responses <= len(received) <= result.responses + 1
        # wrk skips the first request of its first turn.
        assert received[:3] == [other, REQUEST, other]

    @pytest.mark.program
    def test_a_round_may_be_too_short_for_a_response(self) -> None:
        with serving(seconds=3) as port:
            assert wrk.run(port, iter([REQUEST]), connections=1, seconds=1).responses == 0

    @pytest.mark.program
    def test_a_server_that_cannot_be_reached_fails_the_run(self) -> None:
        with pytest.raises(load.LoadFailed, match="unable to connect"):
            wrk.run(free_ports(1)[0], iter([REQUEST]), connections=1, seconds=1)


class TestCase:
    def test_figures_are_medians_over_rounds_of_both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The warm-up counts as responses but not in the figures. The order of the two servers alternates."""
        order = []
        rates = {1: iter([1.0, 10.0, 30.0, 20.0]), 2: iter([1.0, 20.0, 100.0, 100.0])}

        def run(port: int, _: Iterator[bytes], *, connections: int, seconds: float) -> load.Round:
            assert connections == 5
            order.append((port, seconds))
            responses = int(next(rates[port]))
            return load.Round(responses, 1.0, {50: responses / 1000, 99: responses / 100})

        monkeypatch.setattr(load, "run", run)
        case = Case("token", [REQUEST])
        assert case.measure((1, 2), (1, 1, 1), Namespace(rounds=3, seconds=2, connections=5, wrk=False)) == [61, 221]
        assert order[:4] == [(2, 1.0), (1, 1.0), (1, 2), (2, 2)]
        figures = case.figures()
        assert (figures["ratio"], figures["min_ratio"], figures["max_ratio"]) == (0.3, 0.2, 0.5)
        service = figures["service"]
        assert (service["rate"], service["p50_ms"], service["p99_ms"]) == (20, 20, 200)
        assert line("token", figures).split()[:4] == ["token", "20", "20.00", "200.00"]

    @pytest.mark.parametrize(
        ("is_refused", "refused", "responses"), [(True, 4, 5), (False, 1, 5), (True, 0, 5), (False, 0, 0)]
    )
    def test_what_must_be_refused_is_and_nothing_else_and_something_is_answered(
        self, monkeypatch: pytest.MonkeyPatch, is_refused: bool, refused: int, responses: int
    ) -> None:
        def run(port: int, *_: object, **__: object) -> load.Round:
            return load.Round(responses, 1.0, {}, refused if port == 1 else 0)

        monkeypatch.setattr(load, "run", run)
        case = Case("token", [REQUEST], is_refused=is_refused)
        with pytest.raises(load.LoadFailed, match=f"{refused} of {responses}"):
            case.measure((1, 2), (1, 1, 1), Namespace(rounds=1, seconds=1, connections=1, wrk=False))


class TestGrowth:
    @pytest.mark.parametrize("table", COUNTERS.values())
    def test_a_token_that_one_counter_lacks_is_noticed(self, services: Services, database_url: str, table: str) -> None:
        agent = make_agent(services, make_organization(services))
        tally = Tally(database_url)
        count_usage(services, agent.organization_id, agent.agent_id, NOON, tokens=3)
        for issued in (2, 4, 3):
            tally.issued = issued
            assert tally.is_exact("tokens") is (issued == 3)
        tally.issued, tally.unanswered = 2, 1
        assert tally.is_exact("tokens")
        with psycopg.connect(database_url) as connection:
            connection.execute(f"update {table} set tokens = tokens - 1".encode())
        assert not tally.is_exact("tokens")

    # A round may be too short for any processor time.
    @pytest.mark.parametrize(("own", "shown"), [(1000.0, ["1000", "1500", "1.50"]), (0.0, ["0", "1500", "-"])])
    def test_a_row_shows_microseconds_and_their_multiple(self, own: float, shown: list[str]) -> None:
        figures = {
            "service": {"cpu_us": 0.8 * own, "postgres_us": 0.2 * own},
            "other": {"cpu_us": 900.0, "postgres_us": 600.0},
        }
        assert growth.line("10,000 agents", "trend", figures).split() == ["10,000", "agents", "trend", *shown]


SMALL = """
import runpy
from dataclasses import replace
from functools import partial
from bench import database, growth
growth.GROWN = {"200 agents": replace(growth.SMALL, agents=200, times=2)}
database.Shape = partial(database.Shape, others=2, days=14)
runpy.run_module("bench", run_name="__main__")
"""
"""``python -m bench`` with databases that are small enough for a test."""


@pytest.mark.very_slow
class TestRun:
    """Each mode of ``python -m bench``, as short as it can be."""

    def run(self, written: Path, *options: str, seconds: float = 0.1) -> tuple[dict[str, Any], str]:
        """Return the figures, and the printed output."""
        times = ["--rounds", "1", "--seconds", str(seconds), "--json", str(written)]
        done = subprocess.run(
            [sys.executable, "-c", SMALL, *times, *options], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return json.loads(written.read_text()), done.stdout

    def test_measures_each_case(self, tmp_path: Path) -> None:
        figures, _ = self.run(tmp_path / "figures.json")
        tokens = ["token, 100 agents", "token, one agent", "token, three quotas", "token, refused by a quota"]
        reads = ["trend, 30 days", "heatmap, 90 days", "agents", "introspection"]
        further = ["private_key_jwt", "token from an exchange", "token by code", "federated token"]
        assert set(figures["floor"]) == {*reads, *tokens, *further}
        assert set(figures["stock"]) == {"trend, 30 days", "token, 100 agents"}

    @pytest.mark.program
    def test_compares_with_a_peer(self, tmp_path: Path) -> None:
        # In a tenth of a second on a busy machine, the peer may answer nothing.
        figures, _ = self.run(tmp_path / "figures.json", "--wrk", "--peer", "--only", "no case", seconds=1)
        assert (figures["floor"], list(figures["peer"])) == ({}, ["token, 100 agents"])

    def test_compares_with_a_grown_one(self, tmp_path: Path) -> None:
        cases = ["token, one agent", "page of agents"]
        options = [word for case in cases for word in ("--only", case)]
        figures, printed = self.run(tmp_path / "figures.json", "--growth", *options)
        assert list(figures["200 agents"]) == cases
        assert "200 agents: " in printed
