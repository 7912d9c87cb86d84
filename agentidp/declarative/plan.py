"""Compares a file with the database. All functions work on plain data and neither read nor write anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
    :param name: the name of the object, the identifier of a resource server, or the issuer of an OpenID provider.
    :param before: the values in the database of the members that differ, or of all members of a deleted object.
    :param after: the values in the file of the members that differ, or of all members of a new object.
    :param id: the id of an existing object, or None.
    :param path: the path to the object in the file, below its organization.
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

    :param organization_id: the id of the organization, even if the organization is still to be created.
    :param changes: the changes, in the order in which they must be made.
    :param omitted: changes of a strict comparison that are not made. They are only printed.
    """

    name: str
    organization_id: str
    is_new: bool
    changes: list[Change]
    omitted: list[Change] = field(default_factory=list, compare=False)


def to_json(value: Any) -> str:
    """Return a value as JSON on a single line. Line breaks in strings are escaped."""
    return json.dumps(value, ensure_ascii=False)


def select_members(members: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return those of *members* whose names are in *names*, in the order of *names*."""
    return {name: members[name] for name in names if name in members}


def resolve_ids(declared: list[DeclaredOrganization], existing: list[dict[str, Any]]) -> list[str | None]:
    """Return the id of each organization in a file, or None for an organization that must be created.

    :param existing: ``organizationId`` and ``name`` of all organizations.
    :raises ConfigurationError: an id does not exist, several organizations have the name, or the file describes an
        organization twice.
    """
    resolved_ids: list[str | None] = []
    for organization in declared:
        declared_id = organization.content.get("organizationId")
        member = "organizationId" if declared_id else "name"
        matching_ids = [other["organizationId"] for other in existing if other[member] == organization.content[member]]
        if declared_id and not matching_ids:
            problem_place = organization.describe_place("organizationId")
            raise ConfigurationError(f"{problem_place}: there is no organization {declared_id!r}")
        if len(matching_ids) > 1:
            listed_ids = ", ".join(matching_ids)
            error_message = f"{len(matching_ids)} organizations have this name: add organizationId, one of {listed_ids}"
            raise ConfigurationError(f"{organization.describe_place('name')}: {error_message}")
        if matching_ids and matching_ids[0] in resolved_ids:
            raise ConfigurationError(f"{organization.describe_place(member)}: this organization is in the file twice")
        resolved_ids.append(matching_ids[0] if matching_ids else None)
    return resolved_ids


def list_changes(content: dict[str, Any], current: dict[str, Any] | None, *, is_pruning: bool) -> list[Change]:
    """Return the changes that make an organization match a file, in the order in which they must be made.

    Members and lists that the file omits are not changed.

    :param content: the organization in the file, as JSON of the API.
    :param current: the organization in the database including its objects, or None if it must be created.
    :param is_pruning: also delete objects that are missing from a list in the file.
    """
    organization_name = content["name"]
    declared_members = select_members(content, ORGANIZATION_MEMBERS)
    if current is None:
        new_members = {member: member_value for member, member_value in declared_members.items() if member != "name"}
        changes, current = [Change("create", ORGANIZATION, organization_name, organization_name, after=new_members)], {}
    else:
        changes = _compare_members(
            ORGANIZATION, organization_name, organization_name, declared_members, current, current["organizationId"], ()
        )
    creations_and_changes: list[Change] = []
    for kind in KINDS:
        if kind.section in content:
            creations_and_changes += _compare_objects(kind, organization_name, content[kind.section], current)
            # Deletions precede all creations, so that a new object can have the name of a deleted object.
            changes += _list_deletions(kind, organization_name, content[kind.section], current) if is_pruning else []
    return [*changes, *creations_and_changes]


def fill_omissions(content: dict[str, Any]) -> dict[str, Any]:
    """Return a file's content for an organization, with defaults and empty lists for everything that it omits."""
    filled_content: dict[str, Any] = (
        dict.fromkeys(ORGANIZATION_MEMBERS) | UNSET | {kind.section: [] for kind in KINDS} | content
    )
    for kind in KINDS:
        default_values = select_members(UNSET, kind.members) | kind.defaults
        filled_content[kind.section] = [default_values | members for members in filled_content[kind.section]]
    return filled_content


def list_omissions(changes: list[Change], strict_changes: list[Change]) -> list[Change]:
    """Return the parts of *strict_changes* that are not in *changes*: deletions, and changes of single members."""
    planned_changes = {(change.type, change.name): change for change in changes}
    omitted_changes = []
    for change in strict_changes:
        planned_change = planned_changes.get((change.type, change.name))
        planned_members = planned_change.after if planned_change else {}
        omitted_members = {member: value for member, value in change.after.items() if member not in planned_members}
        if change.action == "delete" and planned_change is None:
            omitted_changes.append(change)
        elif change.action == "change" and omitted_members:
            earlier_members = select_members(change.before, omitted_members)
            omitted_changes.append(replace(change, before=earlier_members, after=omitted_members))
    return omitted_changes


def _compare_objects(
    kind: Kind, organization: str, declared: list[dict[str, Any]], current: dict[str, Any]
) -> Iterator[Change]:
    existing_by_key = {object_members[kind.key]: object_members for object_members in current.get(kind.section, [])}
    for index, object_members in enumerate(declared):
        key, path = object_members[kind.key], (kind.section, index)
        if existing := existing_by_key.get(key):
            compared_members = select_members(object_members, kind.members)
            object_id = existing[kind.id_name]
            yield from _compare_members(kind.type, organization, key, compared_members, existing, object_id, path)
        else:
            new_members = select_members(kind.defaults | object_members, kind.members)
            yield Change("create", kind.type, organization, key, after=new_members, path=path)


def _compare_members(
    type_: str, organization: str, key: str, declared: dict[str, Any], existing: dict[str, Any], id_: str, path: Path
) -> list[Change]:
    changed_members = {member: value for member, value in declared.items() if not _is_same(value, existing[member])}
    earlier_members = select_members(existing, changed_members)
    change = Change("change", type_, organization, key, earlier_members, changed_members, id_, path)
    return [change] if changed_members else []


def _is_same(value: Any, other_value: Any) -> bool:
    """Return whether two values are equal. Lists such as scopes are equal in any order."""
    if isinstance(value, list) and isinstance(other_value, list):
        as_json = partial(json.dumps, sort_keys=True)
        return sorted(value, key=as_json) == sorted(other_value, key=as_json)
    return bool(value == other_value)


def _list_deletions(
    kind: Kind, organization: str, declared: list[dict[str, Any]], current: dict[str, Any]
) -> Iterator[Change]:
    declared_keys = {members[kind.key] for members in declared}
    for members in current.get(kind.section, []):
        # Agents that provisioning rules created are not deleted, because no file lists them.
        if members[kind.key] not in declared_keys and not members.get("provisioned"):
            earlier_members, object_id = select_members(members, kind.members), members[kind.id_name]
            yield Change("delete", kind.type, organization, members[kind.key], earlier_members, id=object_id)


def list_conflicts(agreed_plans: list[Plan], new_plans: list[Plan]) -> list[str]:
    """Return a line per object or member that somebody changed between the making of two plans for the same file."""
    return [line for plans in zip(agreed_plans, new_plans, strict=True) for line in _compare_plans(*plans)]


def _compare_plans(agreed_plan: Plan, new_plan: Plan) -> Iterator[str]:
    if agreed_plan.organization_id != new_plan.organization_id:
        presence = _describe_presence(not agreed_plan.is_new, not new_plan.is_new)
        yield f"{ORGANIZATION} {to_json(agreed_plan.name)} {presence}"
        return
    agreed_changes, new_changes = (
        {(change.type, change.name): change for change in plan.changes} for plan in (agreed_plan, new_plan)
    )
    for object_key in agreed_changes | new_changes:
        earlier_change, later_change = agreed_changes.get(object_key), new_changes.get(object_key)
        if earlier_change == later_change:
            continue
        has_existed, exists_now = _has_existed(earlier_change, later_change), _has_existed(later_change, earlier_change)
        if has_existed != exists_now or (earlier_change and later_change and earlier_change.id != later_change.id):
            yield f"{earlier_change or later_change} {_describe_presence(has_existed, exists_now)}"
            continue
        earlier_members, later_members = (change.before if change else {} for change in (earlier_change, later_change))
        for member in earlier_members | later_members:
            value_texts = [
                to_json(members[member]) if member in members else "as in the file"
                for members in (earlier_members, later_members)
            ]
            if value_texts[0] != value_texts[1]:
                yield f"{earlier_change or later_change}: {member} was {value_texts[0]}, is now {value_texts[1]}"


def _has_existed(change: Change | None, other_change: Change | None) -> bool:
    """Return whether an object existed when a plan was made.

    A plan without a change of an object means that the object was as in the file. A file contains an object unless a
    plan for the file deletes the object.

    :param change: the change of the object in this plan, or None.
    :param other_change: the change of the object in another plan of the same file, or None.
    """
    return change.action != "create" if change else other_change is not None and other_change.action != "delete"


def _describe_presence(has_existed: bool, exists_now: bool) -> str:
    if has_existed and exists_now:
        return "was deleted and created again"
    return "exists now" if exists_now else "no longer exists"
