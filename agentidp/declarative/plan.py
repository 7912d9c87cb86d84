"""Compares a file with the database. All functions work on plain data and neither read nor write anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agentidp.config import ConfigurationError
from agentidp.declarative.document import Declared, Path
from agentidp.declarative.schemas import KINDS, ORGANIZATION_MEMBERS, Kind

ORGANIZATION = "organization"


@dataclass(frozen=True)
class Change:
    """An object that differs.

    :param action: ``create``, ``change`` or ``delete``.
    :param type: ``organization``, or the type of a :class:`Kind`.
    :param organization: the name of the organization.
    :param name: the name of the object; the identifier of a resource server.
    :param before: the present values of the members that differ.
    :param after: their values in the file; all members of a new object.
    :param id: the id of an object that exists.
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
        of = "" if self.type == ORGANIZATION else f" of {as_text(self.organization)}"
        return f"{self.type} {as_text(self.name)}{of}"


@dataclass(frozen=True)
class Plan:
    """The differences of an organization of a file.

    :param organization_id: the id, which a new organization gets.
    :param changes: the differences, in an order in which they can be made.
    """

    name: str
    organization_id: str
    is_new: bool
    changes: list[Change]


def as_text(value: Any) -> str:
    """Return a value as JSON, so that a line break in a description does not break the line."""
    return json.dumps(value, ensure_ascii=False)


def resolve(declared: list[Declared], existing: list[dict[str, Any]]) -> list[str | None]:
    """Return the id of each organization of a file, or ``None`` for an organization that must be created.

    :param existing: ``organizationId`` and ``name`` of every organization.
    :raises ConfigurationError: an id does not exist, several organizations have a name, or the file describes an
        organization twice.
    """
    resolved: list[str | None] = []
    for organization in declared:
        declared_id = organization.content.get("organizationId")
        member, value = ("organizationId", declared_id) if declared_id else ("name", organization.content["name"])
        ids = [row["organizationId"] for row in existing if row[member] == value]
        if declared_id and not ids:
            place = organization.place("organizationId")
            raise ConfigurationError(f"{place}: there is no organization {declared_id!r}")
        if len(ids) > 1:
            rule = f"{len(ids)} organizations have this name: add organizationId, one of {', '.join(ids)}"
            raise ConfigurationError(f"{organization.place('name')}: {rule}")
        if ids and ids[0] in resolved:
            raise ConfigurationError(f"{organization.place(member)}: this organization is in the file twice")
        resolved.append(ids[0] if ids else None)
    return resolved


def differences(content: dict[str, Any], current: dict[str, Any] | None, *, is_pruning: bool) -> list[Change]:
    """Return the changes that make an organization as the file says, in an order in which they can be made.

    Members and lists that the file leaves out stay as they are.

    :param content: the organization of the file, as the JSON of our API.
    :param current: the existing organization with its lists, or ``None`` if it must be created.
    :param is_pruning: also delete objects that a list of the file does not name.
    """
    own = {name: content[name] for name in ORGANIZATION_MEMBERS if name in content}
    name = content["name"]
    if current is None:
        first = [Change("create", ORGANIZATION, name, name, after={key: own[key] for key in own if key != "name"})]
        current = {}
    else:
        first = _changed(ORGANIZATION, name, name, own, current, current["organizationId"], ())
    deletions: list[Change] = []
    creations_and_changes: list[Change] = []
    for kind in KINDS:
        if kind.section in content:
            creations_and_changes += _of_kind(kind, name, content[kind.section], current)
            # Deletions come first, so that a new object may have the name of a deleted one.
            deletions += _surplus(kind, name, content[kind.section], current) if is_pruning else []
    return [*first, *deletions, *creations_and_changes]


def _of_kind(kind: Kind, organization: str, in_file: list[dict[str, Any]], current: dict[str, Any]) -> Iterator[Change]:
    existing = {thing[kind.key]: thing for thing in current.get(kind.section, [])}
    for index, thing in enumerate(in_file):
        key, path = thing[kind.key], (kind.section, index)
        if (present := existing.get(key)) is None:
            new = kind.defaults | thing
            after = {name: new[name] for name in kind.members if name in new}
            yield Change("create", kind.type, organization, key, after=after, path=path)
        else:
            members = {name: thing[name] for name in kind.members if name in thing}
            yield from _changed(kind.type, organization, key, members, present, present[kind.id_name], path)


def _changed(
    type_: str, organization: str, name: str, in_file: dict[str, Any], present: dict[str, Any], id_: str, path: Path
) -> list[Change]:
    names = [member for member, value in in_file.items() if not _is_same(value, present[member])]
    if not names:
        return []
    before, after = ({member: values[member] for member in names} for values in (present, in_file))
    return [Change("change", type_, organization, name, before, after, id_, path)]


def _is_same(value: Any, other: Any) -> bool:
    """Compare two values. Lists are sets, because the order of scopes and of rules of trust has no meaning."""
    if isinstance(value, list) and isinstance(other, list):
        as_json = partial(json.dumps, sort_keys=True)
        return sorted(value, key=as_json) == sorted(other, key=as_json)
    return bool(value == other)


def _surplus(kind: Kind, organization: str, in_file: list[dict[str, Any]], current: dict[str, Any]) -> list[Change]:
    keys = {thing[kind.key] for thing in in_file}
    return [
        Change(
            "delete", kind.type, organization, thing[kind.key], {name: thing[name] for name in kind.members}, {}, id_
        )
        for thing in current.get(kind.section, [])
        # Agents of provisioning rules are in no file.
        if thing[kind.key] not in keys and not thing.get("provisioned") and (id_ := thing[kind.id_name])
    ]


def changed_meanwhile(agreed: list[Plan], now: list[Plan]) -> list[str]:
    """Return a line for each object or member that others have changed between two plans of a file."""
    return [line for agreed_plan, plan in zip(agreed, now, strict=True) for line in _changed_in(agreed_plan, plan)]


def _changed_in(agreed: Plan, now: Plan) -> Iterator[str]:
    if agreed.organization_id != now.organization_id:
        yield f"{ORGANIZATION} {as_text(agreed.name)} {_presence(not agreed.is_new, not now.is_new)}"
        return
    agreed_changes, changes = (
        {(change.type, change.name): change for change in plan.changes} for plan in (agreed, now)
    )
    for key in agreed_changes | changes:
        earlier, later = agreed_changes.get(key), changes.get(key)
        if earlier == later:
            continue
        was, is_ = _is_there(earlier, later), _is_there(later, earlier)
        if was != is_ or (earlier and later and earlier.id != later.id):
            yield f"{earlier or later} {_presence(was, is_)}"
            continue
        before, after = (change.before if change else {} for change in (earlier, later))
        for member in before | after:
            texts = [as_text(values[member]) if member in values else "as in the file" for values in (before, after)]
            if texts[0] != texts[1]:
                yield f"{earlier or later}: {member} was {texts[0]}, is now {texts[1]}"


def _is_there(change: Change | None, other: Change | None) -> bool:
    """Whether an object existed when one of two plans was made.

    An object that this plan does not change was as in the file, so it existed unless the other plan deletes it.
    """
    return change.action != "create" if change else other is not None and other.action != "delete"


def _presence(was: bool, is_: bool) -> str:
    if was and is_:
        return "was replaced by another one of its name"
    return "exists now" if is_ else "no longer exists"
