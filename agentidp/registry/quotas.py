"""``/api/v1/quotas`` and ``/api/v1/agents/{agentId}/quotas``: maximum tokens per hour, day or month.

``sql/functions/check_quotas.sql`` decides about each token. A change waits until no token of the organization is being
issued, so it is in force for every token that is issued after its response.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call
from agentidp.http.errors import NotFound, ValidationError, existing
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import Flag, Instant, Member, Number, ReturnedSchema, WholeNumber, read_only
from agentidp.oauth.quota_windows import WINDOWS, bounds

blueprint = Blueprint("quotas", __name__, description="Quotas of tokens of the organization and of its agents")

ORGANIZATION = UUID(int=0)
"""Stands for the organization in the column ``agent_id`` of ``quotas``."""

MIN_TOKENS, MAX_TOKENS = 1, 1_000_000_000_000
"""Minimum and maximum number of tokens of a quota."""

LOCK_TIMEOUT = "2s"
"""Maximum time that a change waits for tokens that are being issued. New token requests wait behind the change."""

_WINDOW = {
    "in": "path",
    "name": "window",
    "required": True,
    "schema": {"type": "string", "enum": list(WINDOWS)},
    "description": "The UTC hour, day or calendar month",
}


class Count(Member, ma.fields.Integer):
    """A number of tokens that is only returned."""

    def __init__(self, description: str, **kwargs: Any) -> None:
        super().__init__(description=description, dump_only=True, validate=ma.validate.Range(0), **kwargs)


class QuotaFields(ma.Schema):
    """A quota with its use in the present window."""

    window = ma.fields.String(attribute="quota_window", dump_only=True, validate=ma.validate.OneOf(WINDOWS))
    tokens = Number(
        MIN_TOKENS,
        MAX_TOKENS,
        required=True,
        words="number of tokens",
        option="--tokens",
        is_listed=True,
        description="The tokens that may be issued in the window",
    )
    enforce = Flag(
        attribute="is_enforced",
        required=True,
        words="enforce the quota: refuse tokens beyond it",
        option="--enforce/--observe",
        is_listed=True,
        description="Whether tokens beyond it are refused. Otherwise it only counts what it would have refused",
    )
    used = Count("Tokens issued in the window. Those issued before the quota was set count too", is_listed=True)
    left = Count("Tokens that can still be issued in the window", is_listed=True)
    refused = Count("Tokens refused in the window", is_listed=True)
    observed = Count("Tokens issued in the window that would have been refused if it had been enforced", is_listed=True)
    startsAt = Instant(attribute="starts_at", dump_only=True, description="When the window began")
    endsAt = Instant(attribute="ends_at", dump_only=True, description="When the next window begins", is_listed=True)


class NewQuotaSchema(QuotaFields):
    class Meta:
        exclude = read_only(QuotaFields)


class QuotasSchema(ma.Schema):
    class Meta:
        include = {window: ma.fields.Nested(NewQuotaSchema) for window in WINDOWS}


class QuotaSchema(ReturnedSchema, QuotaFields):
    """A quota with its use in the present window."""


recorded = QuotaSchema(only=list(NewQuotaSchema().fields)).as_json
_returned = QuotaSchema().as_json


class QuotaListSchema(ma.Schema):
    """The quotas of the organization: at most one each per hour, per day and per month, in this order."""

    data = ma.fields.List(ma.fields.Nested(QuotaSchema), required=True)


class AgentQuotaListSchema(QuotaListSchema):
    agentId = ma.fields.UUID(required=True)


class ListedQuotaSchema(QuotaSchema):
    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)


class QuotaPageSchema(ma.Schema):
    """A page of quotas, by the agent's id; ``nextCursor`` is null on the last page."""

    data = ma.fields.List(ma.fields.Nested(ListedQuotaSchema), required=True)
    nextCursor = ma.fields.String(required=True, allow_none=True)


class QuotaPageArguments(ma.Schema):
    limit = WholeNumber(1, 100, load_default=50)
    cursor = ma.fields.String(
        load_default=f"{ORGANIZATION}.{WINDOWS[-1]}", metadata={"description": "`nextCursor` of the previous page"}
    )


@blueprint.route("/api/v1/agents/quotas")
@bearer("agents:read")
@blueprint.tool("quotas_of_agents")
@blueprint.arguments(QuotaPageArguments, location="query")
@blueprint.response(200, QuotaPageSchema)
def list_all_agents_quotas(caller: Caller, arguments: dict[str, Any]) -> Response:
    """List the quotas of all agents, with the tokens used and left. The order is by agent id, so it does not change
    while tokens are issued.
    """
    limit = arguments["limit"]
    [rows] = caller.read_together(usage_page(_decoded(arguments["cursor"]), limit + 1))
    page = rows[:limit]
    data = [represent(row, caller.at) | {"agentId": str(row.agent_id), "agentName": row.agent_name} for row in page]
    more = len(rows) > limit
    return json_response({"data": data, "nextCursor": f"{page[-1].agent_id}.{page[-1].quota_window}" if more else None})


def _decoded(cursor: str) -> tuple[UUID, int]:
    """Return the agent that a cursor names, and the place of the window in :data:`WINDOWS`, from 1."""
    agent_id, _, window = cursor.partition(".")
    try:
        return UUID(agent_id), WINDOWS.index(window) + 1
    except ValueError:
        raise ValidationError(details={"cursor": ["must be the nextCursor of an earlier response"]}) from None


@blueprint.route("/api/v1/quotas")
@bearer("agents:read")
@blueprint.tool("quotas")
@blueprint.response(200, QuotaListSchema)
def list_quotas(caller: Caller) -> Response:
    """List the organization's own quotas, with the tokens used and left."""
    [rows] = caller.read_together(usage_of(None))
    return json_response({"data": [represent(row, caller.at) for row in rows]})


@blueprint.route("/api/v1/quotas/<window>", methods=["PUT"])
@bearer("quotas:write")
@blueprint.parameter(_WINDOW)
@blueprint.arguments(NewQuotaSchema)
@blueprint.response(200, QuotaSchema)
def put_quota(caller: Caller, new: dict[str, Any], window: str) -> Response:
    """Set the organization's quota of a window. It is in force for every token that is issued after the response."""
    return json_response(_set(caller, None, window, new))


@blueprint.route("/api/v1/quotas/<window>", methods=["DELETE"])
@bearer("quotas:write")
@blueprint.parameter(_WINDOW)
@blueprint.response(204)
def delete_quota(caller: Caller, window: str) -> Response:
    """Delete the organization's quota of a window."""
    _delete(caller, None, window)
    return Response(status=204)


@blueprint.route("/api/v1/agents/<uuid:agent_id>/quotas")
@bearer("agents:read")
@blueprint.response(200, AgentQuotaListSchema)
def list_agent_quotas(caller: Caller, agent_id: UUID) -> Response:
    """List an agent's quotas, with the tokens used and left. The organization's quotas apply to the agent too."""
    existing(caller.read("agents/get_agent", agent_id=agent_id))
    [rows] = caller.read_together(usage_of(agent_id))
    return json_response({"agentId": str(agent_id), "data": [represent(row, caller.at) for row in rows]})


@blueprint.route("/api/v1/agents/<uuid:agent_id>/quotas/<window>", methods=["PUT"])
@bearer("quotas:write")
@blueprint.parameter(_WINDOW)
@blueprint.arguments(NewQuotaSchema)
@blueprint.response(200, QuotaSchema)
def put_agent_quota(caller: Caller, new: dict[str, Any], agent_id: UUID, window: str) -> Response:
    """Set an agent's quota of a window. It is in force for every token that is issued after the response."""
    return json_response(_set(caller, agent_id, window, new))


@blueprint.route("/api/v1/agents/<uuid:agent_id>/quotas/<window>", methods=["DELETE"])
@bearer("quotas:write")
@blueprint.parameter(_WINDOW)
@blueprint.response(204)
def delete_agent_quota(caller: Caller, agent_id: UUID, window: str) -> Response:
    """Delete an agent's quota of a window."""
    _delete(caller, agent_id, window)
    return Response(status=204)


def _set(caller: Caller, agent_id: UUID | None, window: str, new: dict[str, Any]) -> dict[str, Any]:
    with _locked(caller, window) as opened:
        set_quota(opened, agent_id, window, **new)
        rows = opened.run(usage_of(agent_id))
    [row] = [row for row in rows if row.quota_window == window]
    return represent(row, caller.at)


def _delete(caller: Caller, agent_id: UUID | None, window: str) -> None:
    with _locked(caller, window) as opened:
        remove_quota(opened, agent_id, window)


@contextlib.contextmanager
def _locked(caller: Caller, window: str) -> Iterator[Transaction]:
    if window not in WINDOWS:
        raise NotFound
    # Admission locks counters, so it takes another transaction: the lock of quotas must come before such locks.
    caller.admit()
    with caller.transaction() as opened:
        lock(opened)
        yield opened


def lock(opened: Transaction) -> None:
    """Take the lock for changes of quotas. The organization gets no token until the transaction ends.

    The lock waits for tokens that are being issued, which may wait for a row, so take it before the transaction locks a
    row.
    """
    opened.fetch("quotas/lock_quotas", timeout=LOCK_TIMEOUT)


def share(opened: Transaction) -> None:
    """Block changes of the organization's quotas until the transaction ends.

    A transaction that locks a row and then issues a token must call this before it locks the row: see :func:`lock`.
    """
    opened.fetch("quotas/share_quotas")


def set_quota(opened: Transaction, agent_id: UUID | None, window: str, *, tokens: int, is_enforced: bool) -> None:
    """Set a quota, under the :func:`lock`.

    :param agent_id: the agent of the quota; ``None`` for the organization's own.
    :raises NotFound: no such agent.
    """
    holder = _existing_holder(opened, agent_id)
    rows = opened.fetch("quotas/get_quota", agent_id=holder, quota_window=window)
    opened.fetch("quotas/set_quota", agent_id=holder, quota_window=window, tokens=tokens, is_enforced=is_enforced)
    opened.fetch("quotas/mark_quotas", agent_id=holder)
    before = _recorded(rows[0]) if rows else None
    after = {window: NewQuotaSchema().dump({"tokens": tokens, "is_enforced": is_enforced})}
    audit.record(opened, "quota.changed", agent_id or opened.organization_id, before=before, after=after)


def remove_quota(opened: Transaction, agent_id: UUID | None, window: str) -> None:
    """Delete a quota, under the :func:`lock`.

    :raises NotFound: there is no such agent or quota.
    """
    holder = _existing_holder(opened, agent_id)
    row = existing(opened.fetch("quotas/delete_quota", agent_id=holder, quota_window=window))
    opened.fetch("quotas/mark_quotas", agent_id=holder)
    audit.record(opened, "quota.deleted", agent_id or opened.organization_id, before=_recorded(row))


def replace_quotas(opened: Transaction, agent_id: UUID | None, quotas: dict[str, dict[str, Any]]) -> None:
    """Replace the quotas of an agent, or the organization's own, under the :func:`lock`.

    :param quotas: the body of :class:`NewQuotaSchema` per window. Quotas of missing windows are removed.
    """
    existing_windows = {row.quota_window for row in opened.run(usage_of(agent_id))}
    for window in WINDOWS:
        if window in quotas:
            set_quota(opened, agent_id, window, **NewQuotaSchema().load(quotas[window]))
        elif window in existing_windows:
            remove_quota(opened, agent_id, window)


def usage_of(agent_id: UUID | None) -> Call:
    """Return the call that reads the quotas of an agent, or of the organization if ``None``, with their use."""
    return _usage(agent_id=agent_id or ORGANIZATION)


def usage_page(after: tuple[UUID | None, int | None] = (None, None), limit: int | None = None) -> Call:
    """Return the call that reads a page of all quotas of the organization and its agents, by the agent's id.

    :param after: the agent of the previous page's last quota, and the place of its window, from 1.
    """
    return _usage(after_id=after[0], after_place=after[1], limit=limit)


def usage_by_share(limit: int, offset: int) -> Call:
    """Return the call that reads all quotas by their used share, greatest first, with the ``count`` of all quotas.

    The call is slow for many quotas, because the database must sum the use of each to sort them.
    """
    return _usage(by_share=True, limit=limit, offset=offset)


def _usage(**parameters: Any) -> Call:
    defaults = {
        "agent_id": None,
        "by_share": False,
        "limit": None,
        "offset": 0,
        "after_id": None,
        "after_place": None,
    }
    return Call("quotas/quota_usage", defaults | parameters)


def _existing_holder(opened: Transaction, agent_id: UUID | None) -> UUID:
    if agent_id is None:
        return ORGANIZATION
    if not opened.fetch("agents/get_agent", agent_id=agent_id):
        raise NotFound
    return agent_id


def _recorded(row: Any) -> dict[str, Any]:
    # The audit trail omits members that do not change, so the window is a name.
    return {row.quota_window: recorded(row)}


def represent(row: Any, at: datetime) -> dict[str, Any]:
    """Return a row of ``sql/quotas/quota_usage.sql`` as our JSON."""
    starts_at, ends_at = bounds(row.quota_window, at)
    computed = {"left": max(row.tokens - row.used, 0), "starts_at": starts_at, "ends_at": ends_at}
    return _returned(row._asdict() | computed)
