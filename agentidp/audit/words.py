"""Describes audit events in sentences such as ``fleet-console created a sign-in link for order-tracker``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from agentidp.db.sql import Call, Rows

WORDS = {
    "agent.created": "registered",
    "agent.changed": "changed",
    "agent.deleted": "deleted",
    "agent.signed_in": "signed in as",
    "agent.signed_out": "signed out as",
    "agent.sign_in_refused": "failed to sign in as",
    "agent.link_created": "created a sign-in link for",
    "agent.token_issued": "issued a token to",
    "agent.token_revoked": "revoked a token of",
    "agent.suspension_announced": "announced the suspension of",
    "agent.erased": "erased the texts of",
    "alert_target.created": "created the",
    "alert_target.changed": "changed the",
    "alert_target.deleted": "deleted the",
    "credential.created": "created the",
    "credential.revoked": "revoked the",
    "delegation_rule.created": "created the",
    "delegation_rule.deleted": "deleted the",
    "finding.acknowledged": "acknowledged the",
    "finding.muted": "muted the",
    "finding.unmuted": "unmuted the",
    "instance.restored": "restored a backup of",
    "marker.created": "marked a time:",
    "marker.deleted": "deleted the",
    "organization.created": "created the",
    "organization.changed": "changed the",
    "organization.deleted": "deleted the",
    "person.signed_in": "signed in as",
    "person.signed_out": "signed out as",
    "person.sign_in_refused": "failed to sign in as",
    "provisioning_rule.created": "created the",
    "provisioning_rule.deleted": "deleted the",
    "quota.changed": "set a quota of",
    "quota.deleted": "removed a quota of",
    "resource_server.created": "registered the",
    "resource_server.changed": "changed the",
    "resource_server.deleted": "deleted the",
    "resource.assigned": "assigned the identifier",
    "resource.released": "released the identifier",
    "usage.imported": "imported the usage of",
    "usage.pruned": "deleted the oldest usage of",
    "audit.pruned": "removed the oldest events of",
    "signing_key.created": "created the",
    "signing_key.revoked": "revoked the",
    "signing_key.reencrypted": "encrypted again the",
}
"""The verb phrase for each action. The subject of the event follows the phrase."""

IS_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

NAMED = (
    "alert target",
    "credential",
    "delegation rule",
    "finding",
    "marker",
    "organization",
    "provisioning rule",
    "resource server",
)
"""Types of subjects that precede the subject's name in a sentence. For other types the verb phrase is clear enough."""


def members(event: dict[str, Any]) -> dict[str, Any]:
    """Return the latest recorded values of the event's subject."""
    return (event["before"] or {}) | (event["after"] or {})


def calls(events: Iterable[dict[str, Any]]) -> list[Call]:
    """Return the calls that read the names of the agents, resource servers and alert targets in events."""
    said = [value for event in events for value in (event["actor"], event["subject"], *members(event).values())]
    mentioned = [one for value in said for one in (value if isinstance(value, list) else [value])]
    ids = {UUID(value) for value in mentioned if isinstance(value, str) and IS_ID.fullmatch(value)}
    return [
        Call("audit/agent_names", {"agent_ids": list(ids)}),
        Call("oauth/list_resource_servers", {}),
        Call("alerts/list_targets", {}),
    ]


def names(agents: Rows, servers: Rows, targets: Rows) -> dict[str, str]:
    """Return the names by ID in the rows of :func:`calls`."""
    found = {str(row.target_id): row.name for row in targets}
    found |= {str(row.resource_server_id): row.name for row in servers}
    return found | {str(row.agent_id): row.name for row in agents}


def sentence(event: dict[str, Any], known: dict[str, str]) -> str:
    """Return a sentence about who did what. Objects without a name are represented by their ID.

    :param known: names by ID.
    """
    kind, said, subject = event["subjectType"].replace("_", " "), members(event), event["subject"]
    name = known.get(subject) or said.get("name") or said.get("label") or said.get("kind") or subject
    of = known.get(said.get("agentId", ""), "") if kind == "credential" else ""
    words = (known.get(event["actor"], event["actor"]), WORDS[event["action"]], kind if kind in NAMED else "", name)
    return " ".join(filter(None, words)) + (f" of {of}" if of else "")
