"""Protection against cross-site request forgery that needs no state and no token in forms.

The rule is that of ``CrossOriginProtection`` in Go's ``net/http`` (1.25).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request

from agentidp.http.errors import ApiError
from agentidp.services import services

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class CrossOrigin(ApiError):
    """403: the request comes from another site's page."""

    status, code = 403, "FORBIDDEN"
    message = "This request did not come from a page of the dashboard, so nothing was done."


def refuse_cross_origin(request: Request) -> None:
    """Refuse a request that changes something and comes from another site's page, signing in included.

    Browsers send ``Sec-Fetch-Site`` to https and localhost. Browsers from before 2023 do not, but send ``Origin``. A
    client that sends neither is no browser and has no cookie that could be misused.

    :raises CrossOrigin: 403.
    """
    if request.method in SAFE_METHODS:
        return
    site, origin = request.environ.get("HTTP_SEC_FETCH_SITE", ""), request.environ.get("HTTP_ORIGIN", "")
    if site in ("same-origin", "none") or (not site and not origin):
        return
    # A proxy may have changed Host; the page's origin is then still the issuer's.
    own = (request.environ.get("HTTP_HOST", ""), urlsplit(services().settings.issuer).netloc)
    if site or "://" not in origin or origin.partition("://")[2] not in own:
        raise CrossOrigin
