"""``GET /api/v1/analytics/credentials`` and ``…/credentials/days``: tokens per credential, and their resources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.attribution import (
    TOKENS,
    TOKENS_BY_DAY,
    Attribution,
    AttributionArguments,
    TokensOfDaySchema,
    read_attribution,
    respond_by_day,
)
from agentidp.analytics.period import Period
from agentidp.analytics.usage_route import period_schema, respond, usage_route
from agentidp.caller import Caller
from agentidp.http.openapi import Blueprint
from agentidp.http.schemas import required, timestamp

blueprint = Blueprint("credential-usage", __name__, description="Tokens by credential")

TYPES = ("secret", "key", "federated", "public", "operator", "not_attributed")
"""The types of credentials in a response. ``operator`` means the temporary credentials of ``agentidp token``, and
``not_attributed`` means imported usage."""


class ResourceTokensSchema(ma.Schema):
    """The number of tokens for a resource."""

    resource = ma.fields.String(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class _CredentialSchema(ma.Schema):
    """The members that identify a credential, or tokens that belong to no credential."""

    credentialId = ma.fields.UUID(**required(nullable=True))
    agentId = ma.fields.UUID(**required("Null for tokens of the organization that are not attributed", nullable=True))
    agentName = ma.fields.String(**required(nullable=True))
    label = ma.fields.String(**required(nullable=True))
    type = ma.fields.String(required=True, validate=ma.validate.OneOf(TYPES))


class CredentialUsageItemSchema(_CredentialSchema):
    """A credential with its tokens in the period."""

    createdAt = ma.fields.AwareDateTime(**required(nullable=True))
    expiresAt = ma.fields.AwareDateTime(**required(nullable=True))
    lastUsedAt = ma.fields.AwareDateTime(**required("To the minute; null if it was never used", nullable=True))
    revokedAt = ma.fields.AwareDateTime(**required(nullable=True))
    tokens = TOKENS
    tokensByDay = TOKENS_BY_DAY
    resources = ma.fields.List(ma.fields.Nested(ResourceTokensSchema), **required("Most tokens first"))


class CredentialTokensOfDaySchema(_CredentialSchema, TokensOfDaySchema):
    """The number of tokens of a credential on a UTC day."""


CredentialUsageSchema = period_schema("CredentialUsage", CredentialUsageItemSchema)
CredentialTokensByDaySchema = period_schema("CredentialTokensByDay", CredentialTokensOfDaySchema)


@dataclass
class CredentialUsage:
    """A credential and its tokens in a period."""

    credential_id: UUID | None  # None for the tokens without a credential
    agent_id: UUID | None
    agent_name: str | None
    type: str  # one of TYPES
    days: int  # number of days of the period
    label: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    tokens: int = 0  # sum of all days
    usage: list[tuple[Sequence[int], list[int]]] = field(default_factory=list)  # days (from 0) and the tokens of each
    by_resource: Counter[str] = field(default_factory=Counter)  # tokens; the key of our own API is ""

    @property
    def by_day(self) -> list[int]:
        """The number of the credential's tokens on each day of the period."""
        tokens_by_day = [0] * self.days
        for day_indexes, token_counts in self.usage:
            for day_index, token_count in zip(day_indexes, token_counts, strict=True):
                tokens_by_day[day_index] += token_count
        return tokens_by_day


@usage_route(blueprint, "/credentials", CredentialUsageSchema, AttributionArguments(), tool="credentials")
@blueprint.alt_response(404, "NOT_FOUND")
def credential_usage(caller: Caller, period: Period, agent: UUID | None) -> Response:
    """Tokens per credential, with its agent, its last use, its tokens per UTC day and the resources of the tokens.

    The numbers are exact, because a token is counted for its credential in the transaction that issues it.
    """
    credential_usages = list_used_credentials(read_attribution(caller, period, agent)[0])
    represent_usage = partial(represent_credential, own_resource=caller.settings.resource)
    return respond(caller, period, credential_usages, CredentialUsageItemSchema, represent_usage)


@usage_route(blueprint, "/credentials/days", CredentialTokensByDaySchema, AttributionArguments())
@blueprint.alt_response(404, "NOT_FOUND")
def credential_tokens_by_day(caller: Caller, period: Period, agent: UUID | None) -> Response:
    """Tokens per credential and UTC day. Days without tokens have no item."""
    usages = list_used_credentials(read_attribution(caller, period, agent)[0])
    return respond_by_day(caller, period, usages, CredentialTokensOfDaySchema, represent_credential)


def list_used_credentials(attribution: Attribution) -> list[CredentialUsage]:
    """Return the credentials with their tokens, and the tokens without a credential, most tokens first."""
    period, names_by_id = attribution.period, attribution.names_by_id
    credentials_by_id = {
        row.credential_id: CredentialUsage(**row._asdict(), agent_name=names_by_id[row.agent_id], days=period.days)
        for row in attribution.credentials
    }
    for token_row in attribution.rows:
        credential = credentials_by_id.get(token_row.credential_id)
        if credential is None:
            # ``agentidp token`` issued these tokens, because only the credentials of this command are deleted.
            credential = credentials_by_id[token_row.credential_id] = CredentialUsage(
                token_row.credential_id, token_row.agent_id, names_by_id[token_row.agent_id], "operator", period.days
            )
        token_count = sum(token_row.tokens)
        credential.usage.append((token_row.days, token_row.tokens))
        credential.tokens += token_count
        credential.by_resource[token_row.resource] += token_count
    credentials = [
        credential
        for credential in credentials_by_id.values()
        if credential.tokens
        or credential.created_at is None
        or credential.created_at.astimezone(UTC).date() <= period.last
    ]
    # Sorting once by tuples would block other threads for three times as long as sorting twice by integers.
    credentials.sort(key=lambda credential: credential.credential_id.int if credential.credential_id else 0)
    if token_count := sum(attribution.not_attributed):
        agent_name = None if attribution.agent_id is None else names_by_id[attribution.agent_id]
        credentials.append(
            CredentialUsage(
                None,
                attribution.agent_id,
                agent_name,
                "not_attributed",
                period.days,
                tokens=token_count,
                usage=[(range(period.days), attribution.not_attributed)],
            )
        )
    credentials.sort(key=lambda credential: -credential.tokens)
    return credentials


def represent_credential(credential: CredentialUsage, own_resource: str) -> dict[str, Any]:
    """Return a credential and its tokens as JSON of the API."""
    resources = sorted(credential.by_resource.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "credentialId": None if credential.credential_id is None else str(credential.credential_id),
        "agentId": None if credential.agent_id is None else str(credential.agent_id),
        "agentName": credential.agent_name,
        "label": credential.label,
        "type": credential.type,
        "createdAt": timestamp(credential.created_at),
        "expiresAt": timestamp(credential.expires_at),
        "lastUsedAt": timestamp(credential.last_used_at),
        "revokedAt": timestamp(credential.revoked_at),
        "tokens": credential.tokens,
        "tokensByDay": credential.by_day,
        "resources": [{"resource": resource or own_resource, "tokens": tokens} for resource, tokens in resources],
    }
