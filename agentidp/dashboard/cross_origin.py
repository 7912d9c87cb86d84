"""Protection against cross-site request forgery, by the rule of ``CrossOriginProtection`` in Go's ``net/http`` 1.25."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request

from agentidp.http.errors import ApiError
from agentidp.services import services

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class CrossOrigin(ApiError):
    """403: a page of another site has sent the request."""

    status, code = 403, "FORBIDDEN"
    message = "This request did not come from a page of the dashboard, so nothing was done."


def refuse_cross_origin(request: Request) -> None:
    """Raise :exc:`CrossOrigin` for a request that a page of another site has sent, unless its method is safe.

    Browsers send ``Sec-Fetch-Site`` to https origins and to localhost; browsers from before 2023 send ``Origin``
    instead. A client that sends neither header is not a browser, so no other site can misuse its cookie.
    """
    if request.method in SAFE_METHODS:
        return
    fetch_site, origin = request.environ.get("HTTP_SEC_FETCH_SITE", ""), request.environ.get("HTTP_ORIGIN", "")
    if fetch_site in ("same-origin", "none") or (not fetch_site and not origin):
        return
    # The host of the issuer is accepted too, because a proxy may have changed the Host header.
    own_hosts = (request.environ.get("HTTP_HOST", ""), urlsplit(services().settings.issuer).netloc)
    if fetch_site or "://" not in origin or origin.partition("://")[2] not in own_hosts:
        raise CrossOrigin
