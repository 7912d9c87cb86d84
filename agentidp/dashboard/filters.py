"""How the templates write numbers, times and names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time

from flask import Flask
from markupsafe import Markup, escape

from agentidp.dashboard import charts
from agentidp.findings.finding import Finding


def init_app(app: Flask) -> None:
    """Make the functions of this module available to the templates."""
    for function in (number, coordinate, utc, percent_of, window, named):
        app.jinja_env.filters[function.__name__] = function


def number(value: float) -> str:
    """``1234567`` -> ``1,234,567``."""
    return f"{value:,}"


def coordinate(value: float) -> str:
    """``12.0`` -> ``12``."""
    return f"{value:g}"


def utc(at: datetime) -> datetime:
    """An instant in UTC, whatever the time zone of the database session."""
    return at.astimezone(UTC)


def percent_of(part: int, whole: int) -> float:
    """A percentage with one decimal place."""
    return round(100 * part / whole, 1) if whole else 0.0


def window(finding: Finding, at: datetime) -> str:
    """The time that a finding is about; it is ongoing if the window ends at *at*."""
    begins, ends = finding.begins.astimezone(UTC), finding.ends.astimezone(UTC)
    midnight = time()
    if ends == at:
        return f"since {begins:%a %-d %b}" if begins.time() == midnight else f"since {begins:%a %-d %b, %H:%M} UTC"
    if begins.time() == ends.time() == midnight:
        last = charts.last_day(ends)
        return f"{begins:%a %-d %b}" if last == begins.date() else f"{begins:%a %-d %b} to {last:%a %-d %b}"
    end = f"{ends:%H:%M}" if begins.date() == charts.last_day(ends) else f"{ends:%a %-d %b, %H:%M}"
    return f"{begins:%a %-d %b, %H:%M} to {end} UTC"


def named(sentence: str, name: str | None, address: str | None = None) -> Markup:
    """A sentence in which an agent's name is isolated, so that its writing direction does not affect the rest.

    :param name: as it is written in the sentence, if the sentence contains it.
    :param address: makes the name a link.
    """
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sentence) if name else None
    if found is None or name is None:
        return escape(sentence)
    isolated = Markup("<bdi>{}</bdi>").format(name)
    if address:
        isolated = Markup('<a href="{}">{}</a>').format(address, isolated)
    return escape(sentence[: found.start()]) + isolated + escape(sentence[found.end() :])
