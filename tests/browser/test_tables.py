"""Pages fit on a phone: each row of a table is a block, or the table says that there is more beside it."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from agentidp.demo import RETRYING
from tests.browser.conftest import Open
from tests.browser.stage import Stage, let_in, overflow

PATHS = [
    "/dashboard/sign-in",
    "/dashboard",
    "/dashboard/agents",
    f"/dashboard/agents/{RETRYING.name}",
    "/dashboard/alert-targets",
    "/dashboard/credentials",
    "/dashboard/audit",
    "/dashboard/days/2026-04-14?hour=9",
    "/dashboard/resource-servers",
    "/dashboard/quotas",
    f"/dashboard/agents/{RETRYING.name}/trust?preset=spiffe",
    "/dashboard/provisioning-rules/new?preset=github&repository=acme/*&id=7&show=rule",
]

CUT = """() => [...document.querySelectorAll("table")].filter(table => {
    const box = table.closest(".scroll") ?? table.parentElement
    const words = getComputedStyle(table.caption, "::after").content
    return box.scrollWidth > box.clientWidth && !words.includes("Scroll sideways")
}).map(table => table.caption.textContent)"""


def of_a_phone(open_page: Open, stage: Stage) -> Page:
    page = open_page(viewport={"width": 360, "height": 740})
    let_in(page, stage, stage.operator)
    return page


def test_no_table_is_cut_on_a_phone_without_saying_so(open_page: Open, stage: Stage) -> None:
    page = of_a_phone(open_page, stage)
    for path in PATHS:
        page.goto(stage.path(path))
        for details in page.locator("main details > summary").all():
            if details.is_visible():
                details.click()
        assert page.evaluate(CUT) == [], path
        assert overflow(page) == [], path


def test_a_folded_table_is_still_a_table_and_names_each_value(open_page: Open, stage: Stage) -> None:
    page = of_a_phone(open_page, stage)
    page.goto("/dashboard/agents")
    table = page.get_by_role("table", name="Agents, by tokens")
    row = table.get_by_role("row", name="price-watcher")
    expect(row.get_by_role("cell")).to_have_count(7)
    labels = row.locator("td").evaluate_all("cells => cells.map(cell => getComputedStyle(cell, '::before').content)")
    assert labels == [f'"{name}"' for name in LABELS]
    edges = row.locator("td").evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().right)")
    assert max(edges) <= 360


LABELS = ("Tokens", "Share", "Requests", "Rejected", "Last request", "Last token", "Last rejection")
