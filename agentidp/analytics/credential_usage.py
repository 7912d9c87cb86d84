"""``GET /api/v1/analytics/credentials``: tokens per credential, and the resources that the tokens are for."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics import attribution
from agentidp.analytics.attribution import Attribution, AttributionArguments, add, read_attribution
from agentidp.analytics.period import Period, PeriodSchema, requested_period
from agentidp.caller import Caller, bearer
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import timestamp

blueprint = Blueprint("credential-usage", __name__, description="Tokens by credential")

TYPES = ("secret", "key", "federated", "operator", "not_attributed")
"""The types of items. ``operator`` means tokens that ``agentidp token`` issued without a credential, and
``not_attributed`` means imported usage."""


class ResourceTokensSchema(ma.Schema):
    """Tokens for a resource."""

    resource = ma.fields.String(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class CredentialUsageItemSchema(ma.Schema):
    """A credential, or tokens without a credential."""

    credentialId = ma.fields.UUID(required=True, allow_none=True)
    agentId = ma.fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "Null for tokens of the organization that are not attributed"},
    )
    agentName = ma.fields.String(required=True, allow_none=True)
    label = ma.fields.String(required=True, allow_none=True)
    type = ma.fields.String(required=True, validate=ma.validate.OneOf(TYPES))
    createdAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    expiresAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    lastUsedAt = ma.fields.AwareDateTime(
        required=True, allow_none=True, metadata={"description": "To the minute; null if it was never used"}
    )
    revokedAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    tokens = attribution.TOKENS
    tokensByDay = attribution.TOKENS_BY_DAY
    resources = ma.fields.List(
        ma.fields.Nested(ResourceTokensSchema), required=True, metadata={"description": "Most tokens first"}
    )


class CredentialUsageSchema(PeriodSchema):
    """The credentials that are in force or were in the period. The sum of all items equals the number of all tokens."""

    data = ma.fields.List(ma.fields.Nested(CredentialUsageItemSchema), required=True)


@dataclass
class CredentialUsage:
    """A credential and its tokens in a period.

    :param credential_id: the credential's ID, or None for tokens that are not attributed.
    :param type: one of :data:`TYPES`.
    :param by_day: the number of tokens per day.
    :param by_resource: the number of tokens by resource. The key of our own API is an empty string.
    """

    credential_id: UUID | None
    agent_id: UUID | None
    agent_name: str | None
    type: str
    by_day: list[int]
    by_resource: dict[str, int]
    label: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def tokens(self) -> int:
        """Return the number of tokens on all days."""
        return sum(self.by_day)


@blueprint.route("/api/v1/analytics/credentials")
@bearer("analytics:read")
@blueprint.tool("credentials")
@blueprint.arguments(AttributionArguments(), location="query")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.data_response(CredentialUsageSchema)
def credential_usage(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens per credential, with its agent, its last use, its tokens per UTC day and the resources of the tokens.

    The numbers are exact, because a token is counted for its credential in the transaction that issues it.
    """
    period = requested_period(arguments, caller.at)
    found, _ = read_attribution(caller, period, arguments["agent"])
    own_resource = caller.settings.resource
    data = [represent(used, own_resource) for used in used_credentials(found)]
    return data_response(
        {"tenantId": caller.organization_id, **period.described, "data": data}, CredentialUsageItemSchema
    )


def used_credentials(found: Attribution) -> list[CredentialUsage]:
    """Return the credentials, and the tokens without a credential, most tokens first."""
    by_id = {
        row.credential_id: CredentialUsage(
            row.credential_id,
            row.agent_id,
            found.names[row.agent_id],
            row.type,
            [0] * found.period.days,
            {},
            row.label,
            row.created_at,
            row.expires_at,
            row.last_used_at,
            row.revoked_at,
        )
        for row in found.credentials
    }
    for row in found.rows:
        used = by_id.get(row.credential_id)
        if used is None:
            # Rows of credentials are never deleted, so tokens without such a row were issued by the operator.
            used = by_id[row.credential_id] = CredentialUsage(
                row.credential_id, row.agent_id, found.names[row.agent_id], "operator", [0] * found.period.days, {}
            )
        add(used.by_day, row)
        used.by_resource[row.resource] = used.by_resource.get(row.resource, 0) + sum(row.tokens)
    all_used = [used for used in by_id.values() if used.tokens or not _is_newer(used, found.period)]
    if any(found.not_attributed):
        name = None if found.agent_id is None else found.names[found.agent_id]
        all_used.append(CredentialUsage(None, found.agent_id, name, "not_attributed", found.not_attributed, {}))
    # Among items with equal tokens, tokens that are not attributed are last.
    return sorted(all_used, key=lambda used: (-used.tokens, used.credential_id or uuid.UUID(int=2**128 - 1)))


def _is_newer(used: CredentialUsage, period: Period) -> bool:
    return used.created_at is not None and used.created_at.astimezone(UTC).date() > period.last


def represent(used: CredentialUsage, own_resource: str) -> dict[str, Any]:
    """Return a credential and its tokens as our JSON."""
    resources = sorted(used.by_resource.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "credentialId": None if used.credential_id is None else str(used.credential_id),
        "agentId": None if used.agent_id is None else str(used.agent_id),
        "agentName": used.agent_name,
        "label": used.label,
        "type": used.type,
        "createdAt": timestamp(used.created_at),
        "expiresAt": timestamp(used.expires_at),
        "lastUsedAt": timestamp(used.last_used_at),
        "revokedAt": timestamp(used.revoked_at),
        "tokens": used.tokens,
        "tokensByDay": used.by_day,
        "resources": [{"resource": resource or own_resource, "tokens": tokens} for resource, tokens in resources],
    }
