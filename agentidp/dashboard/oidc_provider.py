"""One sign-in at a time with the OpenID Connect provider, and what its failures mean for a person."""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Flask, Response, g, request

from agentidp.config import ConfigurationError
from agentidp.dashboard.session import SignInRefused
from agentidp.oidc_settings import OidcSettings

WAIT = 1.0
"""Seconds that a sign-in waits for another one that talks with the provider."""

PLACES = 2
"""Threads of a process that sign-ins may occupy: one talks with the provider, one waits for it. The others stay free
for tokens, however many people, or attackers, open the address."""

PAUSE = 5.0
"""Seconds for which nobody tries again after the provider could not be reached, or responded with a status of 5xx."""

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
            {"Retry-After": str(int(PAUSE))},
        )


class ResponseRefused(SignInRefused):
    """403: the provider did not sign the person in, or what it sent is not valid."""

    def __init__(self) -> None:
        super().__init__(403, "Your company did not sign you in. Try again. The log of the service says why.")


class FlowExpired(SignInRefused):
    """400: this browser has begun no such sign-in, or finished it before."""

    def __init__(self) -> None:
        super().__init__(400, "This sign-in has expired or was completed before. Sign in again.")


class Provider:
    """The provider that the settings name.

    :raises ConfigurationError: Authlib is not installed.
    """

    def __init__(self, app: Flask, settings: OidcSettings) -> None:
        try:
            # Optional, like apprise.
            self._authlib: Any = importlib.import_module("agentidp.dashboard.oidc_client")
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"AGENTIDP_OIDC_ISSUER needs the package {error.name}, which is not installed: "
                "pip install 'agentidp[oidc]'"
            ) from None
        self.settings = settings
        self._client = self._authlib.new_client(app, settings)
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(PLACES)
        self._failed_at = float("-inf")

    def begin(self, redirect_uri: str, return_to: str) -> Response:
        """Send the browser to the provider.

        :param return_to: what :meth:`complete` is to return.
        :raises ProviderUnavailable: its metadata cannot be read.
        """
        with self._conversation():
            response: Response = self._authlib.begin(self._client, redirect_uri, return_to)
            return response

    def complete(self, at: datetime) -> tuple[dict[str, Any], str]:
        """The claims about the person in whose browser the provider's response arrived, and what was passed to
        :meth:`begin` in that browser.

        :raises FlowExpired, ResponseRefused, ProviderUnavailable: there are none.
        """
        error = request.args.get("error")
        if error is not None:
            # Anyone can send it, so it is repeated nowhere unless it looks like an error of OAuth.
            _log_refusal(error if _ERROR.fullmatch(error) else "unreadable error")
            raise ResponseRefused
        with self._conversation():
            completed: tuple[dict[str, Any], str] = self._authlib.complete(self._client, self.settings, at=at)
            return completed

    def end_session_endpoint(self) -> str | None:
        """Where people sign out at the provider; ``None`` if it offers that to nobody, or cannot be reached."""
        with contextlib.suppress(SignInRefused), self._conversation():
            found: str | None = self._authlib.end_session_endpoint(self._client)
            return found
        return None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """A block that no other thread runs at the same time.

        :raises ProviderUnavailable: somebody waits already, the wait takes too long, or the provider failed just now.
        """
        if not self._places.acquire(blocking=False):
            raise ProviderUnavailable
        try:
            if not self._lock.acquire(timeout=WAIT):
                raise ProviderUnavailable
            try:
                if time.monotonic() - self._failed_at < PAUSE:
                    raise ProviderUnavailable
                yield
            finally:
                self._lock.release()
        finally:
            self._places.release()

    @contextlib.contextmanager
    def _conversation(self) -> Iterator[None]:
        """A block that talks with the provider, and whose failures become pages."""
        with self._turn(), self._authlib.conversation():
            try:
                yield
            except self._authlib.MismatchingStateError:
                raise FlowExpired from None
            except Exception as error:  # Whatever the provider sends must not look like a fault of ours.
                reason = self._authlib.reason(error)
                if not self._authlib.is_unavailable(error):
                    _log_refusal(reason)
                    raise ResponseRefused from None
                self._failed_at = time.monotonic()
                fields = {"issuer": self.settings.issuer, "reason": reason}
                logger.error("OpenID Connect provider unreachable", extra={"fields": fields})
                raise ProviderUnavailable from None


def _log_refusal(reason: str) -> None:
    fields = {"reason": reason, "address": request.remote_addr, "request_id": g.request_id}
    logger.warning("sign-in of a person refused", extra={"fields": fields})


def provider_of(app: Flask) -> Provider | None:
    """The provider at which people sign in, if there is one."""
    return app.extensions.get(EXTENSION)
