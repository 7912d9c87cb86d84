"""On a phone each row of a table is a block. That pages fit: test_accessibility.py."""

from __future__ import annotations

from playwright.sync_api import Page, expect


def test_a_folded_table_is_still_a_table_and_names_each_value(phone: Page) -> None:
    phone.goto("/dashboard/agents")
    table = phone.get_by_role("table", name="Agents, by tokens")
    row = table.get_by_role("row", name="price-watcher")
    expect(row.get_by_role("cell")).to_have_count(4)
    labels = row.locator("td").evaluate_all("cells => cells.map(cell => getComputedStyle(cell, '::before').content)")
    assert labels == [f'"{name}"' for name in LABELS]
    edges = row.locator("td").evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().right)")
    assert max(edges) <= 360


LABELS = ("Owner", "Tokens", "Share", "Requests", "Rejected", "Last seen")
