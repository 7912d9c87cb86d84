"""Formats state changes for receivers: bodies of webhooks, bodies for Alertmanager, and text for people."""

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
"""Time until Alertmanager resolves an alert by itself. Without an end time, it does so after five minutes."""

RESOLVED_TEST = timedelta(minutes=1)
"""Time until Alertmanager resolves the alert of a test."""

_ACTIVE = re.compile(
    r"[@#<>\[\]*~`|\\]"
    # The colon after a URL's scheme, and the dot before a top-level domain.
    r"|:(?=[^\s\d])|\.(?=[^\W\d_])"
    # HTML entities, and underscores for emphasis.
    r"|&(?=#?\w+;)|_(?![^\W_])|(?<![^\W_])_"
)
"""Matches the characters with which chats recognize mentions, links and markup."""

_FULL_WIDTH = 0xFEE0
"""Difference between the code point of a printable ASCII character and that of its full-width form."""

_SYMBOLS = {"resolved": "resolved", TEST: "test"}


@dataclass(frozen=True)
class Organization:
    """The organization of a finding. Its name may change while the finding is ongoing."""

    organization_id: str
    name: str


def webhook_body(change: StateChange, organization: Organization, owner: str | None, dashboard: str) -> bytes:
    """Return the body of a webhook, as specified by Standard Webhooks: ``type``, ``timestamp`` and ``data``."""
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
    """Return the body for Alertmanager's ``POST /api/v2/alerts``.

    Alertmanager identifies an alert by its labels, which include the severity. Therefore an escalation ends the alerts
    of other severities and begins a new alert. Alertmanager ignores the end of an unknown alert.
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
        # These values may change while the finding is ongoing, so they must not be labels.
        "annotations": {
            "summary": disarmed(change.title),
            "description": disarmed(change.description),
            "kind": change.kind,
            "subject": disarmed(change.subject),
            "organization": disarmed(organization.name),
            # Alertmanager drops empty annotations.
            "owner": disarmed(owner or ""),
            # Few notifications show generatorURL, so the link is also an annotation.
            "url": page_of(change, dashboard),
        },
        "startsAt": timestamp(change.opened_at),
        "endsAt": timestamp(ends_at),
        "generatorURL": page_of(change, dashboard),
    }


def disarmed(text: str) -> str:
    """Return text without characters that chats interpret as mentions, links or markup.

    The text may contain the name of an agent, which a workload can choose. Characters that could notify a channel, or
    link to another address, are replaced by their full-width forms, which look similar and are not interpreted.
    """
    return _ACTIVE.sub(lambda active: chr(ord(active[0]) + _FULL_WIDTH), printable(text, is_multiline=True))


def title(change: StateChange, organization: Organization) -> str:
    """Return the title of a message, including the organization, because people may get alerts from several."""
    name = disarmed(organization.name)
    return f"[{_SYMBOLS.get(change.change, change.severity)}] {name}: {disarmed(change.title)}"


def text(change: StateChange, owner: str | None, dashboard: str) -> str:
    """Return the text of a message, without its title."""
    texts = [change.description, *([f"Owner of {change.subject}: {owner}"] if owner else [])]
    return "\n\n".join([*map(disarmed, texts), page_of(change, dashboard)])


def page_of(change: StateChange, dashboard: str) -> str:
    """Return the address of the finding's page. For a test, return the dashboard's address.

    :param dashboard: the dashboard's address.
    """
    return dashboard if change.change == TEST else f"{dashboard}/findings/{change.finding_id}"
