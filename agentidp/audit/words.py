"""Describes audit events in sentences such as ``fleet-console changed order-tracker``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from agentidp.audit import ACTIONS
from agentidp.db.sql import Call, Rows

IS_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

NAMED = (
    "alert target",
    "credential",
    "delegation rule",
    "finding",
    "grant",
    "marker",
    "openid provider",
    "organization",
    "provisioning rule",
    "resource server",
)
"""Types of subjects that a sentence names before the subject's name."""


def members(event: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded values of an audit event's subject, after the change if there are two."""
    return (event["before"] or {}) | (event["after"] or {})


def build_name_calls(events: Iterable[dict[str, Any]]) -> list[Call]:
    """Return the calls that read the names of the agents, resource servers and alert targets in audit events."""
    recorded_values = [
        recorded_value
        for event in events
        for recorded_value in (event["actor"], event["subject"], *members(event).values())
    ]
    possible_ids = [
        value
        for recorded_value in recorded_values
        for value in (recorded_value if isinstance(recorded_value, list) else [recorded_value])
    ]
    agent_ids = {UUID(value) for value in possible_ids if isinstance(value, str) and IS_ID.fullmatch(value)}
    return [
        Call("audit/agent_names", {"agent_ids": list(agent_ids)}),
        Call("oauth/list_resource_servers", {}),
        Call("alerts/list_targets", {}),
    ]


def map_names_by_id(agents: Rows, servers: Rows, targets: Rows) -> dict[str, str]:
    """Return the names by ID in the rows that :func:`build_name_calls` returned."""
    names_by_id = {str(row.target_id): row.name for row in targets}
    names_by_id |= {str(row.resource_server_id): row.name for row in servers}
    return names_by_id | {str(row.agent_id): row.name for row in agents}


def describe_event(event: dict[str, Any], names_by_id: dict[str, str]) -> str:
    """Return a sentence about an audit event. It names an object by its ID if the object has no name."""
    subject_type, values, subject = event["subjectType"].replace("_", " "), members(event), event["subject"]
    subject_name = (
        names_by_id.get(subject)
        or values.get("name")
        or values.get("label")
        or values.get("kind")
        or (values.get("issuer") if subject_type == "openid provider" else None)
        or subject
    )
    actor, verb = names_by_id.get(event["actor"], event["actor"]), ACTIONS[event["action"]].verb
    sentence_parts = (actor, verb, subject_type if subject_type in NAMED else "", subject_name)
    agent_name = names_by_id.get(values.get("agentId", ""), "") if subject_type in ("credential", "grant") else ""
    return " ".join(filter(None, sentence_parts)) + (f" of {agent_name}" if agent_name else "")
