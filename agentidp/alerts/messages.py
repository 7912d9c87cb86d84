"""A state change as the bodies that receivers understand: a webhook's, Alertmanager's, and text for people."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from agentidp.alerts.state_change import SEVERITIES, TEST, StateChange
from agentidp.http.schemas import timestamp
from agentidp.http.text import printable

ONGOING = timedelta(days=30)
"""How long Alertmanager is to take an alert for ongoing unless it is resolved before. By default it forgets an alert
after five minutes without a repetition.
"""

RESOLVED_TEST = timedelta(minutes=1)
"""How long the alert of a test is ongoing in Alertmanager."""

_ACTIVE = re.compile(
    r"[@#<>\[\]*~`|\\]"
    # The beginning of an address, and its top-level domain.
    r"|:(?=//)|\.(?=[^\W\d_])"
    # An entity of HTML, and emphasis.
    r"|&(?=#?\w+;)|_(?![^\W_])|(?<![^\W_])_"
)
"""The characters by which chats recognize mentions, links and markup, where they recognize them."""

_FULL_WIDTH = 0xFEE0
"""The distance from a printable character of ASCII to its full-width form."""

_SYMBOLS = {"resolved": "resolved", TEST: "test"}


@dataclass(frozen=True)
class Organization:
    """Whose finding it is. The name may change while the finding goes on."""

    organization_id: str
    name: str


def webhook_body(change: StateChange, organization: Organization, owner: str | None, dashboard: str) -> bytes:
    """The body of a webhook, by Standard Webhooks: ``type``, ``timestamp`` and ``data``."""
    body = {
        "type": f"finding.{change.change}" if change.change != TEST else TEST,
        "timestamp": timestamp(change.at),
        "data": {
            "organizationId": organization.organization_id,
            "organizationName": organization.name,
            "findingId": str(change.finding_id),
            "kind": change.kind,
            "severity": change.severity,
            "agentId": None if change.agent_id is None else str(change.agent_id),
            "subject": change.subject,
            "owner": owner,
            "title": change.title,
            "description": change.description,
            "openedAt": timestamp(change.opened_at),
            "url": page_of(change, dashboard),
        },
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def alertmanager_body(change: StateChange, organization: Organization, owner: str | None, dashboard: str) -> bytes:
    """The body of ``POST /api/v2/alerts``.

    Alertmanager tells alerts apart by their labels, and severity is one of them: an escalation is the end of one alert
    and the begin of another. The end of an alert that it does not know changes nothing there.
    """
    severities = [change.severity] if change.change in ("opened", TEST) else SEVERITIES
    alerts = [_alert(change, severity, organization, owner, dashboard) for severity in severities]
    return json.dumps(alerts, separators=(",", ":"), ensure_ascii=False).encode()


def _alert(
    change: StateChange, severity: str, organization: Organization, owner: str | None, dashboard: str
) -> dict[str, Any]:
    is_ongoing = change.change != "resolved" and severity == change.severity
    ends_at = change.at + (RESOLVED_TEST if change.change == TEST else ONGOING if is_ongoing else timedelta())
    labels = {
        "alertname": "AgentIdPFinding",
        "organization_id": organization.organization_id,
        "severity": severity,
        "finding_id": str(change.finding_id),
    }
    return {
        "labels": labels,
        # No labels, because they may change while the finding goes on.
        "annotations": {
            "summary": disarmed(change.title),
            "description": disarmed(change.description),
            "kind": change.kind,
            "subject": disarmed(change.subject),
            "organization": disarmed(organization.name),
            # Alertmanager drops an annotation without a text.
            "owner": disarmed(owner or ""),
            # Few notifications show generatorURL.
            "url": page_of(change, dashboard),
        },
        "startsAt": timestamp(change.opened_at),
        "endsAt": timestamp(ends_at),
        "generatorURL": page_of(change, dashboard),
    }


def disarmed(text: str) -> str:
    """Return text of an organization in which no chat finds a mention, a link or markup.

    A workload chooses the name of the agent that is created for it. So the characters that could notify a channel, or
    lead a reader to another address, become their full-width forms, which look alike and mean nothing.
    """
    return _ACTIVE.sub(lambda active: chr(ord(active[0]) + _FULL_WIDTH), printable(text, is_multiline=True))


def title(change: StateChange, organization: Organization) -> str:
    """Return a line for people, who may get alerts of several organizations."""
    name = disarmed(organization.name)
    return f"[{_SYMBOLS.get(change.change, change.severity)}] {name}: {disarmed(change.title)}"


def text(change: StateChange, owner: str | None, dashboard: str) -> str:
    """Return the message below the title."""
    texts = [change.description, *([f"Owner of {change.subject}: {owner}"] if owner else [])]
    return "\n\n".join([*map(disarmed, texts), page_of(change, dashboard)])


def page_of(change: StateChange, dashboard: str) -> str:
    """The address of the page of the finding. A test is about none.

    :param dashboard: the dashboard's address.
    """
    return dashboard if change.change == TEST else f"{dashboard}/findings/{change.finding_id}"
