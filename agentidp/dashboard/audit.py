"""``/dashboard/audit``: who changed what, for agents with the scope ``audit:read``."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Response, request

from agentidp.audit import ACTIONS
from agentidp.audit.reading import MAX_ID, list_call, represented
from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.http.errors import ValidationError

PAGE_SIZE = 50
"""Events in the table."""

blueprint = pages.new_blueprint("dashboard-audit", __name__)


@blueprint.get("/dashboard/audit")
@session.required_to("audit:read")
def audit(caller: Caller) -> Response:
    """The newest events, or older ones."""
    chosen = {name: request.args.get(name, "").strip() for name in ("action", "subject", "actor", "until")}
    events = _events(caller, chosen)
    shown = events[:PAGE_SIZE]
    query = {name: value for name, value in chosen.items() if value}
    older = urlencode(query | {"below": shown[-1]["sequence"]}) if len(events) > PAGE_SIZE else None
    return pages.page(
        "audit.html",
        here="audit",
        events=[event | {"when": datetime.fromisoformat(event["at"]), "changes": _changes(event)} for event in shown],
        names=_names(caller, shown),
        chosen=chosen,
        max_id=MAX_ID,
        actions=sorted(ACTIONS),
        older=older,
        is_first="below" not in request.args,
        newest=urlencode(query),
    )


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
            # The whole of the day is shown.
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
    return represented(rows)


def _names(caller: Caller, events: list[dict[str, Any]]) -> dict[str, str]:
    """The names of the agents in the events, by their ids."""
    ids = set()
    for event in events:
        for value in (event["actor"], event["subject"]):
            with contextlib.suppress(ValueError):
                ids.add(UUID(value))
    if not ids:
        return {}
    return {str(row.agent_id): row.name for row in caller.read("audit/agent_names", agent_ids=list(ids))}


def _changes(event: dict[str, Any]) -> list[str]:
    """What changed, as text."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    before, after = event["before"], event["after"]
    if before is not None and after is not None:
        return [f"{name}: {text(before[name])} → {text(value)}" for name, value in after.items()]
    return [f"{name}: {text(value)}" for name, value in (before or after or {}).items()]
