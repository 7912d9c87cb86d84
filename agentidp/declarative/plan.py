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
        owner_phrase = "" if self.type == ORGANIZATION else f" of {to_json(self.organization)}"
        return f"{self.type} {to_json(self.name)}{owner_phrase}"


@dataclass(frozen=True)
class Plan:
    """The differences between a file and an organization.

    :param organization_id: the id of the organization, even if the organization is still to be created.
    :param changes: the changes, in the order in which they must be made.
    :param omissions: printed lines about objects that only ``--strict`` would delete or change.
    """

    organization_id: str
    changes: list[Change]
    omissions: list[str]


def to_json(value: Any) -> str:
    """Return a value as JSON on a single line. Line breaks in strings are escaped."""
    return json.dumps(value, ensure_ascii=False)


def select_members(members: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return those of *members* whose names are in *names*, in the order of *names*."""
    return {name: members[name] for name in names if name in members}


def resolve_ids(declared: list[DeclaredOrganization], existing: list[dict[str, Any]]) -> list[str | None]:
    """Return the id of each organization in a file, or None for an organization that must be created.

    :param existing: ``organizationId`` and ``name`` of all organizations.
    :raises ConfigurationError: an id does not exist, a name is ambiguous, or the file has an organization twice.
    """
    existing_ids: list[str | None] = []
    for organization in declared:
        member_name = "organizationId" if "organizationId" in organization.content else "name"
        id_or_name = organization.content[member_name]
        found_ids = [
            existing_row["organizationId"] for existing_row in existing if existing_row[member_name] == id_or_name
        ]
        problem = ""
        if member_name == "organizationId" and not found_ids:
            problem = f"there is no organization {id_or_name!r}"
        elif len(found_ids) > 1:
            problem = (
                f"{len(found_ids)} organizations have this name: add organizationId, one of {', '.join(found_ids)}"
            )
        elif found_ids and found_ids[0] in existing_ids:
            problem = "this organization is in the file twice"
        if problem:
            raise ConfigurationError(f"{organization.describe_place(member_name)}: {problem}")
        existing_ids.append(found_ids[0] if found_ids else None)
    return existing_ids


def list_changes(content: dict[str, Any], current: dict[str, Any] | None, *, is_pruning: bool) -> list[Change]:
    """Return the changes that make an organization match a file, in the order in which they must be made.

    :param content: the organization in the file, as JSON of the API.
    :param current: the organization in the database including its objects, or None if it must be created.
    :param is_pruning: also delete objects that are missing from a list in the file.
    """
    organization_name = content["name"]
    declared_members = select_members(content, ORGANIZATION_MEMBERS)
    organization_change = Change("change", ORGANIZATION, organization_name, organization_name, after=declared_members)
    if current is None:
        del declared_members["name"]
        changes, current = [replace(organization_change, action="create")], {}
    else:
        changes = _list_differences(replace(organization_change, id=current["organizationId"]), current)
    object_changes = [
        change
        for kind in KINDS
        if kind.section in content
        for change in _compare_objects(kind, organization_name, content[kind.section], current)
    ]
    # Deletions precede all creations, so that a new object can have the name of a deleted object.
    changes += [change for change in object_changes if change.action == "delete" and is_pruning]
    return changes + [change for change in object_changes if change.action != "delete"]


def fill_omissions(content: dict[str, Any]) -> dict[str, Any]:
    """Return a file's content for an organization, with defaults and empty lists for everything that it omits."""
    filled_content: dict[str, Any] = (
        dict.fromkeys(ORGANIZATION_MEMBERS) | UNSET | {kind.section: [] for kind in KINDS} | content
    )
    for kind in KINDS:
        default_values = select_members(UNSET, kind.members) | kind.defaults
        filled_content[kind.section] = [default_values | members for members in filled_content[kind.section]]
    return filled_content


def list_omissions(planned_changes: list[Change], all_changes: list[Change]) -> list[str]:
    """Return a line per object or member that *all_changes* would delete or change, but *planned_changes* do not.

    :param planned_changes: the changes that will be made.
    :param all_changes: the changes if the omitted members had their defaults, and the omitted lists were empty.
    """
    planned_members = {(change.type, change.name): change.after for change in planned_changes}
    omissions = []
    for change in all_changes:
        member_names = change.after.keys() - planned_members.get((change.type, change.name), {})
        if change.action == "delete" and (change.type, change.name) not in planned_members:
            omissions.append(str(change))
        elif change.action == "change" and member_names:
            omissions.append(f"{change}: {', '.join(member for member in change.after if member in member_names)}")
    return omissions


def _compare_objects(
    kind: Kind, organization: str, declared: list[dict[str, Any]], current: dict[str, Any]
) -> Iterator[Change]:
    """Yield the changes, the creations and the deletions that make the objects of a kind match a file's list."""
    existing_objects = current.get(kind.section, [])
    existing_by_key = {object_members[kind.key]: object_members for object_members in existing_objects}
    for object_index, object_members in enumerate(declared):
        change = Change("create", kind.type, organization, object_members[kind.key], path=(kind.section, object_index))
        if existing_object := existing_by_key.get(change.name):
            declared_members = select_members(object_members, kind.members)
            change = replace(change, action="change", after=declared_members, id=existing_object[kind.id_name])
            yield from _list_differences(change, existing_object)
        else:
            yield replace(change, after=select_members(kind.defaults | object_members, kind.members))
    declared_keys = {object_members[kind.key] for object_members in declared}
    for existing_object in existing_objects:
        # Agents that provisioning rules created are not deleted, because no file lists them.
        if existing_object[kind.key] not in declared_keys and not existing_object.get("provisioned"):
            deleted_members, object_id = select_members(existing_object, kind.members), existing_object[kind.id_name]
            yield Change("delete", kind.type, organization, existing_object[kind.key], deleted_members, id=object_id)


def _list_differences(change: Change, existing: dict[str, Any]) -> list[Change]:
    """Return a list with the change of the members that differ from an existing object; empty if none differs."""
    changed_members = {member: value for member, value in change.after.items() if not _is_same(value, existing[member])}
    previous_members = select_members(existing, changed_members)
    return [replace(change, before=previous_members, after=changed_members)] if changed_members else []


def _is_same(value: Any, existing_value: Any) -> bool:
    """Return whether two values are equal. Lists such as scopes are equal in any order."""
    if isinstance(value, list) and isinstance(existing_value, list):
        as_json = partial(json.dumps, sort_keys=True)
        return sorted(value, key=as_json) == sorted(existing_value, key=as_json)
    return bool(value == existing_value)


def list_conflicts(agreed_plans: list[Plan], new_plans: list[Plan]) -> list[str]:
    """Return a line per object whose changes differ between two lists of plans for the same file."""
    agreed_changes, new_changes = (
        {(plan.organization_id, change.type, change.name): change for plan in plans for change in plan.changes}
        for plans in (agreed_plans, new_plans)
    )
    all_changes = agreed_changes | new_changes
    conflicts = [change for key, change in all_changes.items() if agreed_changes.get(key) != new_changes.get(key)]
    return list(dict.fromkeys(map(str, conflicts)))
