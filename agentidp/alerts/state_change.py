"""The state changes of findings that alerts report: opened, escalated and resolved."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agentidp.http.schemas import timestamp

SEVERITIES = ("info", "warning", "critical")
"""The severities of findings, least urgent first."""

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
"""The kinds of findings. The rules of each kind are in the module ``agentidp/findings/<kind>.py``."""

FORMER_KINDS = ("peak", "zero_day")
"""Kinds of findings in earlier releases. No such finding is opened any more, but stored findings can still end."""

CHANGES = ("opened", "escalated", "resolved")
"""The possible state changes of a finding."""

TEST = "test"
"""The value of ``change`` in a message that only tests a target."""


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """A change of a finding's state.

    ``change`` is one of ``CHANGES`` or ``TEST``. ``severity`` is the severity after the change, or for ``resolved`` the
    highest reported severity. ``subject`` is the name of the agent or the organization. ``opened_at`` and ``at`` are
    the times of the finding's beginning and of this change, with time zone.
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
        """Return an ID that is the same each time the same change is enqueued."""
        return uuid.uuid5(self.finding_id, f"{self.change} {timestamp(self.at)}")

    def to_json(self) -> dict[str, Any]:
        """Return the state change as the outbox stores it."""
        values = asdict(self)
        for name in ("finding_id", "agent_id"):
            values[name] = None if values[name] is None else str(values[name])
        return values | {"opened_at": timestamp(self.opened_at), "at": timestamp(self.at)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> StateChange:
        """Return the state change from the result of :meth:`to_json`."""
        ids = {name: UUID(stored[name]) if stored[name] else None for name in ("finding_id", "agent_id")}
        instants = {name: datetime.fromisoformat(stored[name]) for name in ("opened_at", "at")}
        return cls(**(stored | ids | instants))


def change_for_test(target_name: str, at: datetime) -> StateChange:
    """Return a message that tests a target."""
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
