"""``/api/v1/quotas`` and ``/api/v1/agents/{agentId}/quotas``: maximum tokens per hour, day or month.

``sql/functions/apply_quotas.sql`` checks the quotas for each token. A change waits until no token of the organization
is being issued, so it applies to every token that is issued after the response to the change.
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
from agentidp.http import schemas
from agentidp.http.errors import NotFound, ValidationError, require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.oauth.quota_windows import WINDOWS, find_window_bounds

blueprint = Blueprint("quotas", __name__, description="Quotas of tokens of the organization and of its agents")

ORGANIZATION = UUID(int=0)
"""The value of the column ``agent_id`` for a quota of the organization itself."""

MIN_TOKENS, MAX_TOKENS = 1, 1_000_000_000_000
"""Minimum and maximum number of tokens that a quota allows per window."""

LOCK_TIMEOUT = "2s"
"""Maximum time that a change of quotas waits for token requests. Meanwhile later token requests wait for the change."""

_WINDOW = {
    "in": "path",
    "name": "window",
    "required": True,
    "schema": {"type": "string", "enum": list(WINDOWS)},
    "description": "The UTC hour, day or calendar month",
}


class Count(schemas.Member, ma.fields.Integer):
    """A field for a number of tokens in responses."""

    def __init__(self, description: str, **kwargs: Any) -> None:
        super().__init__(description=description, dump_only=True, validate=ma.validate.Range(0), **kwargs)


class QuotaFields(ma.Schema):
    """The members of a quota, and the tokens that were used in its current window."""

    window = ma.fields.String(attribute="quota_window", dump_only=True, validate=ma.validate.OneOf(WINDOWS))
    tokens = schemas.Number(
        MIN_TOKENS,
        MAX_TOKENS,
        required=True,
        words="number of tokens",
        option="--tokens",
        is_listed=True,
        description="Maximum tokens in the window",
    )
    enforce = schemas.Flag(
        attribute="is_enforced",
        required=True,
        words="enforce the quota: refuse tokens beyond it",
        option="--enforce/--observe",
        is_listed=True,
        description="Whether tokens beyond the quota are refused, and not only counted as `observed`",
    )
    used = Count("Tokens issued in the window, including those from before the quota was set", is_listed=True)
    left = Count("Tokens that can still be issued in the window", is_listed=True)
    refused = Count("Tokens refused in the window", is_listed=True)
    observed = Count("Issued tokens in the window that an enforced quota would have refused", is_listed=True)
    startsAt = schemas.Instant(attribute="starts_at", dump_only=True, description="Start of the window")
    endsAt = schemas.Instant(
        attribute="ends_at", dump_only=True, description="Start of the next window", is_listed=True
    )


NewQuotaSchema = schemas.new_schema(QuotaFields)


class QuotasSchema(ma.Schema):
    class Meta:
        include = {window: ma.fields.Nested(NewQuotaSchema) for window in WINDOWS}


class QuotaSchema(schemas.ReturnedSchema, QuotaFields):
    """A quota in a response."""


represent_settings = QuotaSchema(only=list(NewQuotaSchema().fields)).as_json
"""Return the members of a quota's row for the audit trail and for a file of ``agentidp apply``."""
_represent = QuotaSchema().as_json


class QuotaListSchema(ma.Schema):
    """The quotas of the organization or of an agent, in the order of their windows."""

    data = ma.fields.List(ma.fields.Nested(QuotaSchema), required=True)


class AgentQuotaListSchema(QuotaListSchema):
    agentId = ma.fields.UUID(required=True)


class ListedQuotaSchema(QuotaSchema):
    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)


class QuotaPageSchema(ma.Schema):
    data = ma.fields.List(ma.fields.Nested(ListedQuotaSchema), required=True)
    nextCursor = ma.fields.String(required=True, allow_none=True)


class QuotaPageArguments(ma.Schema):
    limit = schemas.WholeNumber(1, 100, load_default=50)
    cursor = ma.fields.String(
        load_default=f"{ORGANIZATION}.{WINDOWS[-1]}", metadata={"description": "`nextCursor` of the previous page"}
    )


@blueprint.route("/api/v1/agents/quotas")
@bearer("agents:read")
@blueprint.tool("quotas_of_agents")
@blueprint.arguments(QuotaPageArguments, location="query")
@blueprint.response(200, QuotaPageSchema)
def list_all_agents_quotas(caller: Caller, arguments: dict[str, Any]) -> Response:
    """List the quotas of all agents, with the tokens used and left, sorted by the agent's id."""
    limit = arguments["limit"]
    [quota_rows] = caller.read_together(build_page_call(_decode_cursor(arguments["cursor"]), limit + 1))
    quota_page = quota_rows[:limit]
    quota_objects = [
        represent(quota_row, caller.at) | {"agentId": str(quota_row.agent_id), "agentName": quota_row.agent_name}
        for quota_row in quota_page
    ]
    next_cursor = f"{quota_page[-1].agent_id}.{quota_page[-1].quota_window}" if len(quota_rows) > limit else None
    return json_response({"data": quota_objects, "nextCursor": next_cursor})


def _decode_cursor(cursor: str) -> tuple[UUID, int]:
    """Return the agent id in a cursor, and the position (1 to 3) of its window in :data:`WINDOWS`."""
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
    [quota_rows] = caller.read_together(build_usage_call(None))
    return json_response({"data": [represent(quota_row, caller.at) for quota_row in quota_rows]})


@blueprint.route("/api/v1/quotas/<window>", methods=["PUT"])
@blueprint.route("/api/v1/agents/<uuid:agent_id>/quotas/<window>", methods=["PUT"], endpoint="put_agent_quota")
@bearer("quotas:write")
@blueprint.parameter(_WINDOW)
@blueprint.arguments(NewQuotaSchema)
@blueprint.response(200, QuotaSchema)
def put_quota(caller: Caller, members: dict[str, Any], window: str, agent_id: UUID | None = None) -> Response:
    """Set the quota of a window for the organization or an agent. The quota applies to all later tokens."""
    with _lock_window(caller, window) as transaction:
        set_quota(transaction, agent_id, window, **members)
        quota_rows = transaction.run(build_usage_call(agent_id))
    [quota_row] = [quota_row for quota_row in quota_rows if quota_row.quota_window == window]
    return json_response(represent(quota_row, caller.at))


@blueprint.route("/api/v1/quotas/<window>", methods=["DELETE"])
@blueprint.route("/api/v1/agents/<uuid:agent_id>/quotas/<window>", methods=["DELETE"], endpoint="delete_agent_quota")
@bearer("quotas:write")
@blueprint.parameter(_WINDOW)
@blueprint.response(204)
def delete_quota(caller: Caller, window: str, agent_id: UUID | None = None) -> Response:
    """Delete the quota of a window for the organization or an agent."""
    with _lock_window(caller, window) as transaction:
        remove_quota(transaction, agent_id, window)
    return Response(status=204)


@blueprint.route("/api/v1/agents/<uuid:agent_id>/quotas")
@bearer("agents:read")
@blueprint.response(200, AgentQuotaListSchema)
def list_agent_quotas(caller: Caller, agent_id: UUID) -> Response:
    """List an agent's quotas, with the tokens used and left. The organization's quotas apply to the agent too."""
    require_row(caller.read("agents/get_agent", agent_id=agent_id))
    [quota_rows] = caller.read_together(build_usage_call(agent_id))
    quota_objects = [represent(quota_row, caller.at) for quota_row in quota_rows]
    return json_response({"agentId": str(agent_id), "data": quota_objects})


@contextlib.contextmanager
def _lock_window(caller: Caller, window: str) -> Iterator[Transaction]:
    if window not in WINDOWS:
        raise NotFound
    # The caller is admitted in a separate transaction, because the admission locks a row, and lock() must lock the
    # organization's quotas before any other row.
    caller.admit()
    with caller.transaction() as transaction:
        lock(transaction)
        yield transaction


def lock(transaction: Transaction) -> None:
    """Make the organization's token requests, and other changes of its quotas, wait until the transaction ends.

    Takes the issuance lock (``sql/functions/lock_quotas.sql``). A transaction that ends the tokens of an agent,
    or deletes unused agents, needs this lock too. The transaction must not have locked a row before, because otherwise
    the transaction and a token request could wait for each other.
    """
    transaction.fetch("quotas/lock_quotas", timeout=LOCK_TIMEOUT)


def block_changes(transaction: Transaction) -> None:
    """Block changes of the organization's quotas until the transaction ends.

    A transaction that issues a token must call this function before it locks a row.
    """
    transaction.fetch("quotas/share_quotas")


def set_quota(transaction: Transaction, agent_id: UUID | None, window: str, *, tokens: int, is_enforced: bool) -> None:
    """Set a quota of an agent or (``None``) of the organization. The transaction must have called :func:`lock`."""
    stored_agent_id = _find_quota_agent_id(transaction, agent_id)
    earlier_rows = transaction.fetch("quotas/get_quota", agent_id=stored_agent_id, quota_window=window)
    transaction.fetch(
        "quotas/set_quota", agent_id=stored_agent_id, quota_window=window, tokens=tokens, is_enforced=is_enforced
    )
    transaction.fetch("quotas/mark_quotas", agent_id=stored_agent_id)
    earlier_settings = _settings_by_window(earlier_rows[0]) if earlier_rows else None
    new_settings = {window: NewQuotaSchema().dump({"tokens": tokens, "is_enforced": is_enforced})}
    audit_subject = agent_id or transaction.organization_id
    audit.record(transaction, "quota.changed", audit_subject, before=earlier_settings, after=new_settings)


def remove_quota(transaction: Transaction, agent_id: UUID | None, window: str) -> None:
    """Delete a quota, or raise ``NotFound``. The transaction must have called :func:`lock`."""
    stored_agent_id = _find_quota_agent_id(transaction, agent_id)
    quota_row = require_row(transaction.fetch("quotas/delete_quota", agent_id=stored_agent_id, quota_window=window))
    transaction.fetch("quotas/mark_quotas", agent_id=stored_agent_id)
    audit.record(
        transaction, "quota.deleted", agent_id or transaction.organization_id, before=_settings_by_window(quota_row)
    )


def replace_quotas(transaction: Transaction, agent_id: UUID | None, new_quotas: dict[str, dict[str, Any]]) -> None:
    """Replace all quotas of an agent or (``None``) of the organization. The transaction must have called :func:`lock`.

    :param new_quotas: an object of :class:`NewQuotaSchema` per window. Quotas of other windows are deleted.
    """
    existing_windows = {quota_row.quota_window for quota_row in transaction.run(build_usage_call(agent_id))}
    for window in WINDOWS:
        if window in new_quotas:
            set_quota(transaction, agent_id, window, **NewQuotaSchema().load(new_quotas[window]))
        elif window in existing_windows:
            remove_quota(transaction, agent_id, window)


def build_usage_call(agent_id: UUID | None) -> Call:
    """Return the call that reads the quotas of an agent or (``None``) of the organization, and the used tokens."""
    return _build_quotas_call(agent_id=agent_id or ORGANIZATION)


def build_page_call(after: tuple[UUID | None, int | None] = (None, None), limit: int | None = None) -> Call:
    """Return the call that reads a page of the quotas of the organization and all its agents, sorted by agent id.

    :param after: agent id and window (1 to 3) of the previous page's last quota; two ``None`` for the first page.
    :param limit: maximum number of quotas; ``None`` for all.
    """
    return _build_quotas_call(after_id=after[0], after_place=after[1], limit=limit)


def build_share_call(limit: int, offset: int, *, min_percent: int = 0, is_enforced: bool = False) -> Call:
    """Return the call that reads quotas by their used share, greatest first, with the ``count`` of all matching quotas.

    The call is slow, because it computes the usage of every quota.

    :param min_percent: the minimum used share, in percent.
    :param is_enforced: whether only enforced quotas are read.
    """
    filters = {"min_percent": min_percent, "only_enforced": is_enforced}
    return _build_quotas_call(by_share=True, limit=limit, offset=offset, **filters)


def _build_quotas_call(**parameters: Any) -> Call:
    null_defaults = dict.fromkeys(("agent_id", "limit", "after_id", "after_place"))
    other_defaults = {"by_share": False, "offset": 0, "min_percent": 0, "only_enforced": False}
    return Call("quotas/quota_usage", null_defaults | other_defaults | parameters)


def _find_quota_agent_id(transaction: Transaction, agent_id: UUID | None) -> UUID:
    """Return the agent's id, or :data:`ORGANIZATION` for ``None``. Raise ``NotFound`` for an unknown agent."""
    if agent_id is not None and not transaction.fetch("agents/get_agent", agent_id=agent_id):
        raise NotFound
    return agent_id or ORGANIZATION


def _settings_by_window(row: Any) -> dict[str, Any]:
    # The window is the key and not a member, because the audit trail omits members that do not change.
    return {row.quota_window: represent_settings(row)}


def represent(row: Any, at: datetime) -> dict[str, Any]:
    """Return the API's JSON object for a row of ``quotas/quota_usage``."""
    starts_at, ends_at = find_window_bounds(row.quota_window, at)
    computed_members = {"left": max(row.tokens - row.used, 0), "starts_at": starts_at, "ends_at": ends_at}
    return _represent(row._asdict() | computed_members)
