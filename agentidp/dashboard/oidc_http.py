"""HTTP requests to the OpenID Connect provider: our client in the place of the one that Authlib's session has."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
from authlib.common.encoding import to_bytes, to_unicode
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers, select_proxy

from agentidp.outbound import client
from agentidp.outbound.networks import OF_THE_OPERATOR

TIMEOUT = 5.0
"""Seconds for a conversation with the provider, with all its requests. Resolving names comes on top."""

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


class _Adapter(BaseAdapter):
    """Sends the requests of a session."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send a request. *verify* and *proxies* are those of the environment: ``REQUESTS_CA_BUNDLE`` and
        ``HTTPS_PROXY``.

        :raises requests.RequestException: there is no response within the bounds.
        """
        # A form, or nothing.
        body = None if request.body is None else to_bytes(request.body)
        try:
            received = client.request(
                request.method or "GET",
                urlsplit(request.url or ""),
                networks=OF_THE_OPERATOR,
                timeout=max(_until.get() - time.monotonic(), 0.001),
                max_body=MAX_BODY,
                headers={name: to_unicode(value) for name, value in request.headers.items()},
                body=body,
                proxy=select_proxy(request.url or "", proxies),
                certificates=verify if isinstance(verify, str) else certifi.where(),
            )
        except client.RequestFailed as failed:
            raise requests.ConnectionError(str(failed), request=request) from None
        if time.monotonic() > _until.get():
            raise requests.Timeout("the responses take too long together", request=request)
        response = requests.Response()
        response.status_code, response.reason = received.status, received.reason
        response.headers = CaseInsensitiveDict(received.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response.url, response.request, response.raw = request.url or "", request, io.BytesIO(received.body)
        return response

    def close(self) -> None:
        """Nothing stays open."""


def bound(session: requests.Session) -> None:
    """Let a session send nothing but bounded requests, and follow no redirect."""
    session.max_redirects = 0
    # The responses are read as they come.
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter())
