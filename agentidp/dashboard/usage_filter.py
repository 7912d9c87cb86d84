"""The filters of the overview and of the pages of usage: an owner, an agent, a resource and a credential.

Requests are counted per agent only, so a page that is filtered by a resource or a credential shows tokens only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from flask import request

from agentidp.analytics.attribution import Attribution, add_tokens, read_attribution
from agentidp.analytics.period import Period
from agentidp.caller import Caller
from agentidp.dashboard import counts
from agentidp.dashboard.counts import DayUsage
from agentidp.dashboard.period import DAY
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import ValidationError
from agentidp.http.resource_identifier import MAX_RESOURCE_LENGTH
from agentidp.http.schemas import MAX_OWNER

LABELS = {"owner": "Owner", "agent": "Agent", "resource": "API", "credential": "Credential"}
"""The labels of the filters, by parameter of the request."""

MISSING = {
    "owner": "No agent has the owner {}.",
    "agent": "The organization has no agent with this ID.",
    "credential": "The organization has no credential with this ID that was in force in these days.",
}
"""The message if nothing has the value of a filter, by filter. Only the filters that select agents are listed here."""


class DaysQuery(NamedTuple):
    """A statement that reads usage per day, and the function that returns the days from its rows."""

    call: Call
    build_days: Callable[[Rows], list[DayUsage]]


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """The filters of usage that a request has chosen.

    :param values: URL parameter -> its value, for the filters that are set.
    :param names: URL parameter -> the value's name for people.
    :param agent_ids: the only agents to count; ``None`` for all.
    :param resource: the only resource to count; empty for our own API, ``None`` for all.
    """

    values: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    agent_ids: frozenset[UUID] | None = None
    resource: str | None = None
    credential_id: UUID | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the filters that are set, by parameter."""
        return {name: LABELS[name] for name in self.values}

    @property
    def counts_tokens_only(self) -> bool:
        """Whether only tokens, and not requests, can be counted with these filters."""
        return self.resource is not None or self.credential_id is not None

    @property
    def _agent_ids(self) -> list[UUID] | None:
        return None if self.agent_ids is None else list(self.agent_ids)

    @property
    def agent_id(self) -> UUID | None:
        """The only agent that passes the filters, or ``None`` if several agents or no agent may pass."""
        return next(iter(self.agent_ids)) if self.agent_ids is not None and len(self.agent_ids) == 1 else None

    def build_query(self, *names: str, **changes: str) -> str:
        """Return the filters as a URL's query string.

        :param names: the only parameters to include. Without names, all parameters are included.
        :param changes: values that replace those of the filters. An empty value removes a filter.
        """
        filters = {name: filter_value for name, filter_value in (self.values | changes).items() if filter_value}
        return urlencode({name: filter_value for name, filter_value in filters.items() if not names or name in names})

    def add_to_query(self, query: str) -> str:
        """Return a URL's query string with these filters added."""
        return "&".join(filter(None, [query, self.build_query()]))

    def is_counted(self, row: Any) -> bool:
        """Return whether a row of ``analytics/tokens_by_credential`` passes the filters and has a credential."""
        return self._is_use(row) and (self.agent_ids is None or row.agent_id in self.agent_ids)

    def _is_use(self, row: Any) -> bool:
        """Return whether a row has a credential and a resource that pass the filters."""
        return (
            row.credential_id is not None
            and self.credential_id in (None, row.credential_id)
            and self.resource in (None, row.resource)
        )

    def build_days_query(self, first: date, last: date) -> DaysQuery:
        """Return the statement for the usage on the days from *first* to *last*, and a function that reads its rows."""
        bounds, agents_parameter = {"first": first, "last": last}, {"agent_ids": self._agent_ids}

        def build_token_days(day_tokens: Iterable[tuple[date, int]]) -> list[DayUsage]:
            tokens_by_day = {first + day_index * DAY: 0 for day_index in range((last - first).days + 1)}
            for day, tokens in day_tokens:
                tokens_by_day[day] += tokens
            return [DayUsage(day, tokens) for day, tokens in tokens_by_day.items()]

        if self.counts_tokens_only and self.agent_id is not None:
            return DaysQuery(
                Call("analytics/agent_use", bounds | {"agent_id": self.agent_id}),
                lambda rows: build_token_days((row.on_day, sum(row.hours)) for row in rows if self._is_use(row)),
            )
        if self.counts_tokens_only:
            # The statement needs no filter by credential, because a credential selects a single agent, or no agent.
            return DaysQuery(
                Call("dashboard/tokens_of_resource", bounds | agents_parameter | {"resource": self.resource}),
                lambda rows: build_token_days((row.on_day, row.tokens) for row in rows),
            )
        if self.agent_ids is not None:
            return DaysQuery(
                Call("dashboard/usage_of_agents", bounds | agents_parameter),
                lambda rows: [DayUsage(row.on_day, row.tokens, row.rejected, [], row.requests) for row in rows],
            )
        return DaysQuery(Call("analytics/usage_by_day", bounds), counts.build_days)

    def build_hours_call(self, bounds: dict[str, date]) -> Call:
        """Return the statement that reads the requests of the selected agents per day and hour."""
        return Call("dashboard/hours_of_agents", {**bounds, "agent_ids": self._agent_ids})

    def read_tokens_by_agent(self, caller: Caller, period: Period) -> dict[UUID, list[int]]:
        """Return the tokens per day that pass the filters and have a credential, by agent, most tokens first."""
        tokens_by_agent: defaultdict[UUID, list[int]] = defaultdict(lambda: [0] * period.days)
        for usage_row in self.read_attribution(caller, period)[0].rows:
            add_tokens(tokens_by_agent[usage_row.agent_id], usage_row)
        return dict(
            sorted(tokens_by_agent.items(), key=lambda agent_and_days: (-sum(agent_and_days[1]), agent_and_days[0]))
        )

    def read_attribution(self, caller: Caller, period: Period, *calls: Call) -> tuple[Attribution, list[Rows]]:
        """Return the tokens that pass the filters, by credential and resource, and the rows of *calls*."""
        has_several_agents = self.agent_ids is not None and self.agent_id is None
        days_query = self.build_days_query(**period.bounds)
        usage_calls = [days_query.call] if has_several_agents and not self.counts_tokens_only else []
        attribution, row_lists = read_attribution(caller, period, self.agent_id, *calls, *usage_calls)
        if not self.values:
            return attribution, row_lists
        attribution.rows = list(filter(self.is_counted, attribution.rows))
        used_credential_ids = {token_row.credential_id for token_row in attribution.rows}
        attribution.credentials = [
            credential_row
            for credential_row in attribution.credentials
            if (self.agent_ids is None or credential_row.agent_id in self.agent_ids)
            and self.credential_id in (None, credential_row.credential_id)
            and (self.resource is None or credential_row.credential_id in used_credential_ids)
        ]
        if self.counts_tokens_only:
            attribution.not_attributed = [0] * period.days
        elif usage_calls:
            attribution.not_attributed = [day.tokens for day in days_query.build_days(row_lists.pop())]
            for token_row in attribution.rows:
                add_tokens(attribution.not_attributed, token_row, -1)
        return attribution, row_lists


def read_usage_filter(caller: Caller, period: Period, filter_names: Iterable[str] = LABELS) -> UsageFilter:
    """Return the filters of usage that the request has chosen.

    :param filter_names: the filters that the page has.
    :raises ValidationError: the page has no such filter, or the organization no such owner, agent, API or credential.
    """
    filters = {name: filter_value for name in LABELS if (filter_value := request.args.get(name, "").strip())}
    if not filters:
        return UsageFilter()
    for name in filters.keys() - set(filter_names):
        raise ValidationError(f"This cannot be filtered by {name}. Remove the filter.")
    rows_by_filter = caller.read_by_name(_build_filter_calls(filters, period))
    for name, message_template in MISSING.items():
        if name in filters and not rows_by_filter[name]:
            raise ValidationError(message_template.format(filters[name]))
    shown_names, resource, credential_id = dict(filters), None, None
    if "agent" in filters:
        shown_names["agent"] = rows_by_filter["agent"][0].name
    if "credential" in filters:
        credential_id = UUID(filters["credential"])
        shown_names["credential"] = rows_by_filter["credential"][0].label or str(credential_id)[:8]
    if "resource" in filters:
        own_resource = caller.settings.resource
        resource, shown_names["resource"] = _find_resource(
            filters["resource"], rows_by_filter["resource"], own_resource
        )
    agent_id_sets = [frozenset(agent.agent_id for agent in rows_by_filter[name]) for name in MISSING if name in filters]
    agent_ids = frozenset.intersection(*agent_id_sets) if agent_id_sets else None
    return UsageFilter(filters, shown_names, agent_ids, resource, credential_id)


def _find_resource(identifier: str, servers: Rows, own_resource: str) -> tuple[str, str]:
    """Return the resource to count (empty for our own API), and the resource's name for people."""
    if identifier == own_resource:
        return "", "this server\N{RIGHT SINGLE QUOTATION MARK}s own API"
    server_names = [server.name for server in servers if server.resource == identifier]
    if not server_names:
        raise ValidationError(f"The organization has no API with the identifier {identifier}.")
    return identifier, server_names[0]


def _build_filter_calls(filters: dict[str, str], period: Period) -> dict[str, Call]:
    """Return the statement that reads the object of each filter, or raise :exc:`ValidationError` for a wrong value."""
    ids = {name: _parse_requested_id(name, filters[name]) for name in ("agent", "credential") if name in filters}
    owner, resource = filters.get("owner", ""), filters.get("resource", "")
    if len(owner) > MAX_OWNER or len(resource) > MAX_RESOURCE_LENGTH or "\0" in owner + resource:
        raise ValidationError("The owner or the API is too long.")
    calls_by_filter = {
        "owner": Call("dashboard/agents_of_owner", {"owner": owner}),
        "agent": Call("audit/agent_names", {"agent_ids": [ids.get("agent")]}),
        "resource": Call("oauth/list_resource_servers", {}),
        "credential": Call("dashboard/credential", {"first": period.first, "credential_id": ids.get("credential")}),
    }
    return {name: calls_by_filter[name] for name in filters}


def _parse_requested_id(name: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValidationError(f"The {name} must be an ID.") from None
