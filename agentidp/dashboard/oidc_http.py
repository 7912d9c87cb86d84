"""HTTP requests to the OpenID Connect provider: bounded in time and size, and without redirects."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Timeout

TIMEOUT = 5.0
"""Seconds for a conversation with the provider, with all its requests. If the provider falls silent within a response,
the last wait may take as long again."""

MAX_BODY = 256 * 1024
"""Bytes of a response. The keys of a large provider take about 10 KB."""

_until: ContextVar[float] = ContextVar("until")


@contextmanager
def conversation() -> Iterator[None]:
    """A block whose requests to the provider take :data:`TIMEOUT` together. There are none outside of one."""
    token = _until.set(time.monotonic() + TIMEOUT)
    try:
        yield
    finally:
        _until.reset(token)


class BoundedAdapter(HTTPAdapter):
    """Reads the whole response within the bounds."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request.

        :raises requests.RequestException: there is no response within the bounds.
        """
        timeout = Timeout(total=max(_until.get() - time.monotonic(), 0.001))
        response = super().send(request, *args, **kwargs | {"stream": True, "timeout": timeout})
        body = bytearray()
        try:
            while chunk := response.raw.read1(65_536, decode_content=True):
                body += chunk
                if len(body) > MAX_BODY:
                    raise requests.ConnectionError("the response is too large")
                if time.monotonic() > _until.get():
                    raise requests.Timeout("the response takes too long")
        except (OSError, ValueError) as error:
            raise requests.ConnectionError(type(error).__name__) from None
        finally:
            response.close()
        response.raw = io.BytesIO(body)
        return response


def bound(session: requests.Session) -> None:
    """Let a session send nothing but bounded requests, and follow no redirect."""
    session.max_redirects = 0
    for scheme in ("https://", "http://"):
        session.mount(scheme, BoundedAdapter())
