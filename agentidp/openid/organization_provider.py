"""An organization's own OpenID Connect provider: everybody who signs in there belongs to the organization.

The organization chooses the provider's addresses, so they must be in the networks that are allowed for rules of trust.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import current_app

from agentidp.config import Settings
from agentidp.config.oidc import ORGANIZATION_ID, OidcSettings
from agentidp.db.sql import Call
from agentidp.jose.sealing import Sealer, Unreadable
from agentidp.openid.claims import SignInRefused
from agentidp.openid.provider import FLOW_EXPIRED, Provider, ProviderUnavailable, get_instance_provider
from agentidp.services import services

logger = logging.getLogger("agentidp")


def build_sealer(settings: Settings) -> Sealer:
    """Return the object that encrypts and decrypts client secrets at OpenID providers."""
    return Sealer(settings, b"agentidp client secrets at openid providers")


def seal_secret(settings: Settings, provider_id: UUID, secret: str | None) -> bytes | None:
    """Return a provider's client secret encrypted, or ``None`` if there is none."""
    return None if secret is None else build_sealer(settings).seal(str(provider_id), secret.encode())


def get_provider(organization_id: str | None, at: datetime) -> Provider:
    """Return the provider at which the people of an organization sign in: its own provider or the instance's.

    :param organization_id: any string; ``None`` if the organization is not known yet.
    :raises SignInRefused: there is no provider, or the instance secret does not decrypt its client secret.
    """
    provider = _find_own_provider(organization_id, at) or get_instance_provider(current_app)
    if provider is None:
        raise SignInRefused(
            404,
            "People cannot sign in here: neither the operator nor the organization has named an OpenID Connect "
            "provider.",
        )
    return provider


def get_callback_provider(organization_id: str | None, at: datetime) -> Provider:
    """Return the provider whose responses arrive at a callback address.

    :param organization_id: any string from the path of the callback; ``None`` for the callback of the instance.
    """
    if organization_id is None:
        return get_provider(None, at)
    provider = _find_own_provider(organization_id, at)
    if provider is None:
        raise SignInRefused(400, FLOW_EXPIRED)
    return provider


def _find_own_provider(organization_id: str | None, at: datetime) -> Provider | None:
    if organization_id is None or not ORGANIZATION_ID.fullmatch(organization_id):
        return None
    app_services = services()
    organization_rows, provider_rows = app_services.database.of(organization_id, at).run(
        Call("organizations/get_organization", {}), Call("openid/get_provider", {})
    )
    if not provider_rows or any(organization_row.suspended_at for organization_row in organization_rows):
        return None
    [provider_row] = provider_rows
    try:
        provider_settings = _build_settings(app_services.settings, provider_row)
    except Unreadable:
        log_fields = {"organization": organization_id, "issuer": provider_row.issuer}
        logger.error("the instance secret does not decrypt a client secret", extra={"fields": log_fields})
        raise ProviderUnavailable from None
    return Provider(
        provider_settings,
        keys=app_services.issuer_tokens.keys,
        organization_id=organization_id,
        version=str(provider_row.version),
    )


def _build_settings(settings: Settings, row: Any) -> OidcSettings:
    secret = b""
    if row.sealed is not None:
        secret = build_sealer(settings).open(str(row.openid_provider_id), bytes(row.sealed))
    return OidcSettings(
        issuer=row.issuer,
        client_id=row.client_id,
        client_secret=secret.decode(),
        scopes=" ".join(dict.fromkeys(["openid", *row.scopes])),
        role_claim=row.role_claim,
        administrators=frozenset(row.administrators),
        viewers=frozenset(row.viewers),
    )
