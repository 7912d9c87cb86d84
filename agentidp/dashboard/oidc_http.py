"""HTTP requests to the OpenID Connect provider: bounded in time and size, and without redirects."""

from __future__ import annotations

import io
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

TIMEOUT = 5.0
"""Seconds for a connection, for each wait for the provider, and for the whole body of a response."""

MAXIMUM_BODY = 256 * 1024
"""Bytes of a response. The keys of a large provider take about 10 KB."""


class BoundedAdapter(HTTPAdapter):
    """Reads the whole response within the bounds."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request.

        :raises requests.RequestException: there is no response within the bounds.
        """
        until = time.monotonic() + TIMEOUT
        response = super().send(request, *args, **kwargs | {"stream": True, "timeout": TIMEOUT})
        body = bytearray()
        try:
            while chunk := response.raw.read1(65_536, decode_content=True):
                body += chunk
                if len(body) > MAXIMUM_BODY:
                    raise requests.ConnectionError("the response is too large")
                if time.monotonic() > until:
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
