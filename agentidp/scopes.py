"""The scopes of our own API."""

from __future__ import annotations

SCOPES = {
    "analytics:read": "Read the organization's usage",
    "findings:write": "Acknowledge and mute findings, and mark times such as deployments",
    "agents:read": "List and read agents and their credentials",
    "agents:write": "Create, change and delete agents and their credentials",
    "quotas:write": "Set and delete quotas of tokens",
    "alerts:write": "Read, change and test where alerts go",
    "audit:read": "Read who changed what in the organization",
}
DEFAULT_SCOPES = ("analytics:read", "agents:read")
