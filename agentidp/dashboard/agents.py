"""``/dashboard/agents``: the organization's agents and their usage in a period, with search, filters and sorting."""

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
"""Maximum number of agents on a page of the table."""

MAX_OWNERS = 20
"""Maximum number of owners on the page, those with the most tokens. The CSV has all owners."""

MAX_PAGE = 100_000
MAX_SEARCH = MAX_NAME
"""Maximum number of characters of a search text."""

SHARE_LIMIT = 80
"""Percentage of the period's tokens above which an agent is flagged."""

SORTS = {
    "name": "by name",
    "tokens": "by tokens",
    "requests": "by requests",
    "rejected": "by rejected requests",
    "last_request": "by last request",
    "last_token": "by last token",
    "last_rejection": "by last rejection",
}
"""Column -> words for the order in the caption of the table."""

LISTED = [member for member in forms.members(AgentSchema()) if member.is_listed]
"""Members of an agent that the list shows in addition to its name and description."""

blueprint = pages.new_blueprint("dashboard-agents", __name__)


@dataclass(frozen=True, slots=True)
class AgentUsage:
    """An agent, its usage in a period, and the hours of its last token, request and rejection in the period.

    :param listed: the values of :data:`LISTED`, by column.
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
    """A page of the matching agents.

    ``count`` is the number of matching agents on all pages. ``all_agents`` and ``all_tokens`` include the other agents.
    """

    data: list[AgentUsage]
    count: int
    all_agents: int
    all_tokens: int


@dataclass(frozen=True, slots=True)
class Selection:
    """The filters and the order of the table of agents."""

    search: str = ""
    status: str = ""
    sort: str = "tokens"
    order: str = ""
    unusual: str = ""

    @property
    def is_descending(self) -> bool:
        """Whether the order is descending. Default: ascending for names, descending for any other column."""
        return self.sort != "name" if not self.order else self.order == "desc"

    def query_of_heading(self, period: Period, sort: str) -> str:
        """Return the query for the link in a column's heading. A table sorted by this column is sorted in reverse."""
        order = ("asc" if self.is_descending else "desc") if sort == self.sort else ""
        return self.query(period, sort=sort, order=order)

    def query(self, period: Period, **changes: Any) -> str:
        """Return the query of an address with this selection and *changes*."""
        chosen = dataclasses.asdict(self) | changes
        return f"{period.query}&{urlencode({name: value for name, value in chosen.items() if value})}"


@blueprint.get("/dashboard/agents")
@session.required
def agents(caller: Caller) -> Response:
    """Show a page of the agents that the request selects."""
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
    """Return the tokens by owner; ``None`` if the database is unavailable or too slow."""
    try:
        [rows] = caller.read_together(tokens_by_owner(period))
    except DatabaseUnavailable:
        return None
    return represent(rows)


def agents_shown(
    caller: Caller, period: Period, offset: int = 0, *, limit: int = PAGE_SIZE
) -> tuple[Call, Selection, BadgesByAgent | None]:
    """Return the statement that reads the agents that the request selects, the selection, and the unusual agents, which
    are ``None`` if the findings could not be computed.
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
    """Return the statement that reads a page of agents. Pass its rows to :func:`agent_page`.

    :param among: the only agents to read; ``None`` for all.
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
    """Return the page for rows of :func:`agents_of_the_period`."""
    data = [agent_of(row) for row in rows]
    if not rows:
        return AgentPage(data, 0, 0, 0)
    return AgentPage(data, rows[0].matches, rows[0].all_agents, rows[0].all_tokens)


def agents_by_id(shown: Call, after: UUID, limit: int) -> Call:
    """Return the statement that reads the next agents by id. Pass its rows with ``is_listed`` to :func:`agent_of`.

    The last row may be an agent that is not listed, because the next statement begins after the last row.

    :param shown: the statement of :func:`agents_of_the_period` whose filters apply.
    :param after: agents with greater ids only.
    :param limit: the maximum number of agents that the statement examines, listed or not.
    """
    kept = ("first", "last", "search", "status", "agent_ids")
    return Call(
        "dashboard/agents_by_id",
        {name: shown.parameters[name] for name in kept} | {"after": after, "limit": limit},
    )


def agent_of(row: Any) -> AgentUsage:
    """Return the agent in a row of :func:`agents_of_the_period` or :func:`agents_by_id`."""
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
    """Return the number of the page that the request asks for; the first page is 1.

    :raises ValidationError: the number is not a whole number from 1 to :data:`MAX_PAGE`.
    """
    number = request.args.get("page", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number) or int(number) > MAX_PAGE:
        raise ValidationError(f"The page must be a whole number from 1 to {MAX_PAGE}.")
    return int(number)
