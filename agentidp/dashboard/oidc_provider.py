"""What sign-ins ask of the OpenID Connect provider, how many at a time, and what its failures mean for a person.

Anyone can open the addresses of a sign-in. So one thread at a time reads the provider's metadata, and after a failure
nobody does for a while. Codes are exchanged by a few threads at a time, fewer for one address, and whose codes are
refused too often is refused without asking the provider. A code that fails says nothing about the codes of others.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Flask, Response, g, request

from agentidp.config import ConfigurationError
from agentidp.dashboard.session import SignInRefused
from agentidp.oauth import throttle
from agentidp.oidc_settings import OidcSettings
from agentidp.services import services

WAIT = 1.0
"""Seconds that a sign-in waits for another one that reads the provider's metadata."""

READERS = 2
"""Threads of a process that the metadata may occupy: one reads it, one waits for it. The others stay free for tokens,
however many people, or attackers, open the address."""

EXCHANGES = 4
"""Threads of a process that exchange codes at the same time."""

EXCHANGES_OF_ONE = 2
"""At most this many of them are for one address, so that it cannot occupy them all."""

PAUSE = 5.0
"""Seconds for which nobody tries again after the metadata could not be read: the provider was not reached, or responded
with a status of 5xx."""

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


class TooManyFailures(SignInRefused):
    """429: too many responses from this address were not valid. The next one is not examined."""

    code = "RATE_LIMITED"

    def __init__(self) -> None:
        wait = str(math.ceil(throttle.INTERVAL.total_seconds()))
        super().__init__(429, f"Too many failed attempts. Try again in {wait} s.", {"Retry-After": wait})


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
        self._readers = threading.BoundedSemaphore(READERS)
        self._failed_at = float("-inf")
        self._exchanges: Counter[int] = Counter()

    def begin(self, redirect_uri: str, return_to: str) -> Response:
        """Send the browser to the provider.

        :param return_to: what :meth:`complete` is to return.
        :raises ProviderUnavailable: its metadata cannot be read.
        """
        with self._conversation():
            self._read_metadata()
            response: Response = self._authlib.begin(self._client, redirect_uri, return_to)
            return response

    def complete(self, at: datetime) -> tuple[dict[str, Any], str]:
        """The claims about the person in whose browser the provider's response arrived, and what was passed to
        :meth:`begin` in that browser.

        :raises FlowExpired, ResponseRefused, ProviderUnavailable, TooManyFailures: there are none.
        """
        error = request.args.get("error")
        if error is not None:
            # Anyone can send it, so it is repeated nowhere unless it looks like an error of OAuth.
            _log_refusal(error if _ERROR.fullmatch(error) else "unreadable error")
            raise ResponseRefused
        if not self._authlib.has_begun(self._client):
            raise FlowExpired
        with self._conversation():
            self._read_metadata()
        with self._exchange(at), self._conversation():
            completed: tuple[dict[str, Any], str] = self._authlib.complete(self._client, self.settings, at=at)
            return completed

    def end_session_endpoint(self) -> str | None:
        """Where people sign out at the provider; ``None`` if it offers that to nobody, or cannot be reached."""
        with contextlib.suppress(SignInRefused), self._conversation():
            self._read_metadata()
            found: str | None = self._authlib.end_session_endpoint(self._client)
            return found
        return None

    def _read_metadata(self) -> None:
        """Read the provider's metadata, unless it is known. Few threads wait for it, and one reads.

        :raises ProviderUnavailable: somebody waits already, the wait takes too long, or it could not be read just now.
        """
        if self._authlib.has_metadata(self._client):
            return
        if not self._readers.acquire(blocking=False):
            raise ProviderUnavailable
        try:
            if not self._lock.acquire(timeout=WAIT):
                raise ProviderUnavailable
            try:
                if time.monotonic() - self._failed_at < PAUSE:
                    raise ProviderUnavailable
                self._authlib.read_metadata(self._client)
            except Exception as error:
                if self._authlib.is_unavailable(error):
                    self._failed_at = time.monotonic()
                raise
            finally:
                self._lock.release()
        finally:
            self._readers.release()

    @contextlib.contextmanager
    def _exchange(self, at: datetime) -> Iterator[None]:
        """A block that exchanges a code, with its place among the threads that do. If it fails, that is counted for
        the address.

        :raises TooManyFailures: too many have failed.
        :raises ProviderUnavailable: there is no place.
        """
        s = services()
        cell = throttle.cell_of(s.settings.secret_key or b"", "response of a provider", request.remote_addr)
        if throttle.is_throttled(s.database, cell, at):
            raise TooManyFailures
        with self._lock:
            if self._exchanges.total() >= EXCHANGES or self._exchanges[cell] >= EXCHANGES_OF_ONE:
                raise ProviderUnavailable
            self._exchanges[cell] += 1
        try:
            yield
        except SignInRefused:
            throttle.admits(s.database, cell, at)
            raise
        finally:
            with self._lock:
                self._exchanges -= Counter((cell,))

    @contextlib.contextmanager
    def _conversation(self) -> Iterator[None]:
        """A block that talks with the provider, and whose failures become pages."""
        with self._authlib.conversation():
            try:
                yield
            except SignInRefused:
                raise
            except self._authlib.MismatchingStateError:
                raise FlowExpired from None
            except Exception as error:  # Whatever the provider sends must not look like a fault of ours.
                reason = self._authlib.reason(error)
                if not self._authlib.is_unavailable(error):
                    _log_refusal(reason)
                    raise ResponseRefused from None
                fields = {"issuer": self.settings.issuer, "reason": reason}
                logger.error("OpenID Connect provider unreachable", extra={"fields": fields})
                raise ProviderUnavailable from None


def _log_refusal(reason: str) -> None:
    fields = {"reason": reason, "address": request.remote_addr, "request_id": g.request_id}
    logger.warning("sign-in of a person refused", extra={"fields": fields})


def provider_of(app: Flask) -> Provider | None:
    """The provider at which people sign in, if there is one."""
    return app.extensions.get(EXTENSION)
