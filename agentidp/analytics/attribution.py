"""Tokens per credential, resource and day of a period. Imported tokens are not attributed to any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import Period, PeriodArguments
from agentidp.analytics.usage_route import respond
from agentidp.caller import Caller
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import ValidationError, require_row
from agentidp.http.schemas import required

RESOURCE_SERVERS = Call("oauth/list_resource_servers", {})


class AttributionArguments(PeriodArguments):
    agent = ma.fields.UUID(
        load_default=None,
        error_messages={"invalid_uuid": "must be an agent's id"},
        metadata={"description": "Only tokens of this agent, which may be deleted"},
    )


TOKENS = ma.fields.Integer(**required("The sum of all days"), validate=ma.validate.Range(0))

TOKENS_BY_DAY = ma.fields.List(
    ma.fields.Integer(validate=ma.validate.Range(0)), **required("One number per day from `from` to `to`")
)


MAX_ROWS = 100_000
"""Maximum number of rows in a response. A response with this number of rows has about 20 MB."""


class TokensOfDaySchema(ma.Schema):
    """The number of tokens on a UTC day."""

    date = ma.fields.Date(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class TokensOfCredential(NamedTuple):
    """The tokens of an agent per day, for one credential and resource: a row of ``analytics/tokens_by_credential``."""

    agent_id: UUID
    credential_id: UUID | None
    resource: str | None
    days: list[int]
    tokens: list[int]


@dataclass
class Attribution:
    """The tokens of an organization or an agent in a period, by credential and resource.

    The sum of *rows* and *not_attributed* equals the number of all tokens.
    """

    period: Period
    rows: Rows  # in the columns of analytics/tokens_by_credential; only rows that have a credential
    not_attributed: list[int]  # number of tokens without a credential, per day
    credentials: Rows  # of analytics/credentials or analytics/agent_credentials
    names_by_id: dict[UUID, str]  # names of agents
    agent_id: UUID | None  # None if the tokens are those of the whole organization


def read_attribution(
    caller: Caller, period: Period, agent_id: UUID | None, *more_calls: Call
) -> tuple[Attribution, list[Rows]]:
    """Return the tokens of a period, and the rows of *more_calls*. *agent_id* ``None`` is for all agents.

    :raises NotFound: the organization has no such agent, not even a deleted one.
    """
    if agent_id is not None:
        # The credentials are read after the tokens, so that they include credentials that were created in between.
        usage_rows, credential_rows, agent_rows, *more_rows = caller.read_together(
            Call("analytics/agent_use", period.bounds | {"agent_id": agent_id}),
            Call("analytics/agent_credentials", {"first": period.first, "agent_id": agent_id}),
            Call("audit/agent_names", {"agent_ids": [agent_id]}),
            *more_calls,
        )
        require_row(agent_rows)
        token_rows = [
            TokensOfCredential(
                agent_id, usage.credential_id, usage.resource, [(usage.on_day - period.first).days], [sum(usage.hours)]
            )
            for usage in usage_rows
        ]
    else:
        token_rows, credential_rows, agent_rows, *more_rows = caller.read_together(
            Call("analytics/tokens_by_credential", period.bounds),
            Call("analytics/credentials", {"first": period.first}),
            Call("analytics/agent_names", {}),
            *more_calls,
        )
    names_by_id = {agent_row.agent_id: agent_row.name for agent_row in agent_rows}
    unattributed_by_day = [0] * period.days
    for token_row in token_rows:
        # A row without a credential has the total, from which the tokens of the credentials are subtracted.
        add_tokens(unattributed_by_day, token_row, 1 if token_row.credential_id is None else -1)
    attributed_rows = [token_row for token_row in token_rows if token_row.credential_id is not None]
    return Attribution(period, attributed_rows, unattributed_by_day, credential_rows, names_by_id, agent_id), more_rows


def build_delegations_call(period: Period, agent_id: UUID | None) -> Call:
    """Return the statement that reads the tokens with which an agent acts for others, or others act for the agent.

    :param agent_id: ``None`` for the tokens of all agents.
    """
    return Call("analytics/delegations", {"agent_id": agent_id, **period.bounds})


def add_tokens(tokens_by_day: list[int], row: Any, sign: int = 1) -> None:
    """Add the tokens per day of a row, multiplied by *sign*, to *tokens_by_day*."""
    for day_index, day_tokens in zip(row.days, row.tokens, strict=True):
        tokens_by_day[day_index] += sign * day_tokens


def respond_by_day(
    caller: Caller,
    period: Period,
    usages: Iterable[Any],
    item_schema: type[ma.Schema],
    represent: Callable[[Any, str], dict[str, Any]],
) -> Response:
    """Return a response with one row per credential or resource (*usages*) and day with tokens.

    :param represent: returns a usage as JSON. Its second argument is the identifier of our own API.
    :raises ValidationError: there are more than :data:`MAX_ROWS` rows.
    """
    dates = [(period.first + timedelta(day_index)).isoformat() for day_index in range(period.days)]
    member_names = [
        member_name for member_name in item_schema().fields if member_name not in TokensOfDaySchema().fields
    ]

    def generate_rows() -> Iterator[dict[str, Any]]:
        for usage in usages:
            usage_json = represent(usage, caller.settings.resource)
            common_members = {member_name: usage_json[member_name] for member_name in member_names}
            for date, tokens in zip(dates, usage_json["tokensByDay"], strict=True):
                if tokens:
                    yield {"date": date, "tokens": tokens, **common_members}

    return respond(caller, period, check_rows(list(islice(generate_rows(), MAX_ROWS + 1))), item_schema)


def check_rows(rows: list[Any]) -> list[Any]:
    """Return *rows*, or raise ``ValidationError`` if there are more than :data:`MAX_ROWS`."""
    if len(rows) > MAX_ROWS:
        rule = f"must be fewer, because the response would have more than {MAX_ROWS} rows"
        raise ValidationError(details={"days": [rule]})
    return rows
