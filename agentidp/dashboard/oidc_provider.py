"""What sign-ins ask of the OpenID Connect provider, how many at a time, and what its failures mean for a person.

Anyone can open the addresses of a sign-in. So few threads wait for the provider's metadata and keys, as for any issuer,
and after a failure nobody fetches them for a while. Codes are exchanged by a few threads at a time
(:mod:`agentidp.dashboard.oidc_places`), and whose codes are refused too often is refused without asking the provider.
A code that fails says nothing about the codes of others.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Flask, Response, request

from agentidp.audit import INSTANCE
from agentidp.config.oidc import OidcSettings
from agentidp.dashboard import oidc_client
from agentidp.dashboard.oidc_client import BadResponse, Unavailable
from agentidp.dashboard.oidc_places import Places
from agentidp.dashboard.session import SignInRefused
from agentidp.federation.issuer_keys import PAUSE_WITHOUT_KEYS, TIMEOUT, IssuerKeys, KeySource, KeysUnavailable
from agentidp.oauth import throttle
from agentidp.outbound.client import proxy_of_environment
from agentidp.outbound.networks import OF_THE_OPERATOR
from agentidp.services import services

EXTENSION = "agentidp-oidc"

logger = logging.getLogger("agentidp")

_ERROR = re.compile(r"[a-z_]{1,40}")


class ProviderUnavailable(SignInRefused):
    """503: the provider cannot be reached, or is too slow."""

    code = "SERVICE_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__(
            503,
            "The sign-in of your company cannot be reached now. Try again in a minute, or sign in as an agent.",
            {"Retry-After": str(int(PAUSE_WITHOUT_KEYS))},
        )


class ResponseRefused(SignInRefused):
    """403: the provider did not sign the person in, or what it sent is not valid."""

    def __init__(self) -> None:
        super().__init__(403, "Your company did not sign you in. Try again. The log of the service says why.")


class TooManyFailures(SignInRefused):
    """429: too many responses from this address or its site were not valid. The next one is not examined."""

    code = "RATE_LIMITED"

    def __init__(self) -> None:
        wait = str(math.ceil(throttle.INTERVAL.total_seconds()))
        super().__init__(429, f"Too many failed attempts. Try again in {wait} s.", {"Retry-After": wait})


class FlowExpired(SignInRefused):
    """400: this browser has begun no such sign-in, or finished it before."""

    def __init__(self) -> None:
        super().__init__(400, "This sign-in has expired or was completed before. Sign in again.")


class Provider:
    """The provider that the settings name. Nothing is connected yet.

    :param timeout: seconds for its metadata and keys together.
    """

    def __init__(self, settings: OidcSettings, *, timeout: float = TIMEOUT) -> None:
        self.settings = settings
        self._keys = IssuerKeys(OF_THE_OPERATOR, proxy=proxy_of_environment, timeout=timeout)
        self._source = KeySource(settings.issuer, None)
        self._places = Places()

    def begin(self, redirect_uri: str, return_to: str) -> Response:
        """Send the browser to the provider.

        :param return_to: what :meth:`complete` is to return.
        :raises ProviderUnavailable: its metadata cannot be read.
        """
        with self._failures():
            return oidc_client.begin(self._metadata(), self.settings, redirect_uri, return_to)

    def complete(self, redirect_uri: str, at: datetime) -> tuple[dict[str, Any], str]:
        """The claims about the person in whose browser the provider's response arrived, and what was passed to
        :meth:`begin` in that browser.

        :raises FlowExpired, ResponseRefused, ProviderUnavailable, TooManyFailures: there are none.
        """
        error = request.args.get("error")
        if error is not None:
            # Anyone can send it, so it is repeated nowhere unless it looks like an error of OAuth.
            _log_refusal(error if _ERROR.fullmatch(error) else "unreadable error")
            raise ResponseRefused
        flow = oidc_client.begun_flow()
        if flow is None:
            raise FlowExpired
        with self._failures():
            metadata = self._metadata()
        with self._exchange(at), self._failures():
            claims = oidc_client.complete(metadata, self.settings, flow, redirect_uri, keys_of=self._keys_of, at=at)
            return claims, flow.return_to

    def end_session_endpoint(self) -> str | None:
        """Where people sign out at the provider; ``None`` if it offers that to nobody, or cannot be reached."""
        with contextlib.suppress(KeysUnavailable, Unavailable):
            return oidc_client.end_session_endpoint(self._metadata())
        return None

    def _metadata(self) -> dict[str, Any]:
        """:raises KeysUnavailable: the provider's metadata is not known now."""
        return self._keys.metadata(self._source, organization_id=INSTANCE)

    def _keys_of(self, kid: str | None, alg: str) -> list[Any]:
        """The provider's keys.

        :raises KeysUnavailable: they are not known now.
        """
        return self._keys.find(self._source, kid, alg, organization_id=INSTANCE)

    @contextlib.contextmanager
    def _exchange(self, at: datetime) -> Iterator[None]:
        """A block that exchanges a code, with its place among the threads that do. If it fails, that is counted for
        the address and for its site.

        :raises TooManyFailures: too many have failed.
        :raises ProviderUnavailable: there is no place.
        """
        s = services()
        key, address = s.settings.secret_key or b"", request.remote_addr
        host = throttle.cell_of(key, "response of a provider", address)
        site = throttle.cell_of(key, "response of a provider, by site", address, throttle.SITE)
        if throttle.is_throttled(s.database, [host, site], at):
            raise TooManyFailures
        if not self._places.take(site, at):
            raise ProviderUnavailable
        has_failed = True
        try:
            yield
            has_failed = False
        except SignInRefused:
            throttle.admits(s.database, host, at)
            throttle.admits(s.database, site, at, every=throttle.INTERVAL_OF_SITE)
            raise
        finally:
            self._places.give_back(site, at, has_failed=has_failed)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """A block that asks the provider, and whose failures become pages."""
        try:
            yield
        except KeysUnavailable:
            # Whoever tried to fetch them has logged why.
            raise ProviderUnavailable from None
        except Unavailable as failed:
            fields = {"issuer": self.settings.issuer, "reason": str(failed)}
            logger.error("OpenID Connect provider unreachable", extra={"fields": fields})
            raise ProviderUnavailable from None
        except BadResponse as refused:
            _log_refusal(str(refused))
            raise ResponseRefused from None


def _log_refusal(reason: str) -> None:
    fields = {"reason": reason, "address": request.remote_addr}
    logger.warning("sign-in of a person refused", extra={"fields": fields})


def provider_of(app: Flask) -> Provider | None:
    """The provider at which people sign in, if there is one."""
    return app.extensions.get(EXTENSION)
