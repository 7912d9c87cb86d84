"""Limits the tokens that a process issues per agent and minute, so that one agent cannot overload the instance.

Each process counts in its own memory, so an instance may issue up to the limit times the number of workers, and a few
more for simultaneous requests.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

MINUTE = 60


class TokenRate:
    """Counts the tokens that a process has issued to each agent in the current minute.

    At its limit, an agent is refused only if its credential has got a token in the same minute. So a client without a
    valid credential does not learn that the agent is at its limit.

    :param limit: the maximum number of tokens per agent and minute; 0 means no limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute = 0
        self._tokens_by_agent: dict[UUID, int] = {}
        self._credentials: set[tuple[UUID, bytes | str | None]] = set()

    def get_seconds_to_wait(self, agent_id: UUID, credential: bytes | str | None, at: datetime) -> int | None:
        """Return the seconds until the next minute if the agent is refused because of its limit, otherwise ``None``.

        :param credential: the digest of the client's secret, or its key or rule of trust as JSON.
        """
        if not self.limit:
            return None
        minute, seconds_of_minute = divmod(int(at.timestamp()), MINUTE)
        if minute != self._minute:
            self._minute, self._tokens_by_agent, self._credentials = minute, {}, set()
        if self._tokens_by_agent.get(agent_id, 0) < self.limit or (agent_id, credential) not in self._credentials:
            return None
        return MINUTE - seconds_of_minute

    def count(self, agent_id: UUID, credential: bytes | str | None) -> None:
        """Count a token that was issued to an agent."""
        if self.limit:
            self._tokens_by_agent[agent_id] = self._tokens_by_agent.get(agent_id, 0) + 1
            self._credentials.add((agent_id, credential))
