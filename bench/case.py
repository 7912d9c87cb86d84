"""A case to measure, beside the floor or a peer, and its row of the table."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.load import LoadFailed, Round
from bench.requests import AGENT_USAGE, GRANT, HEATMAP, INTROSPECT, TOKEN, TREND, get, post
from bench.servers import cpu_seconds

WARM_UP = 0.5
"""Of a round's seconds; the warm-up's responses are counted as tokens, and not in the figures."""

Load = Callable[[int, Iterator[bytes], float], Round]
"""Loads a port with the upcoming requests for some seconds."""


@dataclass
class Rounds:
    """The rounds of one server."""

    rounds: list[Round] = field(default_factory=list)
    cpu: float = 0.0
    postgres_cpu: float = 0.0
    workers_cpu: float = 0.0
    """What Citus's workers have of it."""

    def figures(self) -> dict[str, float]:
        """Medians of the rounds; processor times over all of them."""
        responses = sum(one.responses for one in self.rounds)
        return {
            "rate": statistics.median(one.rate for one in self.rounds),
            "p50_ms": statistics.median(one.percentiles[50] for one in self.rounds) * 1000,
            "p99_ms": statistics.median(one.percentiles[99] for one in self.rounds) * 1000,
            "cpu_us": self.cpu / responses * 1e6,
            "postgres_us": self.postgres_cpu / responses * 1e6,
            "workers_us": self.workers_cpu / responses * 1e6,
            "load_cpu": sum(one.own_cpu for one in self.rounds) / sum(one.elapsed for one in self.rounds),
        }


@dataclass
class Case:
    """Something to measure: the requests, and the rounds of the service and of what it is compared with.

    The requests are sent in turn and then again.

    :param is_refused: a quota refuses each of the service's requests. Otherwise each must succeed.
    :param once: each of the service's requests can be sent only once, so there must be enough.
    :param other_requests: what the other one gets, if not the same.
    """

    name: str
    requests: list[bytes]
    issues_tokens: bool = False
    is_refused: bool = False
    once: bool = False
    other_requests: list[bytes] = field(default_factory=list)
    service: Rounds = field(default_factory=Rounds)
    other: Rounds = field(default_factory=Rounds)

    under_way: list[int] = field(default_factory=lambda: [0, 0])
    """At most so many responses of the service and of the other one are not among those that were measured."""

    def __post_init__(self) -> None:
        self.upcoming = (
            iter(self.requests) if self.once else itertools.cycle(self.requests),
            itertools.cycle(self.other_requests or self.requests),
        )

    def measure(
        self, load: Load, ports: tuple[int, int], processes: tuple[int, int, list[int]], options: Any
    ) -> list[int]:
        """Run the rounds, the service and the other one in turn; returns how many responses each of the two sent.

        :param processes: the process ids of the service, of the other one, and of PostgreSQL's servers: Citus's
            coordinator comes first.
        :raises LoadFailed: a request was refused that must succeed, or the reverse.
        """
        (*own, postgres), responses = processes, [0, 0]
        for number in range(options.rounds + 1):
            # Which goes first alternates as well, so that neither always runs on what the other leaves behind.
            for which in (0, 1) if number % 2 else (1, 0):
                watched = ([own[which]], postgres, postgres[1:])
                begin = [sum(map(cpu_seconds, group)) for group in watched]
                seconds = options.seconds if number else options.seconds * WARM_UP
                result = load(ports[which], self.upcoming[which], seconds)
                cpu = [sum(map(cpu_seconds, group)) - before for group, before in zip(watched, begin, strict=True)]
                if result.refused != (result.responses if self.is_refused and which == 0 else 0):
                    raise LoadFailed(f"{self.name}: {result.refused} of {result.responses} responses are no success")
                responses[which] += result.responses
                self.under_way[which] += result.under_way
                if number:
                    rounds = (self.service, self.other)[which]
                    rounds.rounds.append(result)
                    rounds.cpu += cpu[0]
                    rounds.postgres_cpu += cpu[1]
                    rounds.workers_cpu += cpu[2]
        return responses

    def figures(self) -> dict[str, Any]:
        """What goes into the JSON."""
        pairs = zip(self.service.rounds, self.other.rounds, strict=True)
        ratios = [service.rate / other.rate for service, other in pairs]
        return {
            "ratio": statistics.median(ratios),
            "min_ratio": min(ratios),
            "max_ratio": max(ratios),
            "service": self.service.figures(),
            "other": self.other.figures(),
        }


def usual_cases(clients: list[tuple[str, str]], bearer: str) -> list[Case]:
    """What is measured on any database.

    :param clients: of one organization.
    :param bearer: a token of the first.
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
    """The table's head.

    :param other: what the service is compared with.
    """
    return (
        f"{'':<26}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{other + '/s':>9}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'ratio':>7}{'min':>7}{'max':>6}{'µs Python':>11}{'µs PostgreSQL':>15}{'µs ' + other:>10}{'load CPU':>10}"
    )


def line(name: str, figures: dict[str, Any]) -> str:
    """A case's row of the table."""
    service, other = figures["service"], figures["other"]
    return (
        f"{name:<26}{service['rate']:>11,.0f}{service['p50_ms']:>9.2f}{service['p99_ms']:>9.2f}"
        f"{other['rate']:>9,.0f}{other['p50_ms']:>9.2f}{other['p99_ms']:>9.2f}"
        f"{figures['ratio']:>7.2f}{figures['min_ratio']:>7.2f}{figures['max_ratio']:>6.2f}"
        f"{service['cpu_us']:>11.0f}{service['postgres_us']:>15.0f}{other['cpu_us']:>10.0f}"
        f"{service['load_cpu']:>6.0%}{other['load_cpu']:>4.0%}"
    )
