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
"""Subject types that a sentence names before the subject's name, as in ``created the marker release 2``."""


def members(event: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded values of an audit event, by member. For a changed member, return the new value."""
    return (event["before"] or {}) | (event["after"] or {})


def build_name_calls(events: Iterable[dict[str, Any]]) -> list[Call]:
    """Return the calls that read the names of the agents, resource servers and alert targets in audit events."""
    possible_ids: list[Any] = []
    for event in events:
        for value_or_list in (event["actor"], event["subject"], *members(event).values()):
            possible_ids += value_or_list if isinstance(value_or_list, list) else [value_or_list]
    agent_ids = {UUID(id_text) for id_text in possible_ids if isinstance(id_text, str) and IS_ID.fullmatch(id_text)}
    return [
        Call("audit/agent_names", {"agent_ids": list(agent_ids)}),
        Call("oauth/list_resource_servers", {}),
        Call("alerts/list_targets", {}),
    ]


def map_names_by_id(agent_rows: Rows, server_rows: Rows, target_rows: Rows) -> dict[str, str]:
    """Return names by ID. The parameters are the rows of the three calls that :func:`build_name_calls` returns."""
    names_by_id = {str(row.target_id): row.name for row in target_rows}
    names_by_id |= {str(row.resource_server_id): row.name for row in server_rows}
    return names_by_id | {str(row.agent_id): row.name for row in agent_rows}


def describe_event(event: dict[str, Any], names_by_id: dict[str, str]) -> str:
    """Return a sentence about an audit event. An object without a name is shown by its ID."""
    subject_type, recorded_values, subject_id = event["subjectType"].replace("_", " "), members(event), event["subject"]
    subject_name = (
        names_by_id.get(subject_id)
        or recorded_values.get("name")
        or recorded_values.get("label")
        or recorded_values.get("kind")
        or (recorded_values.get("issuer") if subject_type == "openid provider" else None)
        or subject_id
    )
    actor, verb = names_by_id.get(event["actor"], event["actor"]), ACTIONS[event["action"]].verb
    sentence_parts = (actor, verb, subject_type if subject_type in NAMED else "", subject_name)
    has_agent = subject_type in ("credential", "grant")
    agent_name = names_by_id.get(recorded_values.get("agentId", ""), "") if has_agent else ""
    return " ".join(filter(None, sentence_parts)) + (f" of {agent_name}" if agent_name else "")
