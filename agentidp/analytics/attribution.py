"""Tokens per credential, resource and day of a period, and tokens that are not attributed.

A token is attributed to its credential and resource in the transaction that issues it. Imported usage is not
attributed, because its credentials and resources are unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import marshmallow as ma

from agentidp.analytics.period import Period, PeriodArguments
from agentidp.caller import Caller
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import NotFound


class AttributionArguments(PeriodArguments):
    """The query's parameters."""

    agent = ma.fields.UUID(
        load_default=None,
        error_messages={"invalid_uuid": "must be an agent's id"},
        metadata={"description": "Only what is about this agent, which may be deleted"},
    )


TOKENS = ma.fields.Integer(
    required=True, validate=ma.validate.Range(0), metadata={"description": "On all days together"}
)

TOKENS_BY_DAY = ma.fields.List(
    ma.fields.Integer(validate=ma.validate.Range(0)),
    required=True,
    metadata={"description": "A number for each day from `from` to `to`"},
)


@dataclass
class Attribution:
    """The tokens of an organization or an agent in a period.

    The sum of *rows* and *not_attributed* equals the number of all tokens.

    :param rows: rows of ``analytics/tokens_by_credential`` without the row of all tokens.
    :param not_attributed: the number of tokens per day that are not attributed.
    :param credentials: rows of ``analytics/credentials``.
    :param names: names of agents by ID.
    :param agent_id: the agent's ID, or None for the organization.
    """

    period: Period
    rows: Rows
    not_attributed: list[int]
    credentials: Rows
    names: dict[UUID, str]
    agent_id: UUID | None


def read_attribution(
    caller: Caller, period: Period, agent_id: UUID | None, *further: Call
) -> tuple[Attribution, list[Rows]]:
    """Return the attribution of a period's tokens, and the rows of *further* calls.

    :param agent_id: the agent's ID, or None for the organization.
    :raises NotFound: the agent does not exist and is not a deleted agent.
    """
    dates = period.bounds
    if agent_id is not None:
        # The tokens are read first, so that the credentials of all tokens are in the rows read afterwards.
        tokens, credentials, *others = caller.read_together(
            Call("analytics/agent_tokens_by_credential", dates | {"agent_id": agent_id}),
            Call("analytics/agent_credentials", {"first": period.first, "agent_id": agent_id}),
            *further,
        )
        if not tokens:
            raise NotFound
        names = {agent_id: tokens[0].agent_name}
    else:
        tokens, credentials, named, *others = caller.read_together(
            Call("analytics/tokens_by_credential", dates),
            Call("analytics/credentials", {"first": period.first}),
            Call("analytics/agent_names", {}),
            *further,
        )
        names = {row.agent_id: row.name for row in named}
    rest = [0] * period.days
    for row in tokens:
        if row.credential_id is None:
            add(rest, row)
    attributed = [row for row in tokens if row.credential_id is not None]
    for row in attributed:
        add(rest, row, -1)
    return Attribution(period, attributed, rest, credentials, names, agent_id), others


def delegations_in(period: Period, agent_id: UUID | None) -> Call:
    """Return the call that reads the tokens issued by token exchange in a period.

    :param agent_id: only tokens with this agent as the actor or the subject. None means all tokens.
    """
    return Call("analytics/delegations", {"agent_id": agent_id, **period.bounds})


def add(counts: list[int], row: Any, times: int = 1) -> None:
    """Add a row's tokens per day, multiplied by *times*, to *counts*."""
    for day, tokens in zip(row.days, row.tokens, strict=True):
        counts[day] += times * tokens
