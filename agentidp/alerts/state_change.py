"""The state changes of findings that alerts report: opened, escalated and resolved."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agentidp.http.schemas import timestamp

SEVERITIES = ("info", "warning", "critical")  # of findings, least urgent first

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
"""The kinds of findings. The module ``agentidp/findings/<kind>.py`` has the rules of each kind."""

FORMER_KINDS = ("peak", "zero_day")
"""Kinds of findings in earlier releases. No such finding is opened any more, but stored findings can still end."""

KIND_LABELS = {
    "dominance": "large share",
    "rejections": "rejected requests",
    "uncached_tokens": "tokens not reused",
    "zero_day": "day without tokens",
}
"""Labels for the kinds of findings whose identifiers people would not understand."""

TEST = "test"  # the value of ``change`` in a message that only tests a target


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """A change of a finding's state, as alerts report it."""

    finding_id: UUID
    change: str  # opened, escalated, resolved or TEST
    kind: str
    severity: str  # after the change; for a resolved finding, the highest reported severity
    subject: str  # name of the agent, or "organization"
    title: str
    description: str
    opened_at: datetime  # when the finding began, with time zone
    at: datetime  # when the finding changed, with time zone
    agent_id: UUID | None = None

    @property
    def change_id(self) -> UUID:
        """The ID of the change. A change that is enqueued twice has the same ID, and is sent once."""
        return uuid.uuid5(self.finding_id, f"{self.change} {timestamp(self.at)}")

    def to_json(self) -> dict[str, Any]:
        """Return the state change as JSON for the outbox."""
        json_values = asdict(self)
        for member_name in ("finding_id", "agent_id"):
            json_values[member_name] = None if json_values[member_name] is None else str(json_values[member_name])
        return json_values | {"opened_at": timestamp(self.opened_at), "at": timestamp(self.at)}

    @classmethod
    def from_json(cls, json_values: dict[str, Any]) -> StateChange:
        """Return the state change that :meth:`to_json` represented as *json_values*."""
        ids_by_name = {
            field: UUID(json_values[field]) if json_values[field] else None for field in ("finding_id", "agent_id")
        }
        instants_by_name = {field: datetime.fromisoformat(json_values[field]) for field in ("opened_at", "at")}
        return cls(**(json_values | ids_by_name | instants_by_name))


def kind_label(kind: str) -> str:
    """Return the name of a kind of findings for people, such as ``expiring credential``."""
    return KIND_LABELS.get(kind, kind.replace("_", " "))


def build_test_change(target_name: str, at: datetime) -> StateChange:
    """Return the content of a test message for an alert target, as a state change."""
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
