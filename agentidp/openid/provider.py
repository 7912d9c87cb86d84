"""An OpenID Connect provider at which people sign in. This module limits the requests to it and explains its failures.

Anyone can open the addresses of a sign-in. So only a few threads exchange codes: :mod:`agentidp.openid.places` limits
the threads for the provider of the instance, and :mod:`agentidp.outbound.places` for the providers of organizations. An
address with too many failures is refused without a request to the provider.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Flask, request

from agentidp.audit import INSTANCE
from agentidp.config import Settings
from agentidp.config.oidc import OidcSettings
from agentidp.federation.issuer_documents import TIMEOUT
from agentidp.federation.issuer_keys import PAUSE_WITHOUT_KEYS, RETRY_AFTER, IssuerKeys, KeysUnavailable
from agentidp.oauth import throttle
from agentidp.openid.claims import NoAccess, SignInRefused, read_organization_id
from agentidp.openid.client import BadResponse, Client, Unavailable
from agentidp.openid.flows import create_flow, delete_flow, find_flow, store_flow
from agentidp.openid.places import Places
from agentidp.outbound.client import find_proxy
from agentidp.outbound.networks import OPERATOR_NETWORKS
from agentidp.services import services

EXTENSION = "agentidp-oidc"

FLOW_EXPIRED = "This sign-in has expired or was completed before. Sign in again."
"""The message if this browser has not begun a sign-in, or has already completed the sign-in."""

logger = logging.getLogger("agentidp")


class ProviderUnavailable(SignInRefused):
    """503: the provider cannot be reached or is too slow, or other networks complete too many sign-ins."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "The sign-in of your company cannot be reached now. Try again in a minute, or sign in as an agent.",
            {"Retry-After": str(int(PAUSE_WITHOUT_KEYS))},
        )


class ProviderBusy(SignInRefused):
    """503: other sign-ins of the same organization or network, such as in other tabs, are being completed."""

    def __init__(self) -> None:
        wait_seconds = str(math.ceil(RETRY_AFTER))
        message = "Other sign-ins are being completed at this moment. This page tries again by itself."
        super().__init__(503, message, {"Retry-After": wait_seconds, "Refresh": wait_seconds})


class Provider:
    """The OpenID Connect provider of the instance or of an organization. The constructor sends no request.

    :param keys: fetches the provider's metadata and keys. Default: from the networks that are allowed for the operator.
    :param organization_id: the organization of all people of the provider; ``None`` for the provider of the instance.
    :param version: a string that differs after each change of an organization's provider.
    :param timeout: maximum seconds for fetching the metadata and the keys together.
    """

    def __init__(
        self,
        settings: OidcSettings,
        *,
        keys: IssuerKeys | None = None,
        organization_id: str | None = None,
        version: str = "",
        timeout: float = TIMEOUT,
    ) -> None:
        self.settings, self.organization_id, self.version = settings, organization_id, version
        keys = keys or IssuerKeys(OPERATOR_NETWORKS, proxy=find_proxy, timeout=timeout)
        self.client = Client(settings, keys, organization_id or INSTANCE)
        self._places = Places()

    def begin_sign_in(self, path: str, return_to: str, at: datetime) -> str:
        """Begin a sign-in, and return the address at the provider where the person continues.

        :param path: the path at which the sign-in begins, one of :data:`agentidp.openid.flows.PATHS`.
        :param return_to: a string that :meth:`complete_sign_in` will return.
        """
        redirect_uri = build_callback_url(services().settings, path, self.organization_id)
        flow = create_flow(return_to, self.version, at)
        with self._explain_errors(at):
            authorization_url = self.client.build_authorization_url(redirect_uri, flow)
        store_flow(path, flow)
        return authorization_url

    def complete_sign_in(self, path: str, at: datetime) -> tuple[dict[str, Any], str]:
        """Complete the sign-in to which the provider's response in the current request belongs.

        :returns: the claims about the person, and the *return_to* that was passed to :meth:`begin_sign_in`.
        """
        flow = find_flow(path, at)
        # A sign-in cannot be completed if it began at another provider, or before the provider was changed.
        if flow is None or flow.provider_version != self.version:
            raise SignInRefused(400, FLOW_EXPIRED)
        redirect_uri = build_callback_url(services().settings, path, self.organization_id)
        with self._explain_errors(at):
            metadata = self.client.get_metadata()
        with self._reserve_exchange(at), self._explain_errors(at):
            delete_flow(flow)
            claims = self.client.complete_flow(metadata, flow, redirect_uri, at)
        if self.organization_id is not None:
            self.client.keys.mark_proven(self.client.key_source, organization_id=self.organization_id)
        return claims, flow.return_to

    def find_organization_id(self, claims: dict[str, Any]) -> str:
        """Return the ID of the organization to which a person with these claims belongs, or raise :exc:`NoAccess`."""
        return self.organization_id or read_organization_id(claims, self.settings)

    def has_member(self, claims: dict[str, Any], organization_id: str) -> bool:
        """Return whether a person with these claims belongs to an organization."""
        try:
            return self.find_organization_id(claims) == organization_id
        except NoAccess:
            return False

    @contextlib.contextmanager
    def _reserve_exchange(self, at: datetime) -> Iterator[None]:
        """Reserve a thread to exchange a code in a ``with`` block. Count a failed exchange for the client's network."""
        app_services = services()
        secret_key, client_address = app_services.settings.instance_secret, request.remote_addr
        organization_id = self.organization_id or ""
        address_throttle_cell = throttle.compute_throttle_cell(
            secret_key, f"response of a provider{organization_id}", client_address
        )
        network_throttle_cell = throttle.compute_throttle_cell(
            secret_key, f"response of a provider, by site{organization_id}", client_address, throttle.NETWORK
        )
        if throttle.is_throttled(app_services.database, [address_throttle_cell, network_throttle_cell], at):
            seconds = str(math.ceil(throttle.INTERVAL.total_seconds()))
            raise SignInRefused(429, f"Too many failed attempts. Try again in {seconds} s.", {"Retry-After": seconds})
        with self._reserve_place(network_throttle_cell, at):
            try:
                yield
            except SignInRefused:
                throttle.admit_event(app_services.database, address_throttle_cell, at)
                throttle.admit_event(
                    app_services.database, network_throttle_cell, at, every=throttle.INTERVAL_OF_NETWORK
                )
                raise

    @contextlib.contextmanager
    def _reserve_place(self, network_throttle_cell: int, at: datetime) -> Iterator[None]:
        if self.organization_id is not None:
            with self.client.keys.places.reserve(self.organization_id) as may_exchange:
                if not may_exchange:
                    raise ProviderBusy
                yield
            return
        # The browser repeats its request after ProviderBusy.
        if self._places.has_maximum(network_throttle_cell):
            raise ProviderBusy
        # The browser does not repeat its request after ProviderUnavailable, because each failed reserve_thread counts
        # as a failure of the browser's network.
        if not self._places.reserve_thread(network_throttle_cell, at):
            raise ProviderUnavailable
        has_failed = True
        try:
            yield
            has_failed = False
        finally:
            self._places.release_thread(network_throttle_cell, at, has_failed=has_failed)

    @contextlib.contextmanager
    def _explain_errors(self, at: datetime) -> Iterator[None]:
        """Replace errors of a ``with`` block's requests to the provider by errors that people can read."""
        try:
            yield
        except KeysUnavailable:
            # The thread that fetches the provider's keys has logged the reason.
            raise ProviderUnavailable from None
        except Unavailable as failed:
            self._log_failure(str(failed), at)
            raise ProviderUnavailable from None
        except BadResponse as refused:
            log_fields = {"reason": str(refused), "address": request.remote_addr}
            logger.warning("sign-in of a person refused", extra={"fields": log_fields})
            message = "Your company did not sign you in. Try again. The log of the service says why."
            raise SignInRefused(403, message) from None

    def _log_failure(self, reason: str, at: datetime) -> None:
        """Log a failure of the provider, unless there were too many failures lately, because anyone can cause them."""
        app_services = services()
        throttle_subject = f"failure of a provider{self.organization_id or ''}"
        throttle_cell = throttle.compute_throttle_cell(app_services.settings.instance_secret, throttle_subject, None)
        if throttle.admit_event(app_services.database, throttle_cell, at):
            log_fields = {"issuer": self.settings.issuer, "reason": reason}
            logger.error("OpenID Connect provider unreachable", extra={"fields": log_fields})


def build_callback_url(settings: Settings, path: str, organization_id: str | None) -> str:
    """Return a provider's redirect URI for sign-ins at *path*. Without *organization_id*: of the instance's provider.

    Each provider has its own address, so that no provider gets another provider's code (RFC 9700 section 4.4.2.2).
    """
    return f"{settings.issuer}{path}/callback" + (f"/{organization_id}" if organization_id else "")


def get_instance_provider(app: Flask) -> Provider | None:
    """Return the provider of the instance; ``None`` if the settings name no provider."""
    return app.extensions.get(EXTENSION)


def init_app(app: Flask, settings: Settings) -> None:
    """Register the provider of the instance, if the settings name one."""
    if settings.oidc is not None:
        app.extensions[EXTENSION] = Provider(settings.oidc)
