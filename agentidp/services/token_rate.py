"""One agent cannot take the instance down: a process issues at most a number of tokens a minute to an agent.

It is approximate on purpose, and costs next to nothing: each process counts in its own memory, so an instance issues up
to so many times the number of its workers, and a few more if requests arrive at the same time. An exact limit is a
quota.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

MINUTE = 60


class TokenRate:
    """The tokens that a process has issued to each agent in the current minute.

    An agent at its limit is refused by a credential only with which it has had a token in the same minute. So nobody
    else learns that it is at its limit, and nobody can use up the limit of somebody else's agent.

    :param limit: of each agent; 0 for none.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute = 0
        self._issued: dict[UUID, int] = {}
        self._credentials: set[tuple[UUID, bytes | str | None]] = set()

    def seconds_to_wait(self, agent_id: UUID, credential: bytes | str | None, at: datetime) -> int | None:
        """Until the next minute, if the agent has as many tokens of this one as it may get; otherwise ``None``.

        :param credential: the digest of the secret, or the key.
        """
        if not self.limit:
            return None
        minute, since = divmod(int(at.timestamp()), MINUTE)
        if minute != self._minute:
            self._minute, self._issued, self._credentials = minute, {}, set()
        if self._issued.get(agent_id, 0) < self.limit or (agent_id, credential) not in self._credentials:
            return None
        return MINUTE - since

    def count(self, agent_id: UUID, credential: bytes | str | None) -> None:
        """A token was issued."""
        if self.limit:
            self._issued[agent_id] = self._issued.get(agent_id, 0) + 1
            self._credentials.add((agent_id, credential))
