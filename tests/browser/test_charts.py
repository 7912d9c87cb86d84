"""The bars of a chart lead to what they are made of, by mouse, keyboard and touch, with JavaScript and without."""

from __future__ import annotations

import re
from datetime import timedelta

from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, WITH_AND_WITHOUT_JAVASCRIPT, Open
from tests.browser.stage import Stage
from tests.factories import NOON

BARS = "#trend svg a:not(.flag)"
YESTERDAY = f"{NOON - timedelta(days=1):%Y-%m-%d}"


def text_of(page: Page, index: int) -> str:
    """Return the text of a bar in the chart of tokens."""
    return page.locator(BARS).nth(index).locator("title").text_content() or ""


@WITH_AND_WITHOUT_JAVASCRIPT
def test_a_day_opens_its_hours_and_an_hour_its_agents(open_page: Open, stage: Stage, java_script_enabled: bool) -> None:
    page = open_page(stage.operator, java_script_enabled=java_script_enabled, viewport={"width": 1280, "height": 900})
    page.goto("/dashboard?days=7")
    page.locator(BARS).nth(5).click()
    page.wait_for_url(f"**/dashboard/days/{YESTERDAY}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tue 14 Apr")
    page.locator(BARS).nth(9).click()
    page.wait_for_url(f"**/dashboard/days/{YESTERDAY}?hour=9#agents")
    expect(page.get_by_role("heading", name="Agents from 09:00 to 10:00 UTC")).to_be_in_viewport()
    agent = page.locator("#agents tbody a").first
    name = agent.inner_text()
    agent.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Tue 14 Apr {name}")


def test_the_keyboard_moves_between_bars_and_reads_their_values(signed_in: Page) -> None:
    signed_in.goto("/dashboard?days=7")
    signed_in.locator(BARS).last.focus()
    readout = signed_in.locator("#trend .readout")
    expect(readout).to_have_text(text_of(signed_in, 6))
    signed_in.keyboard.press("ArrowLeft")
    expect(readout).to_have_text(text_of(signed_in, 5))
    signed_in.keyboard.press("Home")
    expect(readout).to_have_text(text_of(signed_in, 0))
    signed_in.keyboard.press("ArrowLeft")
    expect(readout).to_have_text(text_of(signed_in, 0))
    assert signed_in.locator("#trend svg a[tabindex='0']").count() == 1
    signed_in.keyboard.press("End")
    signed_in.keyboard.press("ArrowLeft")
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url(f"**/dashboard/days/{YESTERDAY}")


def test_the_arrow_keys_reach_the_findings_on_the_bars(signed_in: Page) -> None:
    signed_in.goto("/dashboard")
    flag = signed_in.locator("#trend svg a.flag").last
    signed_in.locator(BARS).last.focus()
    for _ in range(60):
        signed_in.keyboard.press("ArrowLeft")
        if flag.evaluate("flag => flag === document.activeElement"):
            break
    expect(flag).to_be_focused()
    expect(signed_in.locator("#trend .readout")).to_have_text(flag.locator("title").text_content() or "")
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url(re.compile("#finding-|/findings/"))


def test_the_ring_around_a_bar_is_not_stretched(signed_in: Page) -> None:
    signed_in.goto("/dashboard?days=7")
    signed_in.locator(BARS).last.focus()
    signed_in.keyboard.press("ArrowLeft")
    bar = signed_in.locator("#trend svg a:focus")
    assert bar.evaluate("bar => getComputedStyle(bar).outlineStyle") == "none"
    ring = "rect => [getComputedStyle(rect).strokeWidth, getComputedStyle(rect).vectorEffect]"
    assert bar.locator("rect").evaluate(ring) == ["3px", "non-scaling-stroke"]


def test_the_first_tap_shows_the_value_and_the_second_opens_the_day(open_page: Open, stage: Stage) -> None:
    page = open_page(stage.operator, viewport=PHONE, is_mobile=True, has_touch=True)
    page.goto("/dashboard?days=7")
    bar = page.locator(BARS).nth(5)
    bar.tap()
    expect(page.locator("#trend .readout")).to_have_text(text_of(page, 5))
    assert page.url.endswith("/dashboard?days=7")
    bar.tap()
    page.wait_for_url(f"**/dashboard/days/{YESTERDAY}")


def test_times_are_shown_in_the_readers_own_zone_too(open_page: Open, stage: Stage) -> None:
    page = open_page(stage.operator, timezone_id="Asia/Kolkata")
    page.goto("/dashboard")
    expect(page.locator("#as-of")).to_have_text("as of 12:00 UTC (17:30 your time)")


def test_the_dates_stand_close_below_each_chart(signed_in: Page) -> None:
    signed_in.goto("/dashboard")
    heights = signed_in.locator(".chart .dates").evaluate_all("rows => rows.map(row => row.clientHeight)")
    assert len(heights) == 2
    assert max(heights) < 30
