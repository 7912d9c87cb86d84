"""What alerts are about: a finding was opened, became more severe, or was resolved."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agentidp.http.schemas import timestamp

SEVERITIES = ("info", "warning", "critical")
"""The least urgent first."""

KINDS = (
    "budget",
    "dominance",
    "dormant_agent",
    "expiring_credential",
    "quota",
    "rejections",
    "silence",
    "spike",
    "uncached_tokens",
    "unused_credential",
    "weekend",
)
"""The names of the kinds of findings. The modules ``agentidp/findings/<name>.py`` have their rules."""

FORMER_KINDS = ("peak", "zero_day")
"""The kinds of earlier releases. No evaluation opens such a finding any more, but stored ones are read and end."""

CHANGES = ("opened", "escalated", "resolved")
"""What can happen to a finding."""

TEST = "test"
"""In place of a change: a message that only shows whether a target works."""


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """A change of a finding's state.

    ``change`` is one of ``CHANGES``; ``severity`` the one after it, and for ``resolved`` the highest that was reported.
    ``subject`` names the agent or the organization for people.
    ``opened_at`` is when the finding was opened, and ``at`` when this change happened, both aware.
    """

    finding_id: UUID
    change: str
    kind: str
    severity: str
    subject: str
    title: str
    description: str
    opened_at: datetime
    at: datetime
    agent_id: UUID | None = None

    @property
    def change_id(self) -> UUID:
        """The same for the same change, however often it is enqueued."""
        return uuid.uuid5(self.finding_id, f"{self.change} {timestamp(self.at)}")

    def to_json(self) -> dict[str, Any]:
        """As the outbox stores it."""
        values = asdict(self)
        for name in ("finding_id", "agent_id"):
            values[name] = None if values[name] is None else str(values[name])
        return values | {"opened_at": timestamp(self.opened_at), "at": timestamp(self.at)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> StateChange:
        """Read what :meth:`to_json` made."""
        ids = {name: UUID(stored[name]) if stored[name] else None for name in ("finding_id", "agent_id")}
        instants = {name: datetime.fromisoformat(stored[name]) for name in ("opened_at", "at")}
        return cls(**(stored | ids | instants))


def change_for_test(target_name: str, at: datetime) -> StateChange:
    """A message that shows whether a target works."""
    return StateChange(
        finding_id=uuid.uuid4(),
        change=TEST,
        kind=TEST,
        severity="info",
        subject=target_name,
        title="Test of the alert target",
        description="AgentIdP sends alerts about findings to this target. Nothing is wrong.",
        opened_at=at,
        at=at,
    )
