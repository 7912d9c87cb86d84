"""Records who changed what, in the transaction of the change.

Every change calls :func:`record`. Each organization has a hash chain of events (:mod:`agentidp.audit.chain`). Events
that belong to no organization, such as changes of signing keys, are in the chain of :data:`INSTANCE`.
"""

from __future__ import annotations

import json
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from agentidp.actor import Actor
from agentidp.audit.chain import NO_HASH, content_hash, event_hash
from agentidp.db.organization import Transaction

INSTANCE = "org-00000000-0000-0000-0000-000000000000"
"""The organization ID of the chain for events that belong to no organization."""

ACTIONS = {
    "agent.created": "An agent was registered.",
    "agent.changed": "An agent was changed, for example its name, its scopes or its status.",
    "agent.deleted": "An agent was deleted, and its credentials were revoked.",
    "agent.signed_in": "Somebody signed in to the dashboard as the agent: by a credential, a token or a link.",
    "agent.signed_out": "Somebody signed out of the dashboard.",
    "agent.sign_in_refused": "Somebody failed to sign in as the agent. At most ten a minute are recorded.",
    "agent.link_created": "An operator made a link that signs in to the dashboard as the agent.",
    "agent.token_issued": "An operator issued a token to the agent. Tokens that agents request are counted instead.",
    "agent.token_revoked": "Another agent revoked a token of the agent.",
    "agent.suspension_announced": "It was announced that the agent, which is dormant, will be suspended.",
    "agent.erased": "The name and the other texts of a deleted agent were erased, here as well.",
    "alert_target.created": "An alert target was created. The part of its address that is no secret is recorded.",
    "alert_target.changed": "An alert target was changed.",
    "alert_target.deleted": "An alert target was deleted, and what waited to be sent to it.",
    "credential.created": "A credential was created. A public key is recorded, a secret is not.",
    "credential.revoked": "A credential was revoked.",
    "delegation_rule.created": "A rule by which agents may act for subjects of another issuer was created.",
    "delegation_rule.deleted": "A rule by which agents may act for subjects of another issuer was deleted. Tokens that "
    "were issued by it ended.",
    "finding.acknowledged": "A finding was acknowledged.",
    "finding.muted": "Findings of a kind, about an agent or about any, were muted.",
    "finding.unmuted": "The mutes that applied to a finding were ended.",
    "instance.restored": "A backup was restored. The events after the backup are gone. Recorded for the instance.",
    "marker.created": "A time was marked, such as a deployment or a holiday.",
    "marker.deleted": "A marker was deleted.",
    "organization.created": "The organization was created.",
    "organization.changed": "The organization was changed, for example its name, its budget or its status.",
    "organization.deleted": "The organization was deleted. This trail and its resource identifiers stay.",
    "person.signed_in": "A person signed in to the dashboard at the OpenID Connect provider.",
    "person.signed_out": "A person signed out of the dashboard.",
    "person.sign_in_refused": "A person has no access here, or none any more. At most ten a minute are recorded.",
    "provisioning_rule.created": "A rule that creates agents at first sight was created.",
    "provisioning_rule.deleted": "A rule that creates agents at first sight was deleted. Its agents stay.",
    "quota.changed": "A quota of an agent or of the organization was set or changed.",
    "quota.deleted": "A quota of an agent or of the organization was deleted.",
    "resource_server.created": "A resource server was registered.",
    "resource_server.changed": "A resource server was changed, for example its scopes.",
    "resource_server.deleted": "A resource server was deleted.",
    "resource.assigned": "An operator gave a resource identifier to the organization.",
    "resource.released": "An operator took a resource identifier from the organization.",
    "usage.imported": "An operator added the usage in a file, which is named by its SHA-256.",
    "usage.pruned": "An operator deleted the usage of the days before a day.",
    "audit.pruned": "An operator removed the oldest events of the trail. The event names the last of them.",
    "signing_key.created": "A signing key was created. Recorded for the instance.",
    "signing_key.revoked": "A signing key was revoked. Recorded for the instance.",
    "signing_key.reencrypted": "A signing key was encrypted under another secret. Recorded for the instance.",
}
"""The recorded actions and their descriptions. The part before the dot is the type of the subject."""


class _Event(NamedTuple):
    at: datetime
    actor: Actor
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def record(
    opened: Transaction,
    action: str,
    subject: UUID | str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Record a change that the open transaction makes.

    The event is written immediately before the transaction commits. The actor is the transaction's actor. With both
    *before* and *after*, only the members that differ are recorded. If no member differs, no event is recorded.

    :param action: one of :data:`ACTIONS`.
    :param subject: the ID of the object that is changed.
    :param before: the object before the change, as JSON values and instants, without fractions. Never include a secret
        or its hash. None for an object that is created.
    :param after: the object after the change, likewise. None for an object that is deleted.
    :raises ValueError: *action* is unknown.
    """
    if action not in ACTIONS:
        raise ValueError(f"describe the action {action} in ACTIONS")
    if before is not None and after is not None:
        changed = [name for name in before | after if before.get(name) != after.get(name)]
        if not changed:
            return
        before, after = ({name: side.get(name) for name in changed} for side in (before, after))
    opened.before_commit(
        _write, _Event(opened.at, opened.actor, action, str(subject), _as_json(before), _as_json(after))
    )


def _write(opened: Transaction, events: list[_Event]) -> None:
    # Every transaction locks the head last, so the lock cannot cause a deadlock.
    [head] = opened.fetch("audit/lock_head", hash=bytes.fromhex(NO_HASH))
    previous_hash = bytes(head.hash).hex()
    for sequence, event in enumerate(events, head.sequence + 1):
        chained = _chained(opened.organization_id, event, sequence, previous_hash)
        _add(opened, event, chained)
        previous_hash = chained["hash"]


def _chained(organization_id: str, event: _Event, sequence: int, previous_hash: str) -> dict[str, Any]:
    actor = event.actor
    chained: dict[str, Any] = {
        "organizationId": organization_id,
        "sequence": sequence,
        "eventId": str(uuid.uuid4()),
        "at": _timestamp(event.at),
        "actorType": actor.type,
        "actor": actor.name,
        "action": event.action,
        "subjectType": event.action.partition(".")[0],
        "subject": event.subject,
        "before": event.before,
        "after": event.after,
        "clientAddress": actor.client_address,
        "requestId": actor.request_id,
        "salt": secrets.token_hex(16),
        "previousHash": previous_hash,
    }
    chained["contentHash"] = content_hash(chained)
    chained["hash"] = event_hash(chained)
    return chained


def _add(opened: Transaction, event: _Event, chained: dict[str, Any]) -> None:
    opened.fetch(
        "audit/add_event",
        sequence=chained["sequence"],
        event_id=UUID(chained["eventId"]),
        at=event.at,
        actor_type=chained["actorType"],
        actor=chained["actor"],
        action=chained["action"],
        subject_type=chained["subjectType"],
        subject=chained["subject"],
        before=_json(event.before),
        after=_json(event.after),
        salt=bytes.fromhex(chained["salt"]),
        content_hash=bytes.fromhex(chained["contentHash"]),
        client_address=chained["clientAddress"],
        request_id=chained["requestId"],
        previous_hash=bytes.fromhex(chained["previousHash"]),
        hash=bytes.fromhex(chained["hash"]),
    )


def represent(row: Any) -> dict[str, Any]:
    """Return an event's row as the JSON object from which its hash is computed."""
    return {
        "organizationId": row.organization_id,
        "sequence": row.sequence,
        "eventId": str(row.event_id),
        "at": _timestamp(row.at),
        "actorType": row.actor_type,
        "actor": row.actor,
        "action": row.action,
        "subjectType": row.subject_type,
        "subject": row.subject,
        "before": row.before,
        "after": row.after,
        "clientAddress": row.client_address,
        "requestId": row.request_id,
        "salt": None if row.salt is None else bytes(row.salt).hex(),
        "contentHash": bytes(row.content_hash).hex(),
        "previousHash": bytes(row.previous_hash).hex(),
        "hash": bytes(row.hash).hex(),
    }


def _as_json(content: dict[str, Any] | None) -> dict[str, Any] | None:
    if content is None:
        return None
    return {name: _timestamp(value) if isinstance(value, datetime) else value for name, value in content.items()}


def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)
