"""What the dashboard shows, and how it looks: the API's numbers, by mouse, dark and light, narrow, and on paper."""

from __future__ import annotations

import re
from datetime import date

import pytest
from playwright.sync_api import Locator, Page, expect

from agentidp.demo import RETRYING
from tests.browser.stage import Stage, overflow


def titles(chart: Locator) -> list[str]:
    """Return the texts that the bars of a chart show under the mouse."""
    return chart.locator("svg a:not(.flag) > title").evaluate_all("titles => titles.map(title => title.textContent)")


def as_day(text: str) -> str:
    """``2026-04-15`` -> ``Wed 15 Apr``."""
    return f"{date.fromisoformat(text):%a %-d %b}"


def count(text: str) -> int:
    """``1,234`` -> 1234."""
    return int(text.replace(",", ""))


def test_a_bar_answers_the_mouse_with_its_day(signed_in: Page, stage: Stage) -> None:
    days = 90
    signed_in.goto(f"/dashboard?days={days}")
    bars = signed_in.locator("#trend svg a:not(.flag) rect")
    for index in (0, days // 2, days - 1):
        bar = bars.nth(index)
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        assert box is not None
        # Below the mark of a finding, above a low bar, which answers over its whole column.
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
        plain = bar.evaluate("bar => getComputedStyle(bar).fill")
        signed_in.mouse.move(x, y)
        assert bar.evaluate("(bar, [x, y]) => document.elementFromPoint(x, y) === bar", [x, y])
        expect(bar).not_to_have_css("fill", plain)
        day = stage.api(f"/api/v1/analytics/tokens?days={days}")["data"][index]
        assert titles(signed_in.locator("#trend"))[index].startswith(f"{as_day(day['date'])}: {day['count']:,} tokens")


def test_an_id_is_on_one_line_of_a_phone(signed_in: Page, stage: Stage) -> None:
    signed_in.set_viewport_size({"width": 320, "height": 740})
    signed_in.goto(stage.path(f"/dashboard/agents/{RETRYING.name}"))
    assert signed_in.locator("#about code.id").evaluate("id => id.getClientRects().length") == 1
    assert overflow(signed_in) == []


def luminance(color: str) -> float:
    """Return the relative luminance (WCAG 2.2) of a color in the form of the browser."""
    channels = [int(channel) / 255 for channel in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


BACKGROUND = "element => getComputedStyle(element).backgroundColor"


def test_prints_what_is_worth_paper_dark_on_white(signed_in: Page) -> None:
    # A4 with margins, at 96 dots an inch.
    width = 718
    signed_in.set_viewport_size({"width": width, "height": 1000})
    signed_in.goto("/dashboard?days=90")
    signed_in.emulate_media(media="print", color_scheme="dark")
    for hidden in ("Sign out", "Skip to the content", "Numbers by day"):
        expect(signed_in.get_by_text(hidden)).to_be_hidden()
    for shown in ("Findings", "Tokens issued", "Rejected requests", "Requests by weekday and hour", "Agents"):
        expect(signed_in.get_by_role("heading", name=shown, level=2)).to_be_visible()
    expect(signed_in.locator("header")).to_contain_text("Demo organization")
    # Nothing is cut off at the paper's edge.
    assert signed_in.evaluate("document.scrollingElement.scrollWidth") <= width
    cut = signed_in.locator(".scroll").evaluate_all(
        "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.textContent.slice(0, 99))"
    )
    assert cut == []
    assert luminance(signed_in.locator("html").evaluate(BACKGROUND)) == pytest.approx(1)
    for text in (".finding p", "#trend h2", "table.agents td", ".heatmap th"):
        assert luminance(signed_in.locator(text).first.evaluate("text => getComputedStyle(text).color")) < 0.15, text


@pytest.mark.parametrize("width", [1280, 360])
def test_the_heatmap_fits_and_says_the_number_of_the_hour_that_is_pointed_at(signed_in: Page, width: int) -> None:
    signed_in.set_viewport_size({"width": width, "height": 800})
    signed_in.goto("/dashboard")
    cell = signed_in.locator(".heatmap td.h5").first
    cell.hover()
    expect(signed_in.locator("#activity .readout")).to_contain_text(f": {cell.text_content()} requests on average")
    assert signed_in.locator(".heatmap").evaluate("table => table.scrollWidth") <= width


def test_whose_figures_they_are_stays_in_sight(signed_in: Page) -> None:
    signed_in.set_viewport_size({"width": 360, "height": 740})
    signed_in.goto("/dashboard")
    signed_in.get_by_role("link", name="All 20 agents").scroll_into_view_if_needed()
    assert signed_in.evaluate("scrollY") > 500
    organization = signed_in.get_by_role("link", name="Demo organization")
    # The padding that makes the link a target of 24 pixels may be cut off.
    expect(organization).to_be_in_viewport(ratio=0.8)
    box = organization.bounding_box()
    assert box is not None
    # And nothing covers it.
    assert organization.evaluate(
        "(link, [x, y]) => link.contains(document.elementFromPoint(x, y))",
        [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2],
    )
