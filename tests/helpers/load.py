"""Loads the service from several threads and compares the counters with the responses."""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from agentidp.oauth.issuance import TOKEN_EXCHANGE
from tests.factories import (
    PATIENCE,
    Agent,
    usage_sums,
)
from tests.faults.load import Connection

THREADS = 16


API = "https://api.example"


FORM = "grant_type=client_credentials"


EXCHANGE_FORM = (
    f"grant_type={TOKEN_EXCHANGE}&subject_token_type=urn:ietf:params:oauth:token-type:access_token&resource={API}"
)


MAX_FAILURES = 100
"""Maximum number of lost or refused requests before a thread gives up."""


def token_request(client_id: str, client_secret: str) -> dict[str, str]:
    """Return the headers of a token request by ``client_secret_basic``."""
    basic = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
    return {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}


class Load:
    """Threads that get tokens over persistent connections, until each thread has got *tokens* tokens.

    :param resources: the resources of the tokens, one after the other; empty for our own API.
    :param exchanges: pairs of an agent that exchanges a token for tokens for :data:`API`, and the subject's token.
    """

    def __init__(
        self,
        port: int,
        agents: Sequence[Agent],
        tokens: int,
        resources: Sequence[str] = ("",),
        exchanges: Sequence[tuple[Agent, str]] = (),
    ) -> None:
        self.port, self.agents, self.tokens, self.resources = port, agents, tokens, resources
        self.exchanges = exchanges
        self.used: list[Counter[tuple[UUID, str, str]]] = [Counter() for _ in range(THREADS)]
        self.received: list[list[tuple[UUID, str]]] = [[] for _ in range(THREADS)]
        self.lost = [0] * THREADS
        self.refused: Counter[int] = Counter()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]

    def start(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def join(self) -> Load:
        """Wait for all threads. Fail if no request ends for :data:`PATIENCE` seconds."""
        for thread in self._threads:
            while thread.is_alive():
                ended_before = self.ended
                thread.join(PATIENCE)
                assert not thread.is_alive() or self.ended > ended_before, "no request has ended"
        return self

    @property
    def ended(self) -> int:
        """The number of requests that have ended."""
        return self.acknowledged + sum(self.lost) + self.refused.total()

    @property
    def acknowledged(self) -> int:
        return sum(map(len, self.received))

    def has_enough(self, number: int) -> bool:
        """Return whether a thread has enough tokens, or too many failures."""
        return len(self.received[number]) >= self.tokens or self.lost[number] + self.refused.total() >= MAX_FAILURES

    def _run(self, number: int) -> None:
        received = self.received[number]
        connection = Connection(self.port, timeout=PATIENCE)
        requests = [
            (agent, resource, f"{FORM}&resource={resource}" if resource else FORM)
            for agent in self.agents
            for resource in self.resources
        ]
        requests += [(agent, API, f"{EXCHANGE_FORM}&subject_token={subject}") for agent, subject in self.exchanges]
        turn = number
        while not self.has_enough(number):
            turn += 1
            agent, resource, form = requests[turn % len(requests)]
            headers = token_request(agent.client_id, agent.client_secret)
            answer = connection.ask("token", "POST", "/api/v1/token", form, headers)
            if answer.status is None:
                # It is unknown whether the token was counted, because the response was lost with the worker.
                self.lost[number] += 1
            elif answer.token:
                received.append((agent.agent_id, answer.token))
                self.used[number][agent.agent_id, agent.client_secret, resource] += 1
            else:
                self.refused[answer.status] += 1
        connection.close()


def assert_counted(url: str, organization_id: str, *, tokens: int = 0, requests: int = 0, rejected: int = 0) -> None:
    """Fail unless each counter of the organization, per hour, day or agent, has these sums."""
    sums = usage_sums(url, organization_id)
    expected = {"tokens": tokens, "requests": requests, "rejected": rejected}
    assert sums == {name: n for name in sums for kind, n in expected.items() if kind in name}
