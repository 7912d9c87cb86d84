"""``/dashboard/audit``: the audit trail, for sessions with the scope ``audit:read``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urlencode

from flask import Response, g, request

from agentidp.audit import ACTIONS, words
from agentidp.audit.reading import MAX_ID, list_call, represent_rows
from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.dashboard.filters import time_label
from agentidp.db.sql import Call
from agentidp.http.errors import ValidationError

PAGE_SIZE = 50
"""Maximum number of events in the table."""

_IS_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")

blueprint = pages.new_blueprint("dashboard-audit", __name__)


@dataclass(frozen=True, slots=True)
class Thing:
    """The actor or the subject of an event, as the page names it.

    :param kind: the type to write before the name; empty if the name is enough.
    :param name: the name for people.
    :param path: the path of its page, below the dashboard's path; empty without a page.
    :param agent: the agent to which a credential belongs.
    """

    kind: str
    name: str
    path: str = ""
    agent: Thing | None = None


@blueprint.get("/dashboard/audit")
@session.required_to("audit:read")
def audit(caller: Caller) -> Response:
    """Show the newest events that the filters select, or a page of older events."""
    chosen = {name: request.args.get(name, "").strip() for name in ("action", "subject", "actor", "until")}
    ids, several = _ids(caller, chosen)
    events = _events(caller, chosen | ids)
    shown = events[:PAGE_SIZE]
    query = {name: value for name, value in chosen.items() if value}
    older = urlencode(query | {"below": shown[-1]["sequence"]}) if len(events) > PAGE_SIZE else None
    names = _names(caller, shown)
    return pages.page(
        "audit.html",
        here="audit",
        events=[_shown(event, names, caller.at) for event in shown],
        chosen=chosen,
        max_id=MAX_ID,
        actions=sorted(ACTIONS),
        several=several,
        older=older,
        is_first="below" not in request.args,
        newest=urlencode(query),
    )


def _ids(caller: Caller, chosen: dict[str, str]) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Return filter -> the id, if the filter names one agent, server or target; and filter -> (id, name) of each, if it
    names several. A filter that names none is in neither, because it may be a user of the operating system.
    """
    typed = {name: chosen[name] for name in ("subject", "actor") if chosen[name] and "\0" not in chosen[name]}
    typed = {name: text for name, text in typed.items() if not words.IS_ID.fullmatch(text)}
    if not typed:
        return {}, {}
    agents = [
        Call("agents/agents_named", {"name": text, "is_deleted": is_deleted})
        for text in typed.values()
        for is_deleted in (False, True)
    ]
    servers, targets, *rows = caller.read_together(
        Call("oauth/list_resource_servers", {}), Call("alerts/list_targets", {}), *agents
    )
    known = [*words.names([row for found in rows for row in found], servers, targets).items()]
    meant = {name: [one for one in known if one[1] == text] for name, text in typed.items()}
    ids = {name: found[0][0] for name, found in meant.items() if len(found) == 1}
    return ids, {name: found for name, found in meant.items() if len(found) > 1}


def _events(caller: Caller, chosen: dict[str, str]) -> list[dict[str, Any]]:
    if chosen["action"] not in ("", *ACTIONS):
        raise ValidationError("There is no such action.")
    if any(len(value) > MAX_ID or "\0" in value for value in chosen.values()):
        raise ValidationError(f"An ID has at most {MAX_ID} characters.")
    below = request.args.get("below")
    if below is not None and not re.fullmatch(r"[1-9][0-9]{0,17}", below):
        raise ValidationError("This is not the number of an event.")
    until = None
    if chosen["until"]:
        try:
            # Include the whole last day.
            until = datetime.combine(date.fromisoformat(chosen["until"]), time.max, UTC)
        except ValueError:
            raise ValidationError("The last day must be a date.") from None
    [rows] = caller.read_together(
        list_call(
            below=int(below) if below else None,
            actor=chosen["actor"] or None,
            action=chosen["action"] or None,
            subject=chosen["subject"] or None,
            since=None,
            until=until,
            limit=PAGE_SIZE + 1,
        )
    )
    return represent_rows(rows)


def _names(caller: Caller, events: list[dict[str, Any]]) -> dict[str, Thing]:
    """Return the actors, subjects and mentioned objects that have names, by id."""
    agents, servers, targets = caller.read_together(*words.calls(events))
    server_path = "/resource-servers/{}" if g.viewer.may("agents:read") else ""
    # Other events of the page may have the name of a deleted target or resource server.
    names = {
        event["subject"]: Thing(event["subjectType"].replace("_", " "), members["name"])
        for event in events
        if event["subjectType"] in ("alert_target", "resource_server") and "name" in (members := words.members(event))
    }
    names[caller.organization_id] = Thing("organization", g.viewer.organization_name)
    for row in servers:
        path = server_path.format(row.resource_server_id)
        names[str(row.resource_server_id)] = Thing("resource server", row.name, path)
    for row in targets:
        names[str(row.target_id)] = Thing("alert target", row.name)
    for row in agents:
        names[str(row.agent_id)] = Thing("", row.name, f"/agents/{row.agent_id}")
    return names


def _shown(event: dict[str, Any], names: dict[str, Thing], at: datetime) -> dict[str, Any]:
    """Return an event with the fields that the page shows."""
    return event | {
        "when": datetime.fromisoformat(event["at"]),
        "by": names.get(event["actor"]) or Thing("", event["actor"]),
        "did": ACTIONS[event["action"]].verb,
        "of": _subject(event, names),
        "changes": _changes(event, names, at),
    }


def _subject(event: dict[str, Any], names: dict[str, Thing]) -> Thing:
    """Return the subject of an event. A subject without a name is shown by its id."""
    subject, kind, members = event["subject"], event["subjectType"].replace("_", " "), words.members(event)
    if subject in names:
        return names[subject]
    if kind == "credential":
        return Thing(kind, members.get("label") or "", agent=names.get(members.get("agentId", "")))
    if kind == "finding":
        return Thing(kind, str(members.get("kind", "")).replace("_", " "), f"/findings/{subject}")
    if kind in words.NAMED:
        return Thing(kind, members.get("kind") or members.get("name") or subject)
    return Thing("", subject)


def _changes(event: dict[str, Any], names: dict[str, Thing], at: datetime) -> list[str]:
    """Return the changes of an event, one string per member. Null members of a created or deleted subject are left out,
    and so is the agent of a credential, because the subject names the agent.
    """

    def text(value: Any) -> str:
        if value is None or value in ("", []):
            return "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int):
            return f"{value:,}"
        if isinstance(value, list):
            return ", ".join(map(text, value))
        if isinstance(value, dict):
            return ", ".join(f"{name} {text(of)}" for name, of in value.items())
        if value in names:
            return names[value].name
        if isinstance(value, str) and _IS_INSTANT.fullmatch(value):
            return f"{time_label(datetime.fromisoformat(value), at)} UTC"
        return str(value)

    before, after = event["before"], event["after"]
    if before is not None and after is not None:
        return [f"{_in_words(name)}: {text(before[name])} → {text(value)}" for name, value in after.items()]
    shown = {name: value for name, value in words.members(event).items() if value is not None}
    if event["subjectType"] == "credential":
        shown.pop("agentId", None)
    return [f"{_in_words(name)}: {text(value)}" for name, value in shown.items()]


def _in_words(member: str) -> str:
    """Return a member's name as words: ``expires at`` for ``expiresAt``."""
    return re.sub("[A-Z]", lambda capital: f" {capital[0].lower()}", member)
