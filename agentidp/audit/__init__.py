"""Records who changed what, in the transaction of the change.

Each organization has a hash chain of events (:mod:`agentidp.audit.chain`). Events that belong to no organization, such
as changes of signing keys, are in the chain of :data:`INSTANCE`.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from agentidp.audit.chain import NO_HASH, compute_event_hash, content_hash
from agentidp.db.organization import Transaction

INSTANCE = "org-00000000-0000-0000-0000-000000000000"
"""The organization ID in audit events about the whole instance, for example about a new signing key."""


class Action(NamedTuple):
    """An action in the audit trail.

    :ivar verb: the words between the actor and the subject in a sentence about an event.
    :ivar description: a sentence for the documentation.
    """

    verb: str
    description: str


_ACTIONS = {
    "agent.created": ("registered", "An agent was registered."),
    "agent.changed": ("changed", "An agent was changed, for example its name, scopes or status."),
    "agent.deleted": ("deleted", "An agent was deleted, and its credentials were revoked."),
    "agent.signed_in": ("signed in as", "Somebody signed in to the dashboard as the agent."),
    "agent.signed_out": ("signed out as", "Somebody signed out of the dashboard."),
    "agent.sign_in_refused": ("failed to sign in as", "A sign-in failed. At most 10 per minute are recorded."),
    "agent.link_created": ("created a sign-in link for", "An operator created a link that signs in as the agent."),
    "agent.tokens_ended": ("ended the tokens of", "All tokens that had been issued to the agent were ended."),
    "agent.token_issued": ("issued a token to", "An operator issued a token. Agents' own requests are not recorded."),
    "agent.token_revoked": ("revoked a token of", "Another agent revoked a token of the agent."),
    "agent.suspension_announced": ("announced the suspension of", "The suspension of the dormant agent was announced."),
    "agent.erased": ("erased the texts of", "The name and texts of a deleted agent were erased, in this trail too."),
    "agent.grants_ended": ("ended all grants to", "All grants of people to an agent were ended."),
    "alert_target.created": ("created the", "An alert target was created. Secrets in the address are not recorded."),
    "alert_target.changed": ("changed the", "An alert target was changed."),
    "alert_target.deleted": ("deleted the", "An alert target was deleted, with the messages that waited for it."),
    "credential.created": ("created the", "A credential was created. A public key is recorded, a secret is not."),
    "credential.revoked": ("revoked the", "A credential was revoked."),
    "delegation_rule.created": ("created the", "A delegation rule was created."),
    "delegation_rule.deleted": ("deleted the", "A delegation rule was deleted. Its tokens are inactive from then on."),
    "delegation_rule.grants_ended": ("ended all grants by the", "All grants by a delegation rule were ended."),
    "finding.acknowledged": ("acknowledged the", "A finding was acknowledged."),
    "finding.muted": ("muted the", "Findings of a kind were muted, for one agent or for all."),
    "finding.unmuted": ("unmuted the", "All mutes that applied to a finding were removed."),
    "grant.allowed": ("allowed the", "A person allowed an agent to act for them at a resource server."),
    "grant.refused": ("refused the", "A person did not let an agent act."),
    "grant.ended": ("ended the", "A grant of a person was ended, with its tokens."),
    "grant.reused": ("reused a token of the", "A code or refresh token was used twice, so its grant was ended."),
    "instance.restored": ("restored a backup of", "A backup was restored. All events after the backup are lost."),
    "marker.created": ("created the", "A marker was created, for example for a deployment or a holiday."),
    "marker.deleted": ("deleted the", "A marker was deleted."),
    "openid_provider.created": ("added the", "An OpenID provider was added. Its secret is not recorded."),
    "openid_provider.changed": ("changed the", "An OpenID provider was changed. Secrets are not recorded."),
    "openid_provider.deleted": ("deleted the", "An OpenID provider was deleted, with the grants of its people."),
    "organization.created": ("created the", "The organization was created."),
    "organization.changed": ("changed the", "The organization was changed, for example its name, budget or status."),
    "organization.deleted": (
        "deleted the",
        "The organization was deleted. The organization's trail and resource identifiers stay.",
    ),
    "person.signed_in": ("signed in as", "A person signed in to the dashboard at the OpenID Connect provider."),
    "person.signed_out": ("signed out as", "A person signed out of the dashboard."),
    "person.sign_in_refused": ("failed to sign in as", "A sign-in was refused. At most 10 per minute are recorded."),
    "provisioning_rule.created": ("created the", "A provisioning rule was created. It creates agents for workloads."),
    "provisioning_rule.deleted": ("deleted the", "A provisioning rule was deleted. The agents that it created stay."),
    "quota.changed": ("set a quota of", "A quota of an agent or of the organization was created or changed."),
    "quota.deleted": ("removed a quota of", "A quota of an agent or of the organization was deleted."),
    "resource_server.created": ("registered the", "A resource server was registered."),
    "resource_server.changed": ("changed the", "A resource server was changed, for example its scopes."),
    "resource_server.deleted": ("deleted the", "A resource server was deleted."),
    "resource.assigned": ("assigned the identifier", "An operator gave a resource identifier to the organization."),
    "resource.released": ("released the identifier", "An operator took a resource identifier from the organization."),
    "usage.imported": ("imported the usage of", "An operator added usage from a file. Its SHA-256 is recorded."),
    "usage.pruned": ("deleted the oldest usage of", "An operator deleted the usage before a day."),
    "audit.pruned": (
        "removed the oldest events of",
        "An operator removed the oldest events, up to the recorded sequence.",
    ),
    "signing_key.created": ("created the", "A signing key was created."),
    "signing_key.revoked": ("revoked the", "A signing key was revoked."),
    "signing_key.reencrypted": ("re-encrypted the", "A signing key was encrypted under another secret."),
}

ACTIONS = {name: Action(*words) for name, words in _ACTIONS.items()}
"""The actions that the audit trail records, by name. The part of a name before the dot is the type of the subject."""

_COLUMNS = (
    "organization_id sequence event_id at actor_type actor action subject_type subject before after client_address "
    "request_id salt content_hash previous_hash hash"
)
_MEMBERS = {column: re.sub("_(.)", lambda letter: letter[1].upper(), column) for column in _COLUMNS.split()}
"""Names of the members of an audit event's JSON, by column, in the order of the JSON."""


def record(
    transaction: Transaction,
    action: str,
    subject: UUID | str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Record a change by the transaction in the audit trail, immediately before the commit.

    If *before* and *after* are both present, only the members that differ are recorded. If none differs, no event is
    recorded.

    :param action: one of :data:`ACTIONS`.
    :param subject: the ID of the object that is changed.
    :param before: the object before the change, as JSON values and instants, without fractions, secrets and hashes of
        secrets. None for an object that is created.
    :param after: the object after the change, in the same form. None for an object that is deleted.
    """
    if action not in ACTIONS:
        raise ValueError(f"describe the action {action} in ACTIONS")
    if before is not None and after is not None:
        changed_members = [member for member in before | after if before.get(member) != after.get(member)]
        if not changed_members:
            return
        before, after = ({member: state.get(member) for member in changed_members} for state in (before, after))
    event = {
        "organization_id": transaction.organization_id,
        "event_id": uuid.uuid4(),
        "at": transaction.at,
        "actor_type": transaction.actor.type,
        "actor": transaction.actor.name,
        "action": action,
        "subject_type": action.partition(".")[0],
        "subject": str(subject),
        "before": None if before is None else _convert_values(before),
        "after": None if after is None else _convert_values(after),
        "client_address": transaction.actor.client_address,
        "request_id": transaction.actor.request_id,
        "salt": secrets.token_bytes(16),
    }
    transaction.before_commit(_append_to_chain, event)


def _append_to_chain(transaction: Transaction, events: list[dict[str, Any]]) -> None:
    # This lock causes no deadlock, because every transaction locks the head of the chain last.
    [chain_head] = transaction.fetch("audit/lock_head", hash=bytes.fromhex(NO_HASH))
    previous_hash = bytes(chain_head.hash)
    for sequence, event in enumerate(events, chain_head.sequence + 1):
        event |= {"sequence": sequence, "previous_hash": previous_hash}
        event["content_hash"] = bytes.fromhex(content_hash(_build_event(event)))
        event["hash"] = previous_hash = bytes.fromhex(compute_event_hash(_build_event(event)))
        json_columns = {
            member_name: None if event[member_name] is None else json.dumps(event[member_name])
            for member_name in ("before", "after")
        }
        transaction.fetch("audit/add_event", **event | json_columns)


def represent(row: Any) -> dict[str, Any]:
    """Return an event's row as JSON."""
    return _build_event(row._asdict())


def _build_event(values_by_column: dict[str, Any]) -> dict[str, Any]:
    return _convert_values(
        {member: values_by_column[column] for column, member in _MEMBERS.items() if column in values_by_column}
    )


def _convert_values(values_by_member: dict[str, Any]) -> dict[str, Any]:
    return {member: _as_json(value) for member, value in values_by_member.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value
