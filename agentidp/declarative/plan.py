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


def resolve_ids(declared: list[DeclaredOrganization], existing: list[dict[str, Any]]) -> list[str | None]:
    """Return the id of each organization in a file, or None for an organization that must be created.

    :param existing: ``organizationId`` and ``name`` of all organizations.
    :raises ConfigurationError: an id does not exist, several organizations have the name, or the file describes an
        organization twice.
    """
    resolved_ids: list[str | None] = []
    for organization in declared:
        declared_id = organization.content.get("organizationId")
        member, searched_value = (
            ("organizationId", declared_id) if declared_id else ("name", organization.content["name"])
        )
        matching_ids = [
            existing_organization["organizationId"]
            for existing_organization in existing
            if existing_organization[member] == searched_value
        ]
        if declared_id and not matching_ids:
            place_words = organization.describe_place("organizationId")
            raise ConfigurationError(f"{place_words}: there is no organization {declared_id!r}")
        if len(matching_ids) > 1:
            ids = ", ".join(matching_ids)
            error_message = f"{len(matching_ids)} organizations have this name: add organizationId, one of {ids}"
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
    declared_members = {member: content[member] for member in ORGANIZATION_MEMBERS if member in content}
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
        defaults = {
            member_name: unset_value for member_name, unset_value in UNSET.items() if member_name in kind.members
        } | kind.defaults
        filled_content[kind.section] = [defaults | members for members in filled_content[kind.section]]
    return filled_content


def list_omissions(changes: list[Change], strict_changes: list[Change]) -> list[Change]:
    """Return the parts of *strict_changes* that are not in *changes*: deletions, and changes of single members."""
    planned_changes = {(change.type, change.name): change for change in changes}
    omitted_changes = []
    for change in strict_changes:
        planned_change = planned_changes.get((change.type, change.name))
        omitted_members = {
            member_name: member_value
            for member_name, member_value in change.after.items()
            if planned_change is None or member_name not in planned_change.after
        }
        if change.action == "delete" and planned_change is None:
            omitted_changes.append(change)
        elif change.action == "change" and omitted_members:
            omitted_changes.append(
                replace(
                    change,
                    before={member_name: change.before[member_name] for member_name in omitted_members},
                    after=omitted_members,
                )
            )
    return omitted_changes


def _compare_objects(
    kind: Kind, organization: str, declared: list[dict[str, Any]], current: dict[str, Any]
) -> Iterator[Change]:
    existing_by_key = {members[kind.key]: members for members in current.get(kind.section, [])}
    for object_index, members in enumerate(declared):
        object_key, object_path = members[kind.key], (kind.section, object_index)
        if object_key in existing_by_key:
            compared_members = {
                member_name: members[member_name] for member_name in kind.members if member_name in members
            }
            object_id = existing_by_key[object_key][kind.id_name]
            yield from _compare_members(
                kind.type,
                organization,
                object_key,
                compared_members,
                existing_by_key[object_key],
                object_id,
                object_path,
            )
        else:
            object_members = kind.defaults | members
            new_members = {
                member_name: object_members[member_name]
                for member_name in kind.members
                if member_name in object_members
            }
            yield Change("create", kind.type, organization, object_key, after=new_members, path=object_path)


def _compare_members(
    type_: str, organization: str, key: str, declared: dict[str, Any], existing: dict[str, Any], id_: str, path: Path
) -> list[Change]:
    changed_members = {
        member_name: declared_value
        for member_name, declared_value in declared.items()
        if not _is_same(declared_value, existing[member_name])
    }
    earlier_members = {member_name: existing[member_name] for member_name in changed_members}
    return (
        [Change("change", type_, organization, key, earlier_members, changed_members, id_, path)]
        if changed_members
        else []
    )


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
            earlier_members = {member_name: members[member_name] for member_name in kind.members}
            yield Change(
                "delete", kind.type, organization, members[kind.key], earlier_members, id=members[kind.id_name]
            )


def list_conflicts(agreed_plans: list[Plan], new_plans: list[Plan]) -> list[str]:
    """Return a line per object or member that somebody changed between the making of two plans for the same file."""
    plan_pairs = zip(agreed_plans, new_plans, strict=True)
    return [
        conflict_line for agreed_plan, new_plan in plan_pairs for conflict_line in _compare_plans(agreed_plan, new_plan)
    ]


def _compare_plans(agreed: Plan, new: Plan) -> Iterator[str]:
    if agreed.organization_id != new.organization_id:
        yield f"{ORGANIZATION} {to_json(agreed.name)} {_describe_presence(not agreed.is_new, not new.is_new)}"
        return
    agreed_changes, new_changes = (
        {(change.type, change.name): change for change in plan.changes} for plan in (agreed, new)
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


def _describe_presence(existed: bool, exists: bool) -> str:
    if existed and exists:
        return "was replaced by another one of its name"
    return "exists now" if exists else "no longer exists"
