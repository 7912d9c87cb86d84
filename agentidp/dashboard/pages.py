"""Rendering of the dashboard's pages, and the headers of its responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import flask
from flask import Blueprint, Response, g, redirect, request

from agentidp.caller import Caller, public
from agentidp.dashboard import link, period, return_page, session
from agentidp.dashboard.cross_origin import refuse_cross_origin
from agentidp.dashboard.navigation import build_navigation, find_place
from agentidp.dashboard.period import PERIODS, build_period_query, list_recent_months
from agentidp.http.assets import Asset, Assets
from agentidp.http.error_rendering import log_unexpected
from agentidp.http.errors import ApiError
from agentidp.http.schemas import MAX_DAYS, MAX_NAME
from agentidp.openid.claims import SignInRefused
from agentidp.services import services

SLOW_PART = "<!--slow part-->"
"""Marks the place of the part of a page that is sent last. No name can contain the mark, because "<" is escaped."""

STATIC = Path(__file__).resolve().parent / "static"
ASSETS = Assets(
    {
        "dashboard.css": Asset(STATIC / "dashboard.css", "text/css"),
        "dashboard.js": Asset(STATIC / "dashboard.js", "text/javascript"),
        "icon.svg": Asset(STATIC / "icon.svg", "image/svg+xml"),
    },
    max_age=60,
)

CONTENT_POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "script-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
"""The directives of the ``Content-Security-Policy`` of all pages, except the consent page."""


def build_content_policy(directives: dict[str, str]) -> str:
    """Return the header ``Content-Security-Policy`` with these directives."""
    return "; ".join(f"{name} {value}" for name, value in directives.items())


SECURITY = {
    "Content-Security-Policy": build_content_policy(CONTENT_POLICY),
    # With no-referrer, browsers would send forms with "Origin: null", which we refuse as cross-origin.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",  # for browsers without frame-ancestors (RFC 9700 section 4.16)
}
"""Headers of all pages and assets."""

TITLES = {
    400: "Bad request",
    401: "Sign in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Not possible now",
    413: "Request too large",
    429: "Too many requests",
    500: "Internal error",
    503: "Temporarily unavailable",
}


blueprint = Blueprint("dashboard", __name__, template_folder="templates")
"""The blueprint of all pages."""


@blueprint.before_request
def refuse_other_sites() -> None:
    """Refuse a request that a page of another site sent."""
    refuse_cross_origin(request)


@blueprint.after_request
def add_security_headers(response: Response) -> Response:
    """Add :data:`SECURITY` to a response. A view cannot do so, because Flask responds to OPTIONS without a view."""
    for header_name, header_value in SECURITY.items():
        response.headers.setdefault(header_name, header_value)
    return response


@blueprint.get("/dashboard/static/<asset>")
@public
def asset(asset: str) -> Response:
    """Return a file that the pages need: the style sheet, the script or the icon."""
    return ASSETS.build_response(asset)


def page(
    template: str, status: int = 200, *, slow_part: Callable[[], dict[str, Any]] | None = None, **context: Any
) -> Response:
    """Return a page, which caches must not store.

    :param slow_part: returns more variables for the template ``<name>_slow_part.html`` of the page ``<name>.html``. It
        must not raise an expected error such as 404, because the status and the page up to :data:`SLOW_PART` have
        already been sent.
    """
    common_context = _build_common_context()
    context |= common_context | _load_macros(common_context)
    context.setdefault("is_error", status >= 400)
    html = flask.render_template(template, **context)
    response = Response(html, status, SECURITY, mimetype="text/html")
    if slow_part is not None:
        slow_template = template.replace(".html", "_slow_part.html")
        response.response = _stream_page(html, flask.stream_with_context(_render(slow_template, context, slow_part)))
        del response.headers["Content-Length"]
    response.headers["Cache-Control"] = "no-store"
    if "token" in request.args or "code" in request.args:
        # The Referer must not contain the URL and its secret. The value no-referrer would also hide the forms' origin.
        response.headers["Referrer-Policy"] = "strict-origin"
    return response


def render_error(error: ApiError) -> Response:
    """Return the page for an error. The sign-in page shows errors about signing in."""
    if error.status in (404, 405):
        # No view has read the session of an unknown path, but the page's navigation needs the session.
        session.resume_session_if_valid()
    context: dict[str, Any] = {"message": error.message, "title": TITLES.get(error.status, TITLES[500])}
    context |= {"here": find_place(request.path), "has_period": request.args.keys() & set(period.NAMES)}
    # NotSignedIn only asks the person to sign in, and is not shown as an error.
    context["is_error"] = type(error) is not session.NotSignedIn
    is_about_sign_in = isinstance(error, session.NotSignedIn | SignInRefused)
    if type(error) is session.NotSignedIn and _is_from_other_site():
        # The browser withholds the cookie if a link on another site led here (SameSite), and sends it at the reload.
        context["again"] = return_page.find_page(request)
    response = page("sign_in.html" if is_about_sign_in else "error.html", status=error.status, **context)
    response.headers.update(error.headers)
    # The cookie is deleted only if it was sent: otherwise the browser may have withheld a valid cookie (SameSite).
    if isinstance(error, session.SessionEnded):
        session.delete_cookie(response)
    return response


def _is_from_other_site() -> bool:
    return (
        request.method == "GET"
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
    )


def see_other(path: str) -> Response:
    """Redirect the browser to a page of the dashboard, by status 303."""
    response = redirect(session.base_path(services().settings) + path, 303)
    assert isinstance(response, Response)  # noqa: S101 - Flask's own class, although the annotation does not say so
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def change_and_redirect(
    caller: Caller, scope: str, path: str, change: Callable[..., object], *arguments: Any
) -> Response:
    """Call *change* in a transaction that checks the session again, and redirect to a page of the dashboard."""
    with session.begin_change(caller, scope) as transaction:
        change(transaction, *arguments)
    return see_other(path)


def _load_macros(context: dict[str, Any]) -> dict[str, Any]:
    """Return the modules of macros that all templates use, ``ui`` and ``forms``. The macros see *context*."""
    load_template = flask.current_app.jinja_env.get_template
    file_names = {"ui": "macros.html", "forms": "forms.html"}
    return {module_name: load_template(file_name).make_module(context) for module_name, file_name in file_names.items()}


def _build_common_context() -> dict[str, Any]:
    settings, viewer, requested_page = services().settings, g.get("viewer"), return_page.find_page(request)
    base_path = session.base_path(settings)
    return {
        "base": base_path,
        "own_address": base_path + request.path.removeprefix("/dashboard").removesuffix("/"),
        "issuer": settings.issuer,
        "company": settings.oidc and settings.oidc.label,
        "requested_page": requested_page,
        "return_query": f"?{urlencode({return_page.NAME: requested_page})}" if requested_page else "",
        "viewer": viewer,
        "sections": build_navigation(viewer) if viewer else [],
        "period_query": build_period_query(g.at),
        "at": g.at.astimezone(UTC),
        "max_days": MAX_DAYS,
        "max_name": MAX_NAME,
        "offered_days": PERIODS,
        "offered_months": list_recent_months(g.at.astimezone(UTC).date()),
        "session_hours": session.LIFETIME // 3600,
        "link_minutes": link.LIFETIME // 60,
        "version": ASSETS.version,
    }


def _render(slow_template: str, context: dict[str, Any], slow_part: Callable[[], dict[str, Any]]) -> Iterator[str]:
    try:
        yield flask.render_template(slow_template, **context | slow_part())
    except Exception as error:
        log_unexpected(error)
        raise


def _stream_page(html: str, slow_html: Iterator[str]) -> Iterator[str]:
    """Yield a page up to :data:`SLOW_PART`, and then the slow part and the end of the page."""
    html_before, _, html_after = html.partition(SLOW_PART)
    yield html_before
    try:
        # The slow part is rendered before it is sent, because the request's context must not wait for a slow client.
        rendered_html = "".join(slow_html)
    except Exception:
        yield '<p class="notice" role="alert">The rest of the page could not be loaded. Reload the page.</p>'
        # The error makes gunicorn close the connection early, so that the page's script recognizes the failure.
        raise
    yield rendered_html + html_after
