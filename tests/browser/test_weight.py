"""How much a browser has to load, and how soon it shows something."""

from __future__ import annotations

from statistics import median
from urllib.parse import urlsplit

from playwright.sync_api import Page, Request

from tests.machine import measured

MAX_BYTES = 110_000
SOON = 1.0
"""Seconds. 0.1 is the aim and what a machine at rest needs at most; the tests run on one that is not."""


FIRST_PAINT = """() => new Promise(resolve => new PerformanceObserver(
    list => list.getEntriesByName("first-contentful-paint").forEach(paint => resolve(paint.startTime))
).observe({ type: "paint", buffered: true }))"""


def test_the_page_with_90_days_is_below_110_kb_in_all(signed_in: Page) -> None:
    loaded: list[Request] = []
    signed_in.on("requestfinished", lambda request: loaded.append(request))
    signed_in.goto("/dashboard?days=90", wait_until="networkidle")
    sizes = {urlsplit(request.url).path: request.sizes() for request in loaded}
    assert sizes.keys() >= {"/dashboard", "/dashboard/static/dashboard.css", "/dashboard/static/dashboard.js"}
    total = sum(size["responseHeadersSize"] + size["responseBodySize"] for size in sizes.values())
    assert 10_000 < total < MAX_BYTES, sizes


def test_shows_something_soon(signed_in: Page) -> None:
    paints = []
    with measured() as machine:
        for _ in range(5):
            signed_in.goto("/dashboard?days=90")
            paints.append(signed_in.evaluate(FIRST_PAINT))
    assert median(paints) / 1000 < machine.allows(SOON)
