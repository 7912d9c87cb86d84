"""``/dashboard/audit``: the audit trail, for sessions with the scope ``audit:read``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urlencode

from flask import Response, g, request

from agentidp.alerts.state_change import kind_label
from agentidp.audit import ACTIONS, words
from agentidp.audit.reading import MAX_ID, build_list_call, represent_rows
from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.dashboard.filters import time_label
from agentidp.db.sql import Call
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import words_of

PAGE_SIZE = 50
"""Maximum number of audit events on a page."""

_IS_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """An actor, a subject or a mentioned object, as the page shows it.

    :param kind: the type to write before the name; empty if the name is enough.
    :param path: the path of the object's page, below the dashboard's path; empty if there is no page.
    :param agent: the agent to which a credential or grant belongs.
    """

    kind: str
    name: str
    path: str = ""
    agent: Reference | None = None


@pages.blueprint.get("/dashboard/audit")
@session.required_to("audit:read")
def list_audit_events(caller: Caller) -> Response:
    """Show the newest audit events that the filters select, or a page of older events."""
    selection = {
        filter_name: request.args.get(filter_name, "").strip()
        for filter_name in ("action", "subject", "actor", "until")
    }
    objects_by_filter = _find_named_objects(caller, selection)
    ids_by_filter = {
        filter_name: objects[0][0] for filter_name, objects in objects_by_filter.items() if len(objects) == 1
    }
    events = _read_events(caller, selection | ids_by_filter)
    page_events = events[:PAGE_SIZE]
    parameters = {filter_name: filter_value for filter_name, filter_value in selection.items() if filter_value}
    older_query = urlencode(parameters | {"below": page_events[-1]["sequence"]}) if len(events) > PAGE_SIZE else None
    references_by_id = _read_references(caller, page_events)
    return pages.page(
        "audit.html",
        here="audit",
        events=[_describe(event, references_by_id, caller.at) for event in page_events],
        selection=selection,
        max_id=MAX_ID,
        actions=sorted(ACTIONS),
        ambiguous={filter_name: objects for filter_name, objects in objects_by_filter.items() if len(objects) > 1},
        older=older_query,
        is_first="below" not in request.args,
        newest=urlencode(parameters),
    )


def _find_named_objects(caller: Caller, selection: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Return, per filter that contains a name, the (id, name) pairs of the objects with this name."""
    typed_names = {
        filter_name: typed_name
        for filter_name in ("subject", "actor")
        if (typed_name := selection[filter_name]) and "\0" not in typed_name and not words.IS_ID.fullmatch(typed_name)
    }
    if not typed_names:
        return {}
    agent_queries = [
        Call("agents/agents_named", {"name": typed_name, "is_deleted": is_deleted})
        for typed_name in typed_names.values()
        for is_deleted in (False, True)
    ]
    servers, targets, *agent_row_lists = caller.read_together(
        Call("oauth/list_resource_servers", {}), Call("alerts/list_targets", {}), *agent_queries
    )
    names_by_id = words.map_names_by_id(
        [agent_row for agent_rows in agent_row_lists for agent_row in agent_rows], servers, targets
    )
    return {
        filter_name: [(object_id, name) for object_id, name in names_by_id.items() if name == typed_name]
        for filter_name, typed_name in typed_names.items()
    }


def _read_events(caller: Caller, selection: dict[str, str]) -> list[dict[str, Any]]:
    if selection["action"] not in ("", *ACTIONS):
        raise ValidationError("There is no such action.")
    if any(len(filter_value) > MAX_ID or "\0" in filter_value for filter_value in selection.values()):
        raise ValidationError(f"An ID has at most {MAX_ID} characters.")
    end_sequence_text = request.args.get("below")
    if end_sequence_text is not None and not re.fullmatch(r"[1-9][0-9]{0,17}", end_sequence_text):
        raise ValidationError("This is not the number of an event.")
    last_instant = None
    if selection["until"]:
        try:
            last_instant = datetime.combine(date.fromisoformat(selection["until"]), time.max, UTC)
        except ValueError:
            raise ValidationError("The last day must be a date.") from None
    filter_values = {filter_name: selection[filter_name] or None for filter_name in ("actor", "action", "subject")}
    end_sequence = int(end_sequence_text) if end_sequence_text else None
    [event_rows] = caller.read_together(
        build_list_call(below=end_sequence, **filter_values, since=None, until=last_instant, limit=PAGE_SIZE + 1)
    )
    return represent_rows(event_rows)


def _read_references(caller: Caller, events: list[dict[str, Any]]) -> dict[str, Reference]:
    """Return the named actors, subjects and mentioned objects of audit events, by id."""
    name_calls = words.build_name_calls(events)
    agents, servers, targets, rules = caller.read_together(*name_calls, Call("delegation/list_rules", {}))
    server_path_template = "/resource-servers/{}" if g.viewer.may("agents:read") else ""
    # The names of deleted alert targets and resource servers exist only in the audit events.
    references_by_id = {
        event["subject"]: Reference(event["subjectType"].replace("_", " "), members["name"])
        for event in events
        if event["subjectType"] in ("alert_target", "resource_server") and "name" in (members := words.members(event))
    }
    references_by_id[caller.organization_id] = Reference("organization", g.viewer.organization_name)
    for server in servers:
        server_path = server_path_template.format(server.resource_server_id)
        references_by_id[str(server.resource_server_id)] = Reference("resource server", server.name, server_path)
    references_by_id |= {str(target.target_id): Reference("alert target", target.name) for target in targets}
    references_by_id |= {str(rule.delegation_rule_id): Reference("delegation rule", rule.name) for rule in rules}
    return references_by_id | {
        str(agent.agent_id): Reference("", agent.name, f"/agents/{agent.agent_id}") for agent in agents
    }


def _describe(event: dict[str, Any], references_by_id: dict[str, Reference], at: datetime) -> dict[str, Any]:
    return event | {
        "when": datetime.fromisoformat(event["at"]),
        "by": references_by_id.get(event["actor"]) or Reference("", event["actor"]),
        "verb": ACTIONS[event["action"]].verb,
        "object": _describe_subject(event, references_by_id),
        "changes": _describe_changes(event, references_by_id, at),
    }


def _describe_subject(event: dict[str, Any], references_by_id: dict[str, Reference]) -> Reference:
    """Return the subject of an audit event. A subject without a name is shown by its id."""
    subject_id, subject_kind, members = event["subject"], event["subjectType"].replace("_", " "), words.members(event)
    if subject_id in references_by_id:
        return references_by_id[subject_id]
    if subject_kind in ("credential", "grant"):
        return Reference(
            subject_kind, members.get("label") or "", agent=references_by_id.get(members.get("agentId", ""))
        )
    if subject_kind == "finding":
        return Reference(subject_kind, kind_label(str(members.get("kind", ""))), f"/findings/{subject_id}")
    if subject_kind in words.NAMED:
        issuer = members.get("issuer") if subject_kind == "openid provider" else None
        return Reference(subject_kind, members.get("kind") or members.get("name") or issuer or subject_id)
    return Reference("", subject_id)


def _describe_changes(event: dict[str, Any], references_by_id: dict[str, Reference], at: datetime) -> list[str]:
    """Return the changes of an audit event, one text per member. For a created or deleted subject, leave out empty
    members, false flags, and the agent of a credential or grant, because the subject already names the agent."""

    def describe_value(value: Any) -> str:
        if value is None or value in ("", []):
            return "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int):
            return f"{value:,}"
        if isinstance(value, list):
            return ", ".join(map(describe_value, value))
        if isinstance(value, dict):
            return ", ".join(f"{words_of(name)} {describe_value(inner_value)}" for name, inner_value in value.items())
        if value in references_by_id:
            return references_by_id[value].name
        if isinstance(value, str) and _IS_INSTANT.fullmatch(value):
            return f"{time_label(datetime.fromisoformat(value), at)} UTC"
        return str(value)

    old_members, new_members = event["before"], event["after"]
    if old_members is not None and new_members is not None:
        return [
            f"{words_of(name)}: {describe_value(old_members[name])} → {describe_value(value)}"
            for name, value in new_members.items()
        ]
    shown_members = {
        name: value
        for name, value in words.members(event).items()
        if value is not False and value not in (None, "", [])
    }
    if event["subjectType"] in ("credential", "grant"):
        shown_members.pop("agentId", None)
    return [f"{words_of(name.removesuffix('Id'))}: {describe_value(value)}" for name, value in shown_members.items()]
