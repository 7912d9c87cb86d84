"""What each part of the dashboard is for, with JavaScript and without."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from agentidp.demo import ROTATED
from tests.browser.conftest import Open
from tests.browser.stage import Stage, overflow


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def page(request: pytest.FixtureRequest, open_page: Open, stage: Stage) -> Page:
    """A page of a browser in which the demo's operator has signed in."""
    return open_page(stage.operator, java_script_enabled=request.param, viewport={"width": 1280, "height": 800})


FIGURES = "#headline dd .value"


@pytest.mark.parametrize(("width", "height", "rows"), [(1280, 900, 2), (390, 844, 0)])
def test_the_headline_what_is_most_urgent_the_chart_with_its_marks_and_the_findings_are_seen_without_scrolling(
    page: Page, width: int, height: int, rows: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto("/dashboard")
    expect(page.locator(FIGURES)).to_have_count(5)
    urgent = page.locator("#urgent")
    expect(urgent.locator("a bdi").first).to_be_visible()
    first_screen = [
        *page.locator(FIGURES).all(),
        urgent,
        page.locator("#trend svg[role=group]"),
        page.locator("#trend .flag").first,
    ]
    shown = page.locator("#findings > ol .finding > summary")
    for part in first_screen:
        expect(part).to_be_in_viewport(ratio=0.9)
    # On a phone, the sentence above the chart stands for the first of them.
    for row in shown.all()[:rows]:
        expect(row).to_be_in_viewport(ratio=0.4)
    expect(shown).to_have_count(4)
    assert overflow(page) == []


def test_a_row_opens_to_the_cause_and_the_next_step_which_leads_to_where_it_begins(page: Page) -> None:
    page.goto("/dashboard")
    row = page.locator(".finding", has_text=ROTATED.name).first
    causes = row.get_by_text("Its secret was probably rotated")
    expect(causes).to_be_hidden()
    row.locator("summary").first.click()
    expect(causes).to_be_visible()
    expect(row.get_by_role("link", name="History")).to_be_visible()
    row.locator(".next").get_by_role("link", name=f"Page of {ROTATED.name}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(ROTATED.name)


@pytest.mark.parametrize("chart", ["#trend", "#rejected"])
def test_a_mark_opens_its_finding_also_one_that_has_ended(page: Page, chart: str) -> None:
    page.goto("/dashboard?days=90")
    marks = page.locator(f"{chart} a.flag")
    targets = [mark.get_attribute("href") or "" for mark in marks.all()]
    assert targets
    for index, target in enumerate(targets):
        page.goto("/dashboard?days=90")
        marks.nth(index).click()
        expect(page).to_have_url(re.compile(f"{target}$"))
        expect(page.locator(target)).to_be_in_viewport()
        expect(page.locator(f"{target} .next")).to_be_visible()
