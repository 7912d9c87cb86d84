"""``/api/v1/openid-providers``: the organization's own OpenID Connect provider, at which its people sign in."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

import marshmallow as ma

from agentidp.caller.object_kind import ObjectKind
from agentidp.config import Settings
from agentidp.config.oidc import ANYONE, MAX_ISSUER
from agentidp.db.organization import Transaction
from agentidp.federation.platforms import is_open_issuer
from agentidp.federation.rule_checks import RuleRefused, check_provider_issuer
from agentidp.http import schemas
from agentidp.http.errors import Conflict, ValidationError, require_row
from agentidp.http.openapi import Blueprint
from agentidp.jose.sealing import reseal_secrets
from agentidp.openid.organization_provider import build_sealer, seal_secret
from agentidp.registry.grants import end_grants

blueprint = Blueprint("openid-providers", __name__, description="Where the organization's people sign in")

MAX_VALUES = 50
"""Maximum number of values of the role claim that can give a role."""

MAX_VALUE = 200
"""Maximum number of characters of the role claim's name, and of each value that can give a role."""


class ClientSecret(schemas.Member, ma.fields.String):
    """A field for a client secret, which responses never contain."""

    maximum = 1000

    def __init__(self, **kwargs: Any) -> None:
        rule = ma.validate.Regexp(
            r"[!-~]([ -~]{0,998}[!-~])?\Z",
            error="must have 1 to 1000 printable ASCII characters, and no blank at its ends",
        )
        super().__init__(load_only=True, validate=rule, **kwargs)
        self.error_messages["invalid"] = "must be a string or null"


class _HasSecret(ma.fields.Boolean):
    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> bool:
        return value is not None


def _build_values_field(noun: str) -> schemas.Items:
    return schemas.Items(
        schemas.Text(1, MAX_VALUE),
        load_default=list,
        validate=schemas.list_rules(MAX_VALUES, "a value"),
        description=f"Values of the role claim that make {noun} of the dashboard. `*` means everybody",
        metadata={"uniqueItems": True},
    )


class OpenidProviderFields(ma.Schema):
    openidProviderId = ma.fields.UUID(attribute="openid_provider_id", dump_only=True)
    issuer = schemas.Exact(
        MAX_ISSUER,
        r"https?://[!-~]+",
        f"must be an https URL of at most {MAX_ISSUER} characters",
        required=True,
        description="The issuer, exactly as the provider's `/.well-known/openid-configuration` has it",
    )
    clientId = schemas.Exact(
        500,
        r"[!-~]{1,500}",
        "must have 1 to 500 printable ASCII characters without blanks",
        required=True,
        attribute="client_id",
        words="client ID",
        option="--client-id",
        description="The client ID of AgentIdP at the provider",
    )
    clientSecret = ClientSecret(
        load_default=None,
        attribute="client_secret",
        words="client secret",
        description="The client secret of AgentIdP at the provider, which is stored encrypted and never returned",
        nothing="a public client, which has no secret",
    )
    hasClientSecret = _HasSecret(attribute="sealed", dump_only=True)
    scopes = schemas.ScopeList(
        load_default=lambda: ["profile", "email"], description="Scopes to request in addition to `openid`"
    )
    roleClaim = schemas.Text(
        1,
        MAX_VALUE,
        load_default=None,
        attribute="role_claim",
        description="The claim that gives the role in the dashboard. A dot selects a claim inside another claim",
        nothing="only `*` gives a role",
    )
    administrators = _build_values_field("an administrator")
    viewers = _build_values_field("a viewer")
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)
    updatedAt = schemas.Instant(attribute="updated_at", dump_only=True)


NewOpenidProviderSchema = schemas.new_schema(OpenidProviderFields)
OpenidProviderChangeSchema = schemas.change_schema(OpenidProviderFields, "issuer")
OpenidProviderSchema = schemas.returned_schema(OpenidProviderFields)

_CHANGEABLE = OpenidProviderChangeSchema(exclude=["clientSecret"])

PROVIDERS = ObjectKind(
    "openid_provider",
    blueprint,
    OpenidProviderSchema,
    ["issuer", "hasClientSecret", *_CHANGEABLE.fields],
    delete_statement="openid/delete_provider",
)
represent, find_provider = PROVIDERS.represent, PROVIDERS.find


def add_provider(
    transaction: Transaction, settings: Settings, *, issuer: str, client_secret: str | None, **columns: Any
) -> Any:
    """Add the organization's own provider, and return its row.

    :param columns: the other members that :class:`NewOpenidProviderSchema` loads.
    :raises ValidationError: the issuer is refused, or everybody (``*``) at a public issuer would get a role.
    :raises Conflict: the organization already has a provider.
    """
    try:
        check_provider_issuer(issuer, settings.issuer, allows_loopback=settings.allows_loopback_issuers)
    except RuleRefused as refused:
        raise ValidationError(details={refused.member: [str(refused)]}) from None
    _check_roles(issuer, columns)
    provider_id = uuid.uuid4()
    provider_rows = transaction.fetch(
        "openid/add_provider",
        openid_provider_id=provider_id,
        version=uuid.uuid4(),
        issuer=issuer,
        sealed=seal_secret(settings, provider_id, client_secret),
        **columns,
    )
    if not provider_rows:
        raise Conflict("The organization has an OpenID provider; delete it first.")
    [provider_row] = provider_rows
    PROVIDERS.record(transaction, after=provider_row)
    return provider_row


def update_provider(transaction: Transaction, settings: Settings, provider_id: UUID, change: dict[str, Any]) -> Any:
    """Change the organization's own provider, and return the new row. People who use the provider must sign in again.

    :param change: members that :class:`OpenidProviderChangeSchema` loads; missing members keep their values.
    :raises NotFound: the organization has no such provider.
    :raises ValidationError: everybody (``*``) at a public issuer would get a role.
    """
    earlier_row = find_provider(transaction.fetch("openid/lock_provider"), provider_id)
    new_columns = schemas.merge_changed_columns(_CHANGEABLE, earlier_row, change)
    _check_roles(earlier_row.issuer, new_columns)
    has_new_secret = "client_secret" in change
    new_columns["sealed"] = earlier_row.sealed
    if has_new_secret:
        new_columns["sealed"] = seal_secret(settings, provider_id, change["client_secret"])
    [new_row] = transaction.fetch(
        "openid/change_provider", openid_provider_id=provider_id, version=uuid.uuid4(), **new_columns
    )
    # The audit trail records when the secret was changed, but no digest, which would help to guess the secret.
    audit_details = {"clientSecretChangedAt": transaction.at} if has_new_secret else {}
    PROVIDERS.record(transaction, before=earlier_row, after=new_row, **audit_details)
    return new_row


def remove_provider(transaction: Transaction, provider_id: UUID) -> None:
    """Delete the organization's own provider and the grants of its people, or raise ``NotFound``."""
    provider_row = require_row(transaction.fetch("openid/delete_provider", openid_provider_id=provider_id))
    ended_grant_count = end_grants(transaction, issuer=provider_row.issuer)
    PROVIDERS.record(transaction, before=provider_row, endedGrants=ended_grant_count)


def _check_roles(issuer: str, columns: dict[str, Any]) -> None:
    for member_name in ("administrators", "viewers"):
        if ANYONE in columns[member_name] and is_open_issuer(issuer):
            message = "must not contain *, because anybody can have an account at this issuer"
            raise ValidationError(details={member_name: [message]})


def reencrypt_secrets(settings: Settings) -> tuple[int, int]:
    """Encrypt all client secrets again, and return the result of :func:`agentidp.jose.sealing.reseal_secrets`."""
    return reseal_secrets(
        settings,
        build_sealer(settings),
        list_statement="openid/all_secrets",
        store_statement="openid/reseal_secret",
        id_name="openid_provider_id",
        noun="client secret of the OpenID provider",
    )


PROVIDERS.add_create_route(
    NewOpenidProviderSchema,
    lambda transaction, settings, members: add_provider(transaction, settings, **members),
    "Add the organization's own OpenID provider. From then on, the organization's people sign in there.",
)
PROVIDERS.add_list_route("openid/get_provider", "List the organization's own OpenID provider, if there is one.")
PROVIDERS.add_get_route("openid/get_provider", "Return the organization's own OpenID provider.")
PROVIDERS.add_change_route(
    OpenidProviderChangeSchema,
    update_provider,
    "Change the OpenID provider, except its issuer. The people who have signed in there must sign in again.",
)
PROVIDERS.add_delete_route(
    "Delete the OpenID provider. This ends the sessions and the grants of people who have signed in there.",
    remove_provider,
)
