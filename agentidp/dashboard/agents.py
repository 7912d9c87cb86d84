"""``/dashboard/agents``: the organization's agents and their usage in a period, with search, filters and sorting."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Response, request

from agentidp.analytics.agent_activity import STATUSES_OF_USAGE
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.page_findings import BadgesByAgent, read_unusual_agents
from agentidp.dashboard.period import Period, parse_period
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import MAX_NAME, MAX_OWNER
from agentidp.registry.agents import AgentSchema

PAGE_SIZE = 50
"""Maximum number of items per page of a table."""

MAX_PAGE = 100_000

SHARE_LIMIT = 80
"""Percentage of the period's tokens above which the table highlights an agent."""

SORTS = {
    "name": "by name",
    "tokens": "by tokens",
    "requests": "by requests",
    "rejected": "by rejected requests",
    "last_request": "by last request",
}
"""The words in the table's caption that name its order, by the parameter ``sort``."""

FILTERS = ("search", "owner", "status", "unusual")
"""Parameters of the request that select agents."""

LISTED_MEMBERS = [member for member in forms.members(AgentSchema()) if member.is_listed]
"""Members of an agent that the table shows in addition to the name and the description."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The filters and the order that a request has chosen for the table of agents."""

    search: str = ""
    owner: str = ""
    status: str = ""
    sort: str = "tokens"
    order: str = ""
    unusual: str = ""

    @property
    def is_descending(self) -> bool:
        """Whether the table's order is descending. By default, only the order by name is ascending."""
        return self.sort != "name" if not self.order else self.order == "desc"

    @property
    def filters(self) -> dict[str, str]:
        """The values of the filters that are set, by the filter's name."""
        return {filter_name: filter_value for filter_name in FILTERS if (filter_value := getattr(self, filter_name))}

    def build_heading_query(self, period: Period, sort: str) -> str:
        """Return the URL query of a heading: sort by *sort*, or reverse the order if *sort* is already chosen."""
        order = ("asc" if self.is_descending else "desc") if sort == self.sort else ""
        return self.build_query(period, sort=sort, order=order)

    def build_query(self, period: Period, **changes: Any) -> str:
        """Return the URL query for the period and this selection. *changes* replace values of the selection."""
        parameters = dataclasses.asdict(self) | changes
        return f"{period.query}&{urlencode({parameter: value for parameter, value in parameters.items() if value})}"


@pages.blueprint.get("/dashboard/agents")
@session.required
def list_agents(caller: Caller) -> Response:
    """Show a page of the agents that the request has selected."""
    period, page_number, selection = parse_period(caller.at), read_page_number(), _read_selection()
    return pages.page(
        "agents.html",
        slow_part=lambda: _read_slow_part(caller, period, page_number),
        here="agents",
        period=period,
        selection=selection,
        listed=LISTED_MEMBERS,
        share_limit=SHARE_LIMIT,
        statuses=STATUSES_OF_USAGE,
        sorts=SORTS,
    )


def _read_slow_part(caller: Caller, period: Period, page_number: int) -> dict[str, Any]:
    """Return the variables for the part of the page that is sent last. If *page_number* is too high, return page 1."""
    agents_call, _, badges_by_agent = select_agents(caller, period, PAGE_SIZE * (page_number - 1))
    [agent_rows] = caller.read_together(agents_call)
    if not agent_rows and page_number != 1:
        return _read_slow_part(caller, period, 1)
    return {
        "agents": agent_rows,
        "count": count_matches(agent_rows),
        "badges_by_agent": badges_by_agent,
        "number": page_number,
        "pages": count_pages(count_matches(agent_rows)),
    }


def select_agents(
    caller: Caller, period: Period, offset: int = 0, *, limit: int = PAGE_SIZE
) -> tuple[Call, Selection, BadgesByAgent | None]:
    """Return a triple: the statement that reads the selected agents, the selection, and the findings by agent.

    The findings are ``None`` if they could not be computed.
    """
    selection, badges_by_agent = _read_selection(), read_unusual_agents(caller)
    agent_ids = list(badges_by_agent or {}) if selection.unusual else None
    return build_agents_call(period, selection, offset, limit=limit, agent_ids=agent_ids), selection, badges_by_agent


def build_agents_call(
    period: Period,
    selection: Selection,
    offset: int = 0,
    *,
    limit: int = PAGE_SIZE,
    agent_ids: list[UUID] | None = None,
) -> Call:
    """Return the statement that reads a page of agents: only the agents *agent_ids*, or any agents if ``None``."""
    return Call(
        "dashboard/agents",
        {
            **period.bounds,
            "search": selection.search,
            "owner": selection.owner or None,
            "status": selection.status or None,
            "agent_ids": agent_ids,
            "sort": selection.sort,
            "descending": selection.is_descending,
            "limit": limit,
            "offset": offset,
        },
    )


def count_matches(rows: Rows) -> int:
    """Return the number of selected agents on all pages. *rows* are one page's rows of :func:`build_agents_call`."""
    return rows[0].matches if rows else 0


def build_next_agents_call(agents_call: Call, after_id: UUID, limit: int) -> Call:
    """Return the statement that reads the agents whose ids follow *after_id*, in the order of the ids.

    :param agents_call: the statement of :func:`build_agents_call` with the filters.
    :param limit: the maximum number of agents to read. The last agent has a row even if the filters exclude it.
    """
    filters = {
        name: agents_call.parameters[name] for name in ("first", "last", "search", "owner", "status", "agent_ids")
    }
    return Call("dashboard/agents_by_id", filters | {"after": after_id, "limit": limit})


def _read_selection() -> Selection:
    arguments = {name: argument.strip() for name, argument in request.args.items() if name in Selection.__slots__}
    selection = Selection(**arguments)
    choices = {"status": ("", *STATUSES_OF_USAGE), "sort": SORTS, "order": ("", "asc", "desc"), "unusual": ("", "1")}
    if any(getattr(selection, name) not in allowed_values for name, allowed_values in choices.items()):
        raise ValidationError("The agents cannot be filtered or sorted by this.")
    if len(selection.search) > MAX_NAME or "\0" in selection.search:
        raise ValidationError(f"Search for at most {MAX_NAME} characters.")
    if len(selection.owner) > MAX_OWNER or "\0" in selection.owner:
        raise ValidationError(f"An owner has at most {MAX_OWNER} characters.")
    return selection


def count_pages(item_count: int) -> int:
    """Return the number of pages for a number of items. Without items, there is an empty first page."""
    return max(1, -(-item_count // PAGE_SIZE))


def select_page(items: list[Any], page: int) -> tuple[list[Any], dict[str, int]]:
    """Return the items of a page and the variables for its links. If *page* is too high, return the last page."""
    page_count = count_pages(len(items))
    page = min(page, page_count)
    return items[PAGE_SIZE * (page - 1) : PAGE_SIZE * page], {"number": page, "pages": page_count}


def read_page_number() -> int:
    """Return the number of the chosen page, or raise :exc:`ValidationError` unless it is from 1 to :data:`MAX_PAGE`."""
    number = request.args.get("page", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number) or int(number) > MAX_PAGE:
        raise ValidationError(f"The page must be a whole number from 1 to {MAX_PAGE}.")
    return int(number)
