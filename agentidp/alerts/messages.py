"""Formats state changes for receivers: bodies of webhooks, bodies for Alertmanager, and text for people."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from agentidp.alerts.state_change import SEVERITIES, TEST, StateChange
from agentidp.http.schemas import timestamp
from agentidp.http.text import printable

# Each alert has an end time, because Alertmanager would resolve an alert without an end time after five minutes.
ONGOING = timedelta(days=30)  # time from the last change of an ongoing finding to the end time of its alert
RESOLVED_TEST = timedelta(minutes=1)  # time from a test to the end time of its alert

_INTERPRETED = re.compile(
    r"[@#<>\[\]*~`|\\]"
    # Matches the colon after a URL's scheme, and the dot before a top-level domain.
    r"|:(?=[^\s\d])|\.(?=[^\W\d_])"
    # Matches the beginning of an HTML entity, and underscores that mark emphasis.
    r"|&(?=#?\w+;)|_(?![^\W_])|(?<![^\W_])_"
)
"""Regular expression for the characters by which chats recognize mentions, links and markup."""

_FULL_WIDTH = 0xFEE0  # difference between the code point of a printable ASCII character and that of its full-width form


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to an alert target: a change of a finding, and the current names of the organization and the owner."""

    message_id: UUID  # the idempotency key, which stays the same if the message is sent again
    organization_id: str
    organization_name: str
    change: StateChange
    owner: str | None = None  # the owner of the finding's agent, if the agent has an owner


def build_webhook_body(message: Message, dashboard: str) -> bytes:
    """Return the body of a webhook, as specified by Standard Webhooks: ``type``, ``timestamp`` and ``data``."""
    change = message.change
    body = {
        "type": f"finding.{change.change}" if change.change != TEST else TEST,
        "timestamp": timestamp(change.at),
        "data": {
            "organizationId": message.organization_id,
            "organizationName": message.organization_name,
            "findingId": str(change.finding_id),
            "kind": change.kind,
            "severity": change.severity,
            "agentId": None if change.agent_id is None else str(change.agent_id),
            "subject": change.subject,
            "owner": message.owner,
            "title": change.title,
            "description": change.description,
            "openedAt": timestamp(change.opened_at),
            "url": build_finding_url(change, dashboard),
        },
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def build_alertmanager_body(message: Message, dashboard: str) -> bytes:
    """Return the body for Alertmanager's ``POST /api/v2/alerts``."""
    # The severity is a label, so Alertmanager has one alert per severity. When an open finding changes, the message
    # also ends the alerts of the other severities.
    severities = [message.change.severity] if message.change.change in ("opened", TEST) else SEVERITIES
    alerts = [_build_alert(message, severity, dashboard) for severity in severities]
    return json.dumps(alerts, separators=(",", ":"), ensure_ascii=False).encode()


def _build_alert(message: Message, severity: str, dashboard: str) -> dict[str, Any]:
    change = message.change
    is_ongoing = change.change != "resolved" and severity == change.severity
    ends_at = change.at + (RESOLVED_TEST if change.change == TEST else ONGOING if is_ongoing else timedelta())
    labels = {
        "alertname": "AgentIdPFinding",
        "organization_id": message.organization_id,
        "severity": severity,
        "finding_id": str(change.finding_id),
    }
    return {
        "labels": labels,
        # These values are not labels, because they can change during a finding, and a changed label begins a new alert.
        "annotations": {
            "summary": disarm(change.title),
            "description": disarm(change.description),
            "kind": change.kind,
            "subject": disarm(change.subject),
            "organization": disarm(message.organization_name),
            "owner": disarm(message.owner or ""),
            # The link is also an annotation, because few notifications show the generatorURL.
            "url": build_finding_url(change, dashboard),
        },
        "startsAt": timestamp(change.opened_at),
        "endsAt": timestamp(ends_at),
        "generatorURL": build_finding_url(change, dashboard),
    }


def disarm(text: str) -> str:
    """Replace characters that chats interpret as mentions, links or markup by their full-width forms.

    The text may contain the name of an agent, which a workload can choose.
    """
    return _INTERPRETED.sub(lambda match: chr(ord(match[0]) + _FULL_WIDTH), printable(text, is_multiline=True))


def build_title(message: Message) -> str:
    """Return the title of a message, with the organization's name."""
    change = message.change
    state_or_severity = {"resolved": "resolved", TEST: "test"}.get(change.change, change.severity)
    return f"[{state_or_severity}] {disarm(message.organization_name)}: {disarm(change.title)}"


def build_text(message: Message, dashboard: str) -> str:
    """Return the text of a message, without the title."""
    change = message.change
    paragraphs = [change.description, *([f"Owner of {change.subject}: {message.owner}"] if message.owner else [])]
    return "\n\n".join([*map(disarm, paragraphs), build_finding_url(change, dashboard)])


def build_finding_url(change: StateChange, dashboard: str) -> str:
    """Return the URL of the finding's page, or for a test message the URL of the dashboard."""
    return dashboard if change.change == TEST else f"{dashboard}/findings/{change.finding_id}"
