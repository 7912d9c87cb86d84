"""``/dashboard/agents``: the organization's agents and their usage in a period; to search, filter and sort."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Response, request

from agentidp.analytics.agent_activity import STATUSES_OF_USAGE
from agentidp.analytics.owner_usage import represent, tokens_by_owner
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.page_findings import BadgesByAgent, unusual_agents
from agentidp.dashboard.period import Period, requested_period
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import NotFound, ValidationError
from agentidp.http.schemas import MAX_NAME
from agentidp.registry.agents import AgentSchema

PAGE_SIZE = 50
"""Agents in a table."""

MAX_OWNERS = 20
"""On the page: those with the most tokens. All of them are in the CSV."""

MAX_PAGE = 100_000
MAX_SEARCH = MAX_NAME
"""Characters of a search for part of a name."""

SHARE_LIMIT = 80
"""An agent with a higher percentage of the period's tokens is flagged."""

SORTS = {
    "name": "by name",
    "tokens": "by tokens",
    "requests": "by requests",
    "rejected": "by rejected requests",
    "last_request": "by last request",
    "last_token": "by last token",
    "last_rejection": "by last rejection",
}
"""Column -> how the table is called that is sorted by it."""

LISTED = [member for member in forms.members(AgentSchema()) if member.is_listed]
"""What the list shows of an agent beside its name and description."""

blueprint = pages.new_blueprint("dashboard-agents", __name__)


@dataclass(frozen=True, slots=True)
class AgentUsage:
    """An agent, its usage in a period, and the hours of its last token, request and rejection in it.

    :param listed: its other members that lists show, by their columns.
    """

    agent_id: UUID
    name: str
    description: str
    listed: dict[str, Any]
    status: str
    tokens: int
    requests: int
    rejected: int
    last_token: datetime | None
    last_request: datetime | None
    last_rejection: datetime | None


@dataclass(frozen=True, slots=True)
class AgentPage:
    """A page of the agents that are found.

    ``count`` is how many are found; ``all_agents`` and ``all_tokens`` are of all agents.
    """

    data: list[AgentUsage]
    count: int
    all_agents: int
    all_tokens: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which agents are shown, and in what order."""

    search: str = ""
    status: str = ""
    sort: str = "tokens"
    order: str = ""
    unusual: str = ""

    @property
    def is_descending(self) -> bool:
        """Whether the last come first. Unless it is said, most come first, and names begin with A."""
        return self.sort != "name" if not self.order else self.order == "desc"

    def query_of_heading(self, period: Period, sort: str) -> str:
        """The query of the address to which the heading of a column leads: the other order, if it is the column's."""
        order = ("asc" if self.is_descending else "desc") if sort == self.sort else ""
        return self.query(period, sort=sort, order=order)

    def query(self, period: Period, **changes: Any) -> str:
        """The query of an address that shows them, with *changes*."""
        chosen = dataclasses.asdict(self) | changes
        return f"{period.query}&{urlencode({name: value for name, value in chosen.items() if value})}"


@blueprint.get("/dashboard/agents")
@session.required
def agents(caller: Caller) -> Response:
    """The agents that are asked for, fifty on a page."""
    period, number = requested_period(caller.at), requested_page()
    call, selection, unusual = agents_shown(caller, period, PAGE_SIZE * (number - 1))
    [rows] = caller.read_together(call)
    shown = agent_page(rows)
    if not shown.data and number != 1:
        raise NotFound
    return pages.page(
        "agents.html",
        slow_part=lambda: {"owners": _owners(caller, period), "max_owners": MAX_OWNERS},
        here="agents",
        period=period,
        selection=selection,
        agents=shown,
        unusual=unusual,
        listed=LISTED,
        number=number,
        pages=max(1, -(-shown.count // PAGE_SIZE)),
        share_limit=SHARE_LIMIT,
        statuses=STATUSES_OF_USAGE,
        sorts=SORTS,
    )


def _owners(caller: Caller, period: Period) -> list[dict[str, Any]] | None:
    """The tokens by owner; ``None`` if they could not be computed."""
    try:
        [rows] = caller.read_together(tokens_by_owner(period))
    except DatabaseUnavailable:
        return None
    return represent(rows)


def agents_shown(
    caller: Caller, period: Period, offset: int = 0, *, limit: int = PAGE_SIZE
) -> tuple[Call, Selection, BadgesByAgent | None]:
    """The statement that reads the agents that the request asks for, what it asks for, and which agents are unusual
    because of which findings.
    """
    selection, unusual = _requested_selection(), unusual_agents(caller)
    among = (unusual or {}) if selection.unusual else None
    return agents_of_the_period(period, selection, offset, limit=limit, among=among), selection, unusual


def agents_of_the_period(
    period: Period,
    selection: Selection,
    offset: int = 0,
    *,
    limit: int = PAGE_SIZE,
    among: Collection[UUID] | None = None,
) -> Call:
    """The statement that reads a page of agents; :func:`agent_page` takes its rows.

    :param among: of these only.
    """
    return Call(
        "dashboard/agents",
        {
            **period.bounds,
            "search": selection.search,
            "status": selection.status or None,
            "agent_ids": None if among is None else list(among),
            "sort": selection.sort,
            "descending": selection.is_descending,
            "limit": limit,
            "offset": offset,
        },
    )


def agent_page(rows: Rows) -> AgentPage:
    """The rows of :func:`agents_of_the_period`."""
    data = [agent_of(row) for row in rows]
    if not rows:
        return AgentPage(data, 0, 0, 0)
    return AgentPage(data, rows[0].matches, rows[0].all_agents, rows[0].all_tokens)


def agents_by_id(shown: Call, after: UUID, limit: int) -> Call:
    """The statement that reads those of the agents that *shown* lists which are among the next ones by id.

    Its rows are for :func:`agent_of`. The last one may be of an agent that is not listed, to go on after it.

    :param limit: how many agents it looks at, those included that are not listed.
    """
    kept = ("first", "last", "search", "status", "agent_ids")
    return Call(
        "dashboard/agents_by_id",
        {name: shown.parameters[name] for name in kept} | {"after": after, "limit": limit},
    )


def agent_of(row: Any) -> AgentUsage:
    """A row of a statement that reads agents."""
    return AgentUsage(
        row.agent_id,
        row.name,
        row.description,
        {member.column: getattr(row, member.column) for member in LISTED},
        row.status,
        row.tokens,
        row.requests,
        row.rejected,
        _hour(row.token_day, row.token_hour),
        _hour(row.request_day, row.request_hour),
        _hour(row.rejection_day, row.rejection_hour),
    )


def _hour(day: date | None, hour: int | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), UTC) + timedelta(hours=hour or 0)


def _requested_selection() -> Selection:
    chosen = Selection(
        request.args.get("search", "").strip(),
        request.args.get("status", ""),
        request.args.get("sort", "tokens"),
        request.args.get("order", ""),
        request.args.get("unusual", ""),
    )
    accepted = {"status": ("", *STATUSES_OF_USAGE), "sort": SORTS, "order": ("", "asc", "desc"), "unusual": ("", "1")}
    if any(getattr(chosen, name) not in values for name, values in accepted.items()):
        raise ValidationError("The agents cannot be filtered or sorted by this.")
    if len(chosen.search) > MAX_SEARCH or "\0" in chosen.search:
        raise ValidationError(f"Search for at most {MAX_SEARCH} characters.")
    return chosen


def requested_page() -> int:
    """Which page of a table the request asks for; the first is 1.

    :raises ValidationError: it is no whole number, or too high.
    """
    number = request.args.get("page", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number) or int(number) > MAX_PAGE:
        raise ValidationError(f"The page must be a whole number from 1 to {MAX_PAGE}.")
    return int(number)
