"""What differs between a file and the database. Functions on plain data: nothing here reads or writes."""

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
    """One object that differs.

    :param action: ``create``, ``change`` or ``delete``.
    :param type: ``organization``, ``resource server`` or ``agent``.
    :param organization: the name of its organization.
    :param name: its own name; of a resource server the identifier.
    :param before: the members that differ, as they are.
    :param after: the members that differ, as the file says; of a new object all of them.
    :param id: of an object that exists.
    :param path: where in the file it is, below its organization.
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
    """What differs in one organization of a file.

    :param name: of the organization, as the file says.
    :param organization_id: its id; of a new one, that which it gets.
    :param is_new: there is none yet.
    :param changes: in the order in which they can be made.
    """

    name: str
    organization_id: str
    is_new: bool
    changes: list[Change]


def as_text(value: Any) -> str:
    """A value as JSON: a line break in a description does not break the line."""
    return json.dumps(value, ensure_ascii=False)


def resolve(declared: list[Declared], existing: list[dict[str, Any]]) -> list[str | None]:
    """The id of the organization that each one in the file describes, or ``None`` if it is to be created.

    :param existing: ``organizationId`` and ``name`` of every organization.
    :raises ConfigurationError: an id that does not exist; a name that several have; two that mean the same.
    """
    found: list[str | None] = []
    for one in declared:
        wanted = one.content.get("organizationId")
        member, value = ("organizationId", wanted) if wanted else ("name", one.content["name"])
        ids = [row["organizationId"] for row in existing if row[member] == value]
        if wanted and not ids:
            raise ConfigurationError(f"{one.place('organizationId')}: there is no organization {wanted!r}")
        if len(ids) > 1:
            several = f"{len(ids)} organizations have this name: add organizationId, one of {', '.join(ids)}"
            raise ConfigurationError(f"{one.place('name')}: {several}")
        if ids and ids[0] in found:
            raise ConfigurationError(f"{one.place(member)}: this organization is in the file twice")
        found.append(ids[0] if ids else None)
    return found


def differences(content: dict[str, Any], current: dict[str, Any] | None, *, is_pruning: bool) -> list[Change]:
    """What to do so that an organization is as the file says, in the order in which it can be done.

    What the file leaves out stays as it is: a member of an object, and a whole list.

    :param content: of the file, as the JSON of our API.
    :param current: the organization, with its lists, or ``None`` if there is none.
    :param is_pruning: also delete what a list in the file does not name.
    """
    own = {name: content[name] for name in ORGANIZATION_MEMBERS if name in content}
    name = content["name"]
    if current is None:
        first = [Change("create", ORGANIZATION, name, name, after={key: own[key] for key in own if key != "name"})]
        current = {}
    else:
        first = _changed(ORGANIZATION, name, name, own, current, current["organizationId"], ())
    deletions: list[Change] = []
    others: list[Change] = []
    for kind in KINDS:
        if kind.section in content:
            others += _of_kind(kind, name, content[kind.section], current)
            # First, so that what is created may take the place of what is deleted.
            deletions += _surplus(kind, name, content[kind.section], current) if is_pruning else []
    return [*first, *deletions, *others]


def _of_kind(kind: Kind, organization: str, wanted: list[dict[str, Any]], current: dict[str, Any]) -> Iterator[Change]:
    present = {one[kind.key]: one for one in current.get(kind.section, [])}
    for index, one in enumerate(wanted):
        key, path = one[kind.key], (kind.section, index)
        if (there := present.get(key)) is None:
            new = kind.defaults | one
            after = {name: new[name] for name in kind.members if name in new}
            yield Change("create", kind.type, organization, key, after=after, path=path)
        else:
            members = {name: one[name] for name in kind.members if name in one}
            yield from _changed(kind.type, organization, key, members, there, there[kind.id_name], path)


def _changed(
    type_: str, organization: str, name: str, wanted: dict[str, Any], there: dict[str, Any], id_: str, path: Path
) -> list[Change]:
    names = [member for member, value in wanted.items() if not _is_same(value, there[member])]
    if not names:
        return []
    before, after = ({member: side[member] for member in names} for side in (there, wanted))
    return [Change("change", type_, organization, name, before, after, id_, path)]


def _is_same(one: Any, other: Any) -> bool:
    """Lists are sets: the order of scopes, or of rules of trust, means nothing."""
    if isinstance(one, list) and isinstance(other, list):
        in_order = partial(json.dumps, sort_keys=True)
        return sorted(one, key=in_order) == sorted(other, key=in_order)
    return bool(one == other)


def _surplus(kind: Kind, organization: str, wanted: list[dict[str, Any]], current: dict[str, Any]) -> list[Change]:
    named = {one[kind.key] for one in wanted}
    return [
        Change("delete", kind.type, organization, one[kind.key], {name: one[name] for name in kind.members}, {}, id_)
        for one in current.get(kind.section, [])
        # Agents of provisioning rules are in no file.
        if one[kind.key] not in named and not one.get("provisioned") and (id_ := one[kind.id_name])
    ]


def changed_meanwhile(agreed: list[Plan], now: list[Plan]) -> list[str]:
    """What others have changed between two plans of a file: a line for each object, or for each of its members."""
    return [line for then, since in zip(agreed, now, strict=True) for line in _changed_in(then, since)]


def _changed_in(agreed: Plan, now: Plan) -> Iterator[str]:
    if agreed.organization_id != now.organization_id:
        yield f"{ORGANIZATION} {as_text(agreed.name)} {_presence(not agreed.is_new, not now.is_new)}"
        return
    planned, found = ({(one.type, one.name): one for one in plan.changes} for plan in (agreed, now))
    for key in planned | found:
        then, since = planned.get(key), found.get(key)
        if then == since:
            continue
        was, is_ = _is_there(then, since), _is_there(since, then)
        if was != is_ or (then and since and then.id != since.id):
            yield f"{then or since} {_presence(was, is_)}"
            continue
        before, after = (one.before if one else {} for one in (then, since))
        for member in before | after:
            texts = [as_text(side[member]) if member in side else "as in the file" for side in (before, after)]
            if texts[0] != texts[1]:
                yield f"{then or since}: {member} was {texts[0]}, is now {texts[1]}"


def _is_there(change: Change | None, other: Change | None) -> bool:
    """Whether an object existed when one of two plans was made. One that the plan does not mention was as in the file:
    there, unless the other plan deletes it.
    """
    return change.action != "create" if change else other is not None and other.action != "delete"


def _presence(was: bool, is_: bool) -> str:
    if was and is_:
        return "was replaced by another one of its name"
    return "exists now" if is_ else "no longer exists"
