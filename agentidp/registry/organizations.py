"""``/api/v1/organization``: the organization itself, and its budget of tokens."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response, g

from agentidp.caller import bearer, read, transaction
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import timestamp

blueprint = Blueprint("organization", __name__, description="The organization and its budget")

LEAST_BUDGET, MOST_BUDGET = 1, 1_000_000_000_000
"""Tokens in a calendar month."""


class Budget(ma.fields.Integer):
    """Tokens in a calendar month: a JSON number without a fraction, or ``null`` for none.

    marshmallow's ``strict`` would let ``true`` and ``2.0`` through.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._rule = f"must be a whole number from {LEAST_BUDGET} to {MOST_BUDGET}, or null"
        in_range = ma.validate.Range(LEAST_BUDGET, MOST_BUDGET, error=self._rule)
        super().__init__(validate=in_range, allow_none=True, **kwargs)
        self.error_messages["invalid"] = self._rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class OrganizationChangeSchema(ma.Schema):
    """The body that changes the organization."""

    monthlyTokenBudget = Budget(attribute="monthly_token_budget", required=True)


class OrganizationSchema(ma.Schema):
    """The caller's organization."""

    organizationId = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    monthlyTokenBudget = Budget(
        required=True, metadata={"description": "Tokens in a UTC calendar month; null where none is set"}
    )
    createdAt = ma.fields.AwareDateTime(required=True)


@blueprint.route("/api/v1/organization")
@bearer("agents:read")
@blueprint.response(200, OrganizationSchema)
def get_organization() -> Response:
    """The caller's organization."""
    [row] = read("organizations/get_organization")
    return json_response(represent(row))


@blueprint.route("/api/v1/organization", methods=["PATCH"])
@bearer("agents:write")
@blueprint.arguments(OrganizationChangeSchema)
@blueprint.response(200, OrganizationSchema)
def change_organization(change: dict[str, Any]) -> Response:
    """Set the organization's budget of tokens in a calendar month, or remove it. Nothing is refused beyond it."""
    with transaction() as opened:
        [row] = opened.fetch("organizations/set_budget", organization_id=g.caller.organization_id, **change)
    return json_response(represent(row))


def represent(row: Any) -> dict[str, Any]:
    """An organization's row as our JSON."""
    return {
        "organizationId": row.organization_id,
        "name": row.name,
        "monthlyTokenBudget": row.monthly_token_budget,
        "createdAt": timestamp(row.created_at),
    }
