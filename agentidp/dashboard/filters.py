"""Filters with which the templates write numbers, times and names."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from flask import Flask
from markupsafe import Markup, escape

from agentidp.alerts.state_change import kind_label
from agentidp.dashboard import charts
from agentidp.dashboard.page_findings import build_finding_rows
from agentidp.findings.actions import MAX_MUTE, MAX_NOTE
from agentidp.findings.contributors import is_about_organization
from agentidp.findings.finding import Finding, StoredFinding
from agentidp.findings.incidents import Incident, group_into_incidents
from agentidp.http.text import format_count

MUTE_DAYS = 7
"""Default number of days for which a form mutes a finding."""

MAX_SHOWN_LETTERS = 30
"""Number of a name's letters that fit into the narrowest column of a list."""

LOOKS = str.maketrans("i1|0", "lllo")
"""Table for ``str.translate``: replaces case-folded characters that look alike in many fonts by one of them."""

_DATE = re.compile(
    r"(?<![\w-])(?:(?:Sun|Mon|Tues|Wednes|Thurs|Fri|Satur)day,? )?"
    r"(?:(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2})|(?P<long>[0-9]{1,2} [A-Z][a-z]{2,8} [0-9]{4}))(?![\w-])"
)


def init_app(app: Flask) -> None:
    """Make the functions of this module, and the maximum length of a note, available to templates."""
    filter_functions = (
        *(number, format_count, coordinate, isolate, utc, percentage, share, find_look_alikes, break_lines, with_code),
        *(day_label, days_later, bar_label, time_label, hour_label, kind_label, mute_days),
        *(group_into_incidents, build_finding_rows, count_incidents, describe_begin_or_end, format_time_range),
        *(build_next_link, build_finding_html, format_dates),
    )
    app.jinja_env.filters |= {filter_function.__name__: filter_function for filter_function in filter_functions}
    app.jinja_env.globals["max_note"] = MAX_NOTE


def number(value: float) -> str:
    """Return a number with separators, such as ``1,234,567``."""
    return f"{value:,}"


def coordinate(value: float) -> str:
    """Return a coordinate without trailing zeros: ``12`` instead of ``12.0``."""
    return f"{value:g}"


def break_lines(url_or_subject: str) -> Markup:
    """Return a URL or a subject as HTML, in which lines may break after ``/``, ``:`` and ``.``."""
    breakable_parts = re.findall("(?:^[a-z]+://)?[^/:.]*[/:.]*", url_or_subject)
    return Markup("").join(Markup('<span class="part">{}</span>').format(part) for part in breakable_parts if part)


def with_code(sentence: str) -> Markup:
    """Return a sentence as HTML. Words between backticks become code."""
    pieces = enumerate(sentence.split("`"))
    code_template = Markup("<code>{}</code>")
    return Markup("").join(code_template.format(piece) if index % 2 else escape(piece) for index, piece in pieces)


def isolate(text: str) -> str:
    """Return a text for a place without markup, isolated so that its writing direction does not affect other text."""
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"


def utc(at: datetime) -> datetime:
    """Return an instant in UTC, because the database session may have another time zone."""
    return at.astimezone(UTC)


def percentage(count: int, total: int) -> float:
    """Return a percentage rounded to one decimal place, or 0 if *total* is 0."""
    return round(100 * count / total, 1) if total else 0.0


def share(count: int, total: int) -> str:
    """Return a percentage as text for readers, such as ``12.3 %``. A count above zero is never ``0.0 %``."""
    value = percentage(count, total)
    return f"{'<0.1' if count and value < 0.1 else value}\N{NO-BREAK SPACE}%"


def find_look_alikes(agents: Iterable[Any]) -> set[UUID]:
    """Return the ids of the agents whose name, as a list shows it, looks like the name of another agent in the list."""
    ids_by_look: defaultdict[str, list[UUID]] = defaultdict(list)
    for agent in agents:
        letters = (char for char in unicodedata.normalize("NFKC", agent.name) if unicodedata.category(char) != "Cf")
        ids_by_look["".join(letters)[:MAX_SHOWN_LETTERS].casefold().translate(LOOKS)].append(agent.agent_id)
    return {agent_id for agent_ids in ids_by_look.values() if len(agent_ids) > 1 for agent_id in agent_ids}


def day_label(day: date, at: datetime) -> str:
    """Return a date in the format of the pages, ``Wed 15 Apr``. The year is added if it is not the year of *at*."""
    return f"{day:%a %-d %b}" if day.year == at.year else f"{day:%a %-d %b %Y}"


def days_later(day: date, days: int) -> date:
    """Return the date that is a number of days after a date."""
    return day + timedelta(days=days)


def bar_label(when: date, at: datetime) -> str:
    """Return the text for the day or hour of a bar: ``Wed 15 Apr`` or ``12:00``."""
    return f"{when:%H:%M}" if isinstance(when, datetime) else day_label(when, at)


def time_label(instant: datetime, at: datetime) -> str:
    """Return an instant in the format of the pages, in UTC: ``Wed 15 Apr, 12:00``."""
    instant = instant.astimezone(UTC)
    return f"{day_label(instant, at)}, {instant:%H:%M}"


def hour_label(hour: datetime, at: datetime) -> str:
    """Return an hour in the format of the pages, in UTC: ``Wed 15 Apr, 12:00-13:00``."""
    return f"{time_label(hour, at)}-{hour.astimezone(UTC) + timedelta(hours=1):%H:%M}"


def count_incidents(incidents: list[Incident], at: datetime) -> str:
    """Return the numbers of incidents in words: ongoing, ended and, unless zero, acknowledged and new in 24 hours."""
    findings = [incident.head for incident in incidents]
    ongoing_findings = [finding for finding in findings if finding.is_ongoing]
    acknowledged_count = sum(finding.acknowledged_at is not None for finding in ongoing_findings)
    new_count = sum(finding.begins > at - timedelta(days=1) for finding in findings)
    count_phrases = [f"{len(ongoing_findings)} ongoing", f"{len(incidents) - len(ongoing_findings)} ended"]
    count_phrases += [f"{acknowledged_count} acknowledged"] if acknowledged_count else []
    count_phrases += [f"{new_count} new in 24 hours"] if new_count else []
    return ", ".join(count_phrases)


def describe_begin_or_end(finding: StoredFinding, at: datetime) -> str:
    """Return in a few words since when a finding is ongoing, or on which day it ended, for a row of a list."""
    if finding.ended_at is not None:
        return f"ended {day_label(charts.last_day(finding.ended_at.astimezone(UTC)), at)}"
    begin_instant, since_words = finding.since or finding.begins, "since"
    if finding.kind == "budget" and begin_instant == finding.begins:
        # A budget's finding begins with the month, so readers need the time at which the forecast exceeded the budget.
        begin_instant, since_words = finding.first_seen_at, "reported since"
    begin_instant = begin_instant.astimezone(UTC)
    shows_day_only = begin_instant.time() == time() or at - begin_instant > timedelta(days=2)
    return f"{since_words} {day_label(begin_instant, at) if shows_day_only else time_label(begin_instant, at)}"


class Link(NamedTuple):
    """A link to a page. *path* is below the dashboard's path."""

    path: str
    text: str


def build_next_link(finding: Finding) -> Link:
    """Return a link to the page that a reader of a finding should see next."""
    agent_path = f"/agents/{finding.agent_id}" if finding.agent_id else ""
    first_day = finding.begins.astimezone(UTC).date()
    if is_about_organization(finding) and finding.kind != "spike" and finding.agents:
        return Link(f"/agents/{finding.agents[0].agent_id}", f"Page of {finding.agents[0].agent_name}")
    if finding.kind == "uncached_tokens" and not agent_path:
        return Link("/agents?unusual=1", "Agents with findings")
    if finding.kind == "budget":
        return Link(f"/agents?month={first_day:%Y-%m}", f"Agents of {first_day:%B}")
    if finding.credential_id:
        return Link(f"{agent_path}#credentials", f"Credentials of {finding.agent_name}")
    if finding.kind == "quota" and not agent_path:
        return Link("/quotas", "Quotas")
    if finding.kind in ("spike", "weekend") or not agent_path:
        return Link(f"{agent_path}/days/{first_day}", f"Hours of {first_day:%A}, {first_day.day} {first_day:%B}")
    return Link(agent_path, f"Page of {finding.agent_name}")


def format_time_range(finding: StoredFinding, at: datetime) -> Markup:
    """Return, as HTML, the time that a finding is about: without an end if it was ongoing at the last evaluation."""
    begins, ends = finding.begins.astimezone(UTC), finding.ends.astimezone(UTC)
    begin_html = _to_html(begins, f"{time_label(begins, at)} UTC")
    if finding.is_ongoing and finding.last_seen_at <= ends <= at:
        return Markup("since ") + begin_html
    end_day = charts.last_day(ends)
    if begins.time() == ends.time() == time():
        begin_html = _to_html(begins, day_label(begins, at))
        return (
            begin_html if end_day == begins.date() else begin_html + " to " + _to_html(end_day, day_label(end_day, at))
        )
    end_label = f"{ends:%H:%M}" if begins.date() == end_day else time_label(ends, at)
    return begin_html + " to " + _to_html(ends, f"{end_label} UTC")


def _to_html(when: date, label: str) -> Markup:
    """Return a day or an instant as HTML. The page's script adds the reader's local time to an instant."""
    is_instant = isinstance(when, datetime) and label.endswith("UTC")
    time_value = f"{when:%Y-%m-%dT%H:%MZ}" if is_instant else f"{when:%Y-%m-%d}"
    return Markup('<time datetime="{}">{}</time>').format(time_value, label)


def format_dates(sentence: str, at: datetime) -> str:
    """Return a sentence of a finding with the pages' format of dates, and no line break before a percent sign."""

    def label(match: re.Match[str]) -> str:
        try:
            if match["iso"]:
                return day_label(date.fromisoformat(match["iso"]), at)
            return day_label(datetime.strptime(match["long"], "%d %B %Y").date(), at)
        except ValueError:
            return match[0]

    return _DATE.sub(label, sentence).replace(" %", "\N{NO-BREAK SPACE}%")


def build_finding_html(sentence: str, finding: Finding, at: datetime, base: str | None = None) -> Markup:
    """Return a sentence of a finding as HTML, with dates in the pages' format. Each agent's name is isolated where it
    first occurs, so that its writing direction does not affect the sentence.

    :param base: the path below which each name becomes a link to the agent's page; ``None`` for no links.
    """
    ids_by_name = {contributor.agent_name: contributor.agent_id for contributor in finding.agents}
    if finding.agent_id and finding.agent_name:
        ids_by_name[finding.agent_name] = finding.agent_id
    if not ids_by_name:
        return escape(format_dates(sentence, at))
    names_pattern = "|".join(re.escape(agent_name) for agent_name in sorted(ids_by_name, key=len, reverse=True))
    html = Markup()
    # A pattern with a group makes split() return the names too, as every second piece.
    for part_index, sentence_part in enumerate(re.split(rf"(?<!\w)({names_pattern})(?!\w)", sentence)):
        agent_id = ids_by_name.pop(sentence_part, None) if part_index % 2 else None
        if agent_id is None:
            html += format_dates(sentence_part, at)
            continue
        isolated_name = Markup("<bdi>{}</bdi>").format(sentence_part)
        html += Markup('<a href="{}/agents/{}">{}</a>').format(base, agent_id, isolated_name) if base else isolated_name
    return html


def mute_days(at: datetime) -> tuple[date, date, date]:
    """Return the first, the proposed and the last day until which a finding can be muted."""
    today = at.date()
    return today + timedelta(days=1), today + timedelta(days=MUTE_DAYS), today + MAX_MUTE
