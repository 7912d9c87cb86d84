"""The pages at ``/dashboard``.

They show what the analytics query functions return, and ask the database nothing else but who is looking.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any
from uuid import UUID

import flask
from flask import Flask, Response, g, redirect, request
from markupsafe import Markup, escape

from agentidp.analytics.activity_heatmap import requests_by_hour_of_week
from agentidp.analytics.agent_activity import activity_by_day
from agentidp.analytics.agent_overview import agents_of_the_month
from agentidp.analytics.rejection_trend import rejections_by_day
from agentidp.analytics.token_trend import tokens_by_day
from agentidp.caller import public, read_together
from agentidp.dashboard import charts, link, session
from agentidp.findings import FindingsArguments, budget, callers_findings
from agentidp.findings.finding import Finding, Look
from agentidp.http.errors import (
    ApiError,
    NotFound,
    RateLimited,
    ServiceUnavailable,
    ValidationError,
    log_unexpected,
    render_pages,
)
from agentidp.services import services

RANGES = (7, 30, 90)
"""Days that the main page can show."""

DEFAULT_RANGE = 30
PAGE_SIZE = 50
"""Agents in a table."""

SHARE_LIMIT = 80
"""Percent of the month's tokens above which an agent's share is flagged."""

MOST_FINDINGS = 50
"""That a page names: the most urgent."""

FEW_TOKENS = 10
"""So few, with no agent but the viewer, are those of signing in: nothing to draw yet."""

MAXIMUM_PAGE = 100_000

FIGURES = "<!--figures-->"
"""Where a page goes on with what takes its time; no name can say that, for "<" is escaped."""

STATIC = Path(__file__).resolve().parent / "static"
ASSETS = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""What the pages need. Nothing else is served."""

VERSIONS = {name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12] for name in ASSETS}
"""In the address of each, so that a browser may keep it for good."""

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not no-referrer: with that, browsers send "Origin: null" with a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every page and asset."""

TITLES = {
    400: "That cannot be read",
    401: "Sign in",
    403: "Not allowed",
    404: "Nothing here",
    405: "Not this way",
    413: "Too large",
    429: "Too many attempts",
    500: "Something went wrong",
    503: "Not available now",
}

blueprint = flask.Blueprint("dashboard", __name__, template_folder="templates")


def init_app(app: Flask) -> None:
    """Mount the dashboard at ``/dashboard``, errors included."""
    app.register_blueprint(blueprint)
    # Lines of the templates that hold nothing but a statement leave nothing behind.
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    render_pages(app, "/dashboard", error_page)


@blueprint.before_request
def guard() -> None:
    """Refuse what a page of another site sends."""
    session.refuse_cross_origin(request)


@blueprint.after_request
def secure(response: Response) -> Response:
    """Add what keeps a page safe, also where Flask answers without a view, as it does to OPTIONS."""
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    return response


@blueprint.get("/dashboard", strict_slashes=False)
@session.required
def overview() -> Response:
    """The organization's figures on one page, findings first."""
    days = _range()
    trend = tokens_by_day(max(RANGES))
    agents = agents_of_the_month(PAGE_SIZE)
    issued = sum(day["count"] for day in trend)
    if issued == 0 or (agents.agents <= 1 and issued <= FEW_TOKENS):
        return page("first_steps.html", here="overview")
    rejections = rejections_by_day(days)
    week = charts.heatmap(requests_by_hour_of_week(max(RANGES)))
    month = budget.status(read_together, g.at)

    def figures() -> dict[str, Any]:
        found = _findings(days)
        marked = charts.days_with_findings(found or [])
        return {
            "found": found,
            "most_findings": MOST_FINDINGS,
            "tokens": charts.bars(trend[-days:], marked),
            "rejections": charts.bars(rejections, marked),
            "week": week,
            "agents": agents,
            "budget": month,
        }

    return page("overview.html", figures=figures, here="overview", days=days)


@blueprint.get("/dashboard/agents")
@session.required
def agents() -> Response:
    """All agents, fifty on a page."""
    number = request.args.get("page", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number) or int(number) > MAXIMUM_PAGE:
        raise ValidationError(f"The page must be a whole number from 1 to {MAXIMUM_PAGE}.")
    shown = agents_of_the_month(PAGE_SIZE, PAGE_SIZE * (int(number) - 1))
    if not shown.data and number != "1":
        raise NotFound
    return page(
        "agents.html", here="agents", agents=shown, number=int(number), pages=max(1, -(-shown.agents // PAGE_SIZE))
    )


@blueprint.get("/dashboard/agents/<uuid:agent_id>")
@session.required
def agent(agent_id: UUID) -> Response:
    """One agent: its days, and the findings about it."""
    days = _range()
    activity = activity_by_day(agent_id, days)

    def figures() -> dict[str, Any]:
        found = _findings(days)
        if found is not None:
            found = [
                finding
                for finding in found
                if agent_id == finding.agent_id or any(agent_id == one.agent_id for one in finding.agents)
            ]
        marked = charts.days_with_findings(found or [])
        return {
            "found": found,
            "activity": activity,
            "tokens": charts.bars([{"date": day.date, "count": day.tokens} for day in activity], marked),
            "rejections": charts.bars([{"date": day.date, "count": day.rejected} for day in activity], marked),
        }

    return page(
        "agent.html",
        figures=figures,
        agent_id=agent_id,
        name=activity[0].agent_name,
        agent_status=activity[0].status,
        last_token=activity[0].last_token_hour,
        days=days,
        tokens=sum(day.tokens for day in activity),
        requests=sum(day.requests for day in activity),
        rejected=sum(day.rejected for day in activity),
    )


@blueprint.get("/dashboard/sign-in")
@public
def sign_in_form() -> Response:
    """The form; or with a token in the query, signing in at once."""
    # A program that asks with HEAD whether the address is there must not consume the link.
    if "token" not in request.args or request.method == "HEAD":
        return page("sign_in.html", message=session.SessionEnded.message if "ended" in request.args else None)
    return _signed_in(*link.follow(request, g.at))


@blueprint.post("/dashboard/sign-in")
@public
def sign_in() -> Response:
    """Sign in with a credential, or with an access token."""
    return _signed_in(*session.sign_in(request, g.at))


@blueprint.post("/dashboard/sign-out")
@session.required
def sign_out() -> Response:
    """Sign out, also on other devices that have the same session."""
    session.sign_out()
    response = _redirect("/sign-in")
    session.delete_cookie(response)
    # With no-store, nothing that was shown comes back by the button.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


@blueprint.get("/dashboard/static/<asset>")
@public
def asset(asset: str) -> Response:
    """What the pages are made of."""
    if asset not in ASSETS:
        raise NotFound
    response = Response((STATIC / asset).read_bytes(), mimetype=ASSETS[asset])
    current = request.args.get("v") == VERSIONS[asset]
    response.headers["Cache-Control"] = f"public, max-age={31_536_000 if current else 60}" + ", immutable" * current
    return response


def error_page(error: ApiError) -> Response:
    """An error for a person; where signing in helps, on the sign-in page."""
    context: dict[str, Any] = {"message": error.message, "title": TITLES.get(error.status, TITLES[500])}
    signing_in = isinstance(error, session.NotSignedIn | session.SignInRefused)
    response = page("sign_in.html" if signing_in else "error.html", status=error.status, **context)
    response.headers.update(error.headers)
    # Only what was sent and refused: SameSite keeps a good one back where another site's link led here.
    if isinstance(error, session.SessionEnded):
        session.delete_cookie(response)
    return response


def page(
    template: str, status: int = 200, *, figures: Callable[[], dict[str, Any]] | None = None, **context: Any
) -> Response:
    """A page, which no cache keeps.

    :param figures: works out what takes its time, as further context for the template whose name ends with
        ``_figures``; what stands before that on the page is sent beforehand, so that a browser draws it meanwhile.
        Nothing but a fault of ours may go wrong in it, for the status has been sent by then.
    """
    settings = services().settings
    context |= {
        "base": session.base_path(settings),
        "issuer": settings.issuer,
        "viewer": g.get("viewer"),
        "caller": g.get("caller"),
        "at": g.at.astimezone(UTC),
        "versions": VERSIONS,
        "ranges": RANGES,
        "share_limit": SHARE_LIMIT,
        "page_size": PAGE_SIZE,
    }
    text = flask.render_template(template, **context)
    response = Response(text, status, SECURITY, mimetype="text/html")
    if figures is not None:
        name, _, ending = template.rpartition(".")
        rest = flask.stream_with_context(_rendered(f"{name}_figures.{ending}", context, figures))
        response.response = _parts(text, rest)
        del response.headers["Content-Length"]
    response.headers["Cache-Control"] = "no-store"
    if "token" in request.args:
        # The address holds a secret.
        response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _rendered(template: str, context: dict[str, Any], figures: Callable[[], dict[str, Any]]) -> Iterator[str]:
    try:
        yield flask.render_template(template, **context | figures())
    except Exception as error:
        log_unexpected(error)
        raise


def _parts(text: str, rest: Iterator[str]) -> Iterator[str]:
    before, _, after = text.partition(FIGURES)
    yield before
    try:
        # As a whole, so that the request's context, in which it is made, is never left open for somebody to close.
        middle = "".join(rest)
    except Exception:
        yield Markup('<p class="notice" role="alert">{}</p>').format(ApiError.message)
        # gunicorn ends the connection in the midst of the page, by which our script knows that it is none.
        raise
    yield middle + after


@blueprint.app_template_filter("number")
def number(value: float) -> str:
    """``1234567`` -> ``1,234,567``."""
    return f"{value:,}"


@blueprint.app_template_filter("compact")
def compact(value: float) -> str:
    """A coordinate: ``12.0`` -> ``12``."""
    return f"{value:g}"


@blueprint.app_template_filter("utc")
def utc(at: datetime) -> datetime:
    """An instant in UTC, whatever the session's time zone gave it."""
    return at.astimezone(UTC)


@blueprint.app_template_filter("percent_of")
def percent_of(part: int, whole: int) -> float:
    """Percent, with one digit behind the point."""
    return round(100 * part / whole, 1) if whole else 0.0


@blueprint.app_template_filter("window")
def window(finding: Finding, at: datetime) -> str:
    """The time that a finding is about, for people; up to *at* it goes on."""
    begins, ends = finding.begins.astimezone(UTC), finding.ends.astimezone(UTC)
    midnight = time()
    if ends == at:
        return f"since {begins:%a %-d %b}" if begins.time() == midnight else f"since {begins:%a %-d %b, %H:%M} UTC"
    if begins.time() == ends.time() == midnight:
        last = charts.last_day(ends)
        return f"{begins:%a %-d %b}" if last == begins.date() else f"{begins:%a %-d %b} to {last:%a %-d %b}"
    end = f"{ends:%H:%M}" if begins.date() == charts.last_day(ends) else f"{ends:%a %-d %b, %H:%M}"
    return f"{begins:%a %-d %b, %H:%M} to {end} UTC"


@blueprint.app_template_filter("named")
def named(sentence: str, name: str | None, address: str | None = None) -> Markup:
    """A sentence in which an agent's name cannot change the direction of the rest, and is a link.

    :param name: as it stands in the sentence, if it does.
    :param address: of the link, if any.
    """
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sentence) if name else None
    if found is None or name is None:
        return escape(sentence)
    isolated = Markup("<bdi>{}</bdi>").format(name)
    if address:
        isolated = Markup('<a href="{}">{}</a>').format(address, isolated)
    return escape(sentence[: found.start()]) + isolated + escape(sentence[found.end() :])


def _range() -> int:
    days = request.args.get("days", str(DEFAULT_RANGE))
    if days not in map(str, RANGES):
        raise ValidationError("The page shows 7, 30 or 90 days.")
    return int(days)


def _findings(days: int) -> list[Finding] | None:
    """As at the API, with its defaults. ``None`` if a statement is too slow, or too many requests for findings are
    running: the rest is worth a page without.
    """
    arguments = FindingsArguments().load({"days": str(days)})
    look = Look(at=g.at, token_ttl=services().settings.token_ttl, **arguments)
    try:
        return callers_findings(look)
    except (RateLimited, ServiceUnavailable):
        return None


def _signed_in(unverified_token: str, token: Any) -> Response:
    response = _redirect("")
    session.set_cookie(response, unverified_token, token)
    return response


def _redirect(path: str) -> Response:
    response = redirect(session.base_path(services().settings) + path, 303)
    assert isinstance(response, Response)  # noqa: S101 - Flask's own class, as its annotation does not say
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
