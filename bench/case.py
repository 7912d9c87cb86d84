"""A case that is measured on the service and on another server, and its row of the table."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass, field
from typing import Any

from bench import load, wrk
from bench.load import LoadFailed, Round
from bench.requests import AGENT_USAGE, GRANT, HEATMAP, INTROSPECT, TOKEN, TREND, get, post
from bench.servers import cpu_seconds

WARM_UP = 0.5
"""Share of a round's seconds for the warm-up, whose responses count as tokens but not in the figures."""


@dataclass
class Rounds:
    """The rounds of one server."""

    rounds: list[Round] = field(default_factory=list)
    cpu: float = 0.0
    postgres_cpu: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return medians over the rounds, and processor times per request over all of them."""
        responses = sum(result.responses for result in self.rounds)
        return {
            "rate": statistics.median(result.rate for result in self.rounds),
            "p50_ms": statistics.median(result.percentiles[50] for result in self.rounds) * 1000,
            "p99_ms": statistics.median(result.percentiles[99] for result in self.rounds) * 1000,
            "cpu_us": self.cpu / responses * 1e6,
            "postgres_us": self.postgres_cpu / responses * 1e6,
        }


@dataclass
class Case:
    """Requests, which are sent in turn and then again, and the rounds of the service and of the other server.

    :param is_refused: whether a quota refuses each of the service's requests. Otherwise each must succeed.
    :param once: whether each of the service's requests can be sent only once, so that there must be enough.
    :param other_requests: the other server's requests, if they differ.
    """

    name: str
    requests: list[bytes]
    issues_tokens: bool = False
    is_refused: bool = False
    once: bool = False
    other_requests: list[bytes] = field(default_factory=list)
    service: Rounds = field(default_factory=Rounds)
    other: Rounds = field(default_factory=Rounds)

    def measure(self, ports: tuple[int, int], processes: tuple[int, int, int], options: Any) -> list[int]:
        """Run the rounds on the service and the other server in turn, and return the number of responses of each.

        :param processes: the process ids of the service, of the other server, and of PostgreSQL.
        :raises LoadFailed: a request was refused that must succeed, or the reverse.
        """
        (*servers, postgres), responses = processes, [0, 0]
        other_requests = itertools.cycle(self.other_requests or self.requests)
        upcoming = (iter(self.requests) if self.once else itertools.cycle(self.requests), other_requests)
        for number in range(options.rounds + 1):
            # The order alternates, so that neither server always runs on the caches that the other leaves behind.
            for which in (0, 1) if number % 2 else (1, 0):
                measured = (servers[which], postgres)
                begin = list(map(cpu_seconds, measured))
                seconds = options.seconds if number else options.seconds * WARM_UP
                # wrk repeats requests.
                run = wrk.run if options.wrk and not self.once else load.run
                result = run(ports[which], upcoming[which], connections=options.connections, seconds=seconds)
                cpu = [cpu_seconds(process) - earlier for process, earlier in zip(measured, begin, strict=True)]
                refusals = result.responses if self.is_refused and which == 0 else 0
                if not result.responses or result.refused != refusals:
                    raise LoadFailed(f"{self.name}: {result.refused} of {result.responses} responses are no success")
                responses[which] += result.responses
                if number:
                    rounds = (self.service, self.other)[which]
                    rounds.rounds.append(result)
                    rounds.cpu += cpu[0]
                    rounds.postgres_cpu += cpu[1]
        return responses

    def figures(self) -> dict[str, Any]:
        """Return the figures for the JSON."""
        pairs = zip(self.service.rounds, self.other.rounds, strict=True)
        ratios = [service.rate / other.rate for service, other in pairs]
        return {
            "ratio": statistics.median(ratios),
            "min_ratio": min(ratios),
            "max_ratio": max(ratios),
            "service": self.service.figures(),
            "other": self.other.figures(),
        }


def is_chosen(name: str, words: list[str] | None) -> bool:
    """Return whether a case's name contains one of the words of ``--only``, or ``--only`` is not an option."""
    return any(word in name for word in words or [""])


def usual_cases(clients: list[tuple[str, str]], bearer: str) -> list[Case]:
    """Return the cases that are measured on any database.

    :param clients: the clients of one organization.
    :param bearer: a token of the first client.
    """
    return [
        Case("trend, 30 days", [get(f"{TREND}?days=30", bearer)]),
        Case("heatmap, 90 days", [get(HEATMAP, bearer)]),
        Case("agents", [get(AGENT_USAGE, bearer)]),
        Case("token, 100 agents", [post(TOKEN, GRANT, client) for client in clients], issues_tokens=True),
        Case("token, one agent", [post(TOKEN, GRANT, clients[0])], issues_tokens=True),
        Case("introspection", [post(INTROSPECT, f"token={bearer}", clients[1])]),
    ]


def header(other: str) -> str:
    """Return the head of the table. *other*: the name of the other server."""
    return (
        f"{'':<26}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{other + '/s':>9}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'ratio':>7}{'min':>7}{'max':>6}{'µs Python':>11}{'µs PostgreSQL':>15}{'µs ' + other:>10}"
    )


def line(name: str, figures: dict[str, Any]) -> str:
    """Return a case's row of the table."""
    service, other = figures["service"], figures["other"]
    return (
        f"{name:<26}{service['rate']:>11,.0f}{service['p50_ms']:>9.2f}{service['p99_ms']:>9.2f}"
        f"{other['rate']:>9,.0f}{other['p50_ms']:>9.2f}{other['p99_ms']:>9.2f}"
        f"{figures['ratio']:>7.2f}{figures['min_ratio']:>7.2f}{figures['max_ratio']:>6.2f}"
        f"{service['cpu_us']:>11.0f}{service['postgres_us']:>15.0f}{other['cpu_us']:>10.0f}"
    )
