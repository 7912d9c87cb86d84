"""The service on a filled database, and the check that it counted every token."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.db.migrations import migrate
from bench.database import TARGET, Shape, seed
from bench.requests import GRANT, TOKEN, basic, send
from bench.servers import free_ports, server, service_settings

COUNTERS = {"organization": "usage_daily", "agent": "agent_usage_daily", "credential": "credential_usage_daily"}
"""Grain of a counter -> its table."""


DELEGATIONS = [f"{table} where resource = '{TARGET}'" for table in ("credential_usage_daily", "delegation_usage_daily")]
"""The counters of the tokens for :data:`TARGET`, all of which are for others: by credential and by subject."""


def sum_tokens(url: str, counters: Iterable[str]) -> list[int]:
    """Return the sum of tokens in each of the counters.

    :param counters: tables, each with a condition if only some rows count.
    """
    sums = [f"(select coalesce(sum(tokens), 0)::bigint from {counter})" for counter in counters]  # noqa: S608
    with psycopg.connect(url) as connection:
        return [*connection.execute(f"select {', '.join(sums)}".encode()).fetchall()[0]]


class Tally:
    """The tokens that a run has received from the service on a database.

    :ivar issued: the number of tokens that were received.
    :ivar unanswered: the maximum number of further tokens, whose responses wrk did not wait for.
    """

    def __init__(self, url: str) -> None:
        self._url, self._sums_before = url, sum_tokens(url, COUNTERS.values())
        self.issued = self.unanswered = 0

    def is_exact(self, name: str) -> bool:
        """Print after *name*, and return, whether each counter counted each token exactly once."""
        sums = sum_tokens(self._url, COUNTERS.values())
        counts = [after - before for after, before in zip(sums, self._sums_before, strict=True)]
        for_others, by_subject = sum_tokens(self._url, DELEGATIONS)
        sentence = ", ".join(f"{count:,} by {grain}" for grain, count in zip(COUNTERS, counts, strict=True))
        unanswered = f" and at most {self.unanswered:,} unanswered" if self.unanswered else ""
        print(f"{name}: {self.issued:,} answered{unanswered}, counted: {sentence}", end="; ")
        print(f"{for_others:,} for others, counted by subject: {by_subject:,}")
        is_within_bounds = self.issued <= counts[0] <= self.issued + self.unanswered
        return is_within_bounds and len(set(counts)) == 1 and for_others == by_subject


@dataclass
class Service:
    """The service on a filled database.

    :ivar process: the process id.
    :ivar clients: client_id and client_secret of the agents of the large organization.
    :ivar key: the key of the first and of the last agent.
    :ivar bearer: a token of the first agent.
    """

    url: str
    port: int
    process: int
    clients: list[tuple[str, str]]
    key: ec.EllipticCurvePrivateKey
    tally: Tally
    bearer: str = field(init=False)

    def __post_init__(self) -> None:
        self.bearer = self.request_token(self.clients[0])

    def request_token(self, client: tuple[str, str], parameters: str = "") -> str:
        """Return a token of a client.

        :param parameters: further parameters of the request, each with ``&`` before it.
        """
        self.tally.issued += 1
        return str(json.loads(send(self.port, "POST", TOKEN, basic(client), GRANT + parameters)[1])["access_token"])


@contextlib.contextmanager
def serve(url: str, shape: Shape, log: Path) -> Iterator[Service]:
    """Fill the empty database at *url*, and run the service on it until the block ends.

    :param log: the file for the service's output.
    """
    migrate(url)
    key = ec.generate_private_key(ec.SECP256R1())
    clients, [port] = seed(url, key, shape), free_ports(1)
    with server(["agentidp", "serve"], port=port, environment=service_settings(url), log=log) as process:
        yield Service(url, port, process, clients, key, Tally(url))
