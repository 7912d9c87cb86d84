"""The fields of an alert target, and the schemas of its request and response bodies."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from agentidp.alerts.addresses import MAX_URL_LENGTH, TYPES
from agentidp.alerts.state_change import KINDS, SEVERITIES
from agentidp.http.schemas import (
    MAX_NAME,
    MAX_OWNER,
    Choice,
    Flag,
    Instant,
    Items,
    Member,
    ReturnedSchema,
    Text,
    change_schema,
    list_write_only_names,
    new_schema,
    required,
)

MAX_OWNERS = 50  # maximum number of owners per alert target

_ADDRESSES = "; ".join(f"{type_}: {address}" for type_, address in TYPES.items())


class Url(Member, ma.fields.String):
    """A field for the secret address of an alert target. The rules of each type are checked by ``check_address``."""

    maximum = MAX_URL_LENGTH

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            load_only=True,
            validate=[
                ma.validate.Length(1, MAX_URL_LENGTH, error=f"must have 1 to {MAX_URL_LENGTH} characters"),
                ma.validate.Regexp(
                    r"[a-z0-9]+://[!-~]+\Z",
                    error="must be a URL with a scheme and a host, in printable ASCII characters",
                ),
            ],
            **kwargs,
        )
        self.error_messages["invalid"] = "must be a string"


class AlertTargetFields(ma.Schema):
    """The fields of an alert target. ``url`` is a secret, and ``destination`` is the part of it that may be shown."""

    targetId = ma.fields.UUID(attribute="target_id", dump_only=True)
    name = Text(1, MAX_NAME, required=True)
    type = Choice(TYPES, required=True)
    url = Url(
        required=True,
        words="address",
        option="--url",
        description=f"The address, by type. {_ADDRESSES}. The address is stored encrypted and never returned",
    )
    destination = ma.fields.String(dump_only=True)
    kinds = Items(
        Choice(KINDS),
        allow_none=True,
        load_default=None,
        validate=ma.validate.Length(1, len(KINDS), error=f"must name 1 to {len(KINDS)} kinds"),
        description="Kinds of findings",
        nothing="all",
    )
    minimumSeverity = Choice(
        SEVERITIES,
        attribute="minimum_severity",
        load_default="warning",
        description="Findings that are less urgent are not sent",
    )
    enabled = Flag(load_default=True, option="--enable/--disable", description="Whether alerts are sent")
    createdAt = Instant(attribute="created_at", dump_only=True)
    updatedAt = Instant(attribute="updated_at", dump_only=True)
    lastSuccessAt = Instant(attribute="last_success_at", dump_only=True, allow_none=True)
    lastFailureAt = Instant(attribute="last_failure_at", dump_only=True, allow_none=True)
    failingSince = Instant(attribute="failing_since", dump_only=True, allow_none=True)
    lastError = ma.fields.String(attribute="last_error", dump_only=True, allow_none=True)
    owners = Items(
        Text(1, MAX_OWNER),
        allow_none=True,
        load_default=None,
        validate=ma.validate.Length(1, MAX_OWNERS, error=f"must name 1 to {MAX_OWNERS} owners"),
        description="Only findings about agents with one of these owners",
        nothing="all findings",
    )


NewAlertTargetSchema = new_schema(AlertTargetFields)
AlertTargetChangeSchema = change_schema(AlertTargetFields, "type")


class AlertTargetSchema(ReturnedSchema, AlertTargetFields):
    """An alert target in a response, without its secret address and without the key that signs its webhooks."""

    class Meta:
        exclude = list_write_only_names(AlertTargetFields)


class CreatedAlertTargetSchema(AlertTargetSchema):
    """A new alert target, with the key that signs its webhooks. No other response contains the key."""

    secret = ma.fields.String(**required("`whsec_…` for `webhook`, null for the other types", nullable=True))
