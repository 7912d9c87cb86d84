"""Compares a file with the database. All functions work on plain data and neither read nor write anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from agentidp.config import ConfigurationError
from agentidp.declarative.document import DeclaredOrganization, Path
from agentidp.declarative.schemas import KINDS, ORGANIZATION_MEMBERS, UNSET, Kind

ORGANIZATION = "organization"


@dataclass(frozen=True)
class Change:
    """An object that differs between a file and the database.

    :param action: ``create``, ``change`` or ``delete``.
    :param type: ``organization``, or the type of a :class:`Kind`.
    :param organization: the name of the organization.
    :param name: the name of the object; the identifier of a resource server.
    :param before: the present values of the members that differ.
    :param after: the file's values of these members; all members of a new object.
    :param id: the id of an existing object.
    :param path: the place of the object in the file, below its organization.
    """

    action: str
    type: str
    organization: str
    name: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    path: Path = ()

    def __str__(self) -> str:
        of = "" if self.type == ORGANIZATION else f" of {to_json(self.organization)}"
        return f"{self.type} {to_json(self.name)}{of}"


@dataclass(frozen=True)
class Plan:
    """The differences between a file and an organization.

    :param organization_id: the id of the organization, even if it is new.
    :param changes: the differences, in an order in which they can be made.
    :param omitted: further differences that a strict comparison would have, for information only.
    """

    name: str
    organization_id: str
    is_new: bool
    changes: list[Change]
    omitted: list[Change] = field(default_factory=list, compare=False)


def to_json(value: Any) -> str:
    """Return a value as JSON on a single line, even if it is a text with line breaks."""
    return json.dumps(value, ensure_ascii=False)


def resolve_ids(declared: list[DeclaredOrganization], existing: list[dict[str, Any]]) -> list[str | None]:
    """Return the id of each organization of a file, or ``None`` for an organization that must be created.

    :param existing: ``organizationId`` and ``name`` of all organizations.
    :raises ConfigurationError: an id does not exist, several organizations have the name, or the file describes an
        organization twice.
    """
    resolved: list[str | None] = []
    for organization in declared:
        declared_id = organization.content.get("organizationId")
        member, value = ("organizationId", declared_id) if declared_id else ("name", organization.content["name"])
        ids = [row["organizationId"] for row in existing if row[member] == value]
        if declared_id and not ids:
            place = organization.describe_place("organizationId")
            raise ConfigurationError(f"{place}: there is no organization {declared_id!r}")
        if len(ids) > 1:
            rule = f"{len(ids)} organizations have this name: add organizationId, one of {', '.join(ids)}"
            raise ConfigurationError(f"{organization.describe_place('name')}: {rule}")
        if ids and ids[0] in resolved:
            raise ConfigurationError(f"{organization.describe_place(member)}: this organization is in the file twice")
        resolved.append(ids[0] if ids else None)
    return resolved


def list_changes(content: dict[str, Any], current: dict[str, Any] | None, *, is_pruning: bool) -> list[Change]:
    """Return the changes that make an organization match a file, in an order in which they can be made.

    Members and lists that the file leaves out are not changed.

    :param content: the organization in the file, as JSON of the API.
    :param current: the existing organization with its lists, or ``None`` if it must be created.
    :param is_pruning: also delete objects that are missing in a list of the file.
    """
    name = content["name"]
    members = {member: content[member] for member in ORGANIZATION_MEMBERS if member in content}
    if current is None:
        after = {member: value for member, value in members.items() if member != "name"}
        changes, current = [Change("create", ORGANIZATION, name, name, after=after)], {}
    else:
        changes = _compare_members(ORGANIZATION, name, name, members, current, current["organizationId"], ())
    creations_and_changes: list[Change] = []
    for kind in KINDS:
        if kind.section in content:
            creations_and_changes += _compare_objects(kind, name, content[kind.section], current)
            # Deletions come first, so that a new object may get the name of a deleted object.
            changes += _list_deletions(kind, name, content[kind.section], current) if is_pruning else []
    return [*changes, *creations_and_changes]


def fill_omissions(content: dict[str, Any]) -> dict[str, Any]:
    """Return an organization's content with defaults and empty lists for everything that the file leaves out."""
    filled: dict[str, Any] = (
        dict.fromkeys(ORGANIZATION_MEMBERS) | UNSET | {kind.section: [] for kind in KINDS} | content
    )
    for kind in KINDS:
        defaults = {name: value for name, value in UNSET.items() if name in kind.members} | kind.defaults
        filled[kind.section] = [defaults | members for members in filled[kind.section]]
    return filled


def list_omissions(changes: list[Change], strict_changes: list[Change]) -> list[Change]:
    """Return those changes and changed members of a strict comparison that are not in *changes*."""
    planned = {(change.type, change.name): change for change in changes}
    omitted = []
    for change in strict_changes:
        own = planned.get((change.type, change.name))
        members = {name: value for name, value in change.after.items() if own is None or name not in own.after}
        if change.action == "delete" and own is None:
            omitted.append(change)
        elif change.action == "change" and members:
            omitted.append(replace(change, before={name: change.before[name] for name in members}, after=members))
    return omitted


def _compare_objects(
    kind: Kind, organization: str, declared: list[dict[str, Any]], current: dict[str, Any]
) -> Iterator[Change]:
    existing = {members[kind.key]: members for members in current.get(kind.section, [])}
    for index, members in enumerate(declared):
        key, path = members[kind.key], (kind.section, index)
        if key in existing:
            compared = {name: members[name] for name in kind.members if name in members}
            id_ = existing[key][kind.id_name]
            yield from _compare_members(kind.type, organization, key, compared, existing[key], id_, path)
        else:
            new = kind.defaults | members
            after = {name: new[name] for name in kind.members if name in new}
            yield Change("create", kind.type, organization, key, after=after, path=path)


def _compare_members(
    type_: str, organization: str, key: str, declared: dict[str, Any], existing: dict[str, Any], id_: str, path: Path
) -> list[Change]:
    after = {name: value for name, value in declared.items() if not _is_same(value, existing[name])}
    before = {name: existing[name] for name in after}
    return [Change("change", type_, organization, key, before, after, id_, path)] if after else []


def _is_same(value: Any, other_value: Any) -> bool:
    """Return whether two values are equal. The order in a list does not matter for scopes and rules of trust."""
    if isinstance(value, list) and isinstance(other_value, list):
        as_json = partial(json.dumps, sort_keys=True)
        return sorted(value, key=as_json) == sorted(other_value, key=as_json)
    return bool(value == other_value)


def _list_deletions(
    kind: Kind, organization: str, declared: list[dict[str, Any]], current: dict[str, Any]
) -> Iterator[Change]:
    keys = {members[kind.key] for members in declared}
    for members in current.get(kind.section, []):
        # Agents of provisioning rules are kept, because files do not list them.
        if members[kind.key] not in keys and not members.get("provisioned"):
            before = {name: members[name] for name in kind.members}
            yield Change("delete", kind.type, organization, members[kind.key], before, id=members[kind.id_name])


def list_conflicts(agreed_plans: list[Plan], new_plans: list[Plan]) -> list[str]:
    """Return a line per object or member that was changed between two plans of the same file."""
    plans = zip(agreed_plans, new_plans, strict=True)
    return [line for agreed_plan, new_plan in plans for line in _compare_plans(agreed_plan, new_plan)]


def _compare_plans(agreed: Plan, new: Plan) -> Iterator[str]:
    if agreed.organization_id != new.organization_id:
        yield f"{ORGANIZATION} {to_json(agreed.name)} {_describe_presence(not agreed.is_new, not new.is_new)}"
        return
    agreed_changes, new_changes = (
        {(change.type, change.name): change for change in plan.changes} for plan in (agreed, new)
    )
    for key in agreed_changes | new_changes:
        earlier, later = agreed_changes.get(key), new_changes.get(key)
        if earlier == later:
            continue
        existed, exists = _has_existed(earlier, later), _has_existed(later, earlier)
        if existed != exists or (earlier and later and earlier.id != later.id):
            yield f"{earlier or later} {_describe_presence(existed, exists)}"
            continue
        before, after = (change.before if change else {} for change in (earlier, later))
        for member in before | after:
            values = [to_json(side[member]) if member in side else "as in the file" for side in (before, after)]
            if values[0] != values[1]:
                yield f"{earlier or later}: {member} was {values[0]}, is now {values[1]}"


def _has_existed(change: Change | None, other_change: Change | None) -> bool:
    """Return whether an object existed when the plan with *change* was made.

    If this plan does not change it, it was as in the file, so it existed unless the other plan deletes it.
    """
    return change.action != "create" if change else other_change is not None and other_change.action != "delete"


def _describe_presence(existed: bool, exists: bool) -> str:
    if existed and exists:
        return "was replaced by another one of its name"
    return "exists now" if exists else "no longer exists"
