"""Tokens by credential and resource: which there are on each day of a period, and which are not attributed.

A token is attributed in the transaction that issues it. Past usage that was imported belongs to no credential and
resource that we know.
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
    """The tokens of an organization or agent in a period. The sums of all rows equal its tokens.

    :param rows: of ``analytics/tokens_by_credential``, but for that of all tokens.
    :param not_attributed: tokens of each day that belong to no credential and resource that we know.
    :param credentials: rows of ``analytics/credentials``.
    :param names: of agents by id.
    :param agent_id: of the agent, ``None`` for the organization.
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
    """The tokens of a period, and the rows of *further* calls.

    :raises NotFound: there is no such agent, nor was there one.
    """
    dates = period.bounds
    if agent_id is not None:
        # The tokens first, so that all credentials that they have are known.
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
    """What reads the tokens by exchange of a period.

    :param agent_id: only what this agent did, or others for it; ``None`` for all.
    """
    return Call("analytics/delegations", {"agent_id": agent_id, **period.bounds})


def add(counts: list[int], row: Any, times: int = 1) -> None:
    """Add the tokens of a row to those of each day of its period."""
    for day, tokens in zip(row.days, row.tokens, strict=True):
        counts[day] += times * tokens
