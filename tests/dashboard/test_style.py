"""Whoever sees colours badly reads the dashboard as well: WCAG 2.2, 1.4.3 and 1.4.11, in both schemes."""

from __future__ import annotations

import re

import pytest

from agentidp.dashboard.pages import STATIC

CSS = (STATIC / "dashboard.css").read_text(encoding="utf-8")
TEXT = [
    *((text, ground) for text in ("text", "muted", "accent") for ground in ("page", "surface")),
    *((kind, f"{kind}-bg") for kind in ("critical", "warning", "info")),
    *((text, f"{kind}-bg") for text in ("text", "muted", "accent") for kind in ("critical", "warning", "info")),
    ("surface", "accent"),
    ("critical", "surface"),
    ("warning", "surface"),
    ("info", "surface"),
    *(("h-low", f"h{shade}") for shade in (1, 2, 3)),
    *(("h-high", f"h{shade}") for shade in (4, 5)),
]
"""What is written on what."""

DRAWN = [("bar", "surface"), ("warning", "surface"), ("muted", "surface"), ("accent", "surface"), ("accent", "page")]
"""What is drawn on what, and tells something: bars, marks, borders of fields, the focus."""


def palette(css: str) -> dict[str, str]:
    """The custom properties that are colours without transparency."""
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", css))


LIGHT = palette(CSS.partition("@media")[0])
DARK = LIGHT | palette(CSS.partition("prefers-color-scheme: dark")[2].partition("* {")[0])


def luminance(colour: str) -> float:
    """WCAG's relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_ratio_is_wcags() -> None:
    assert round(contrast("#000000", "#ffffff"), 2) == 21
    assert round(contrast("#767676", "#ffffff"), 2) == 4.54


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_everything_can_be_read_and_seen(scheme: str, colours: dict[str, str]) -> None:
    too_low = {
        pair: round(ratio, 2)
        for pairs, least in ((TEXT, 4.5), (DRAWN, 3))
        for pair in pairs
        if (ratio := contrast(colours[pair[0]], colours[pair[1]])) < least
    }
    assert too_low == {}


def test_both_schemes_have_every_colour() -> None:
    assert LIGHT.keys() == palette(CSS.partition("prefers-color-scheme: dark")[2].partition("* {")[0]).keys()
    assert all(LIGHT[name] != DARK[name] for name in LIGHT)


def test_neighbouring_shades_of_the_heatmap_differ() -> None:
    for colours in (LIGHT, DARK):
        shades = [colours["surface"], *(colours[f"h{shade}"] for shade in range(1, 6))]
        brightness = [luminance(shade) for shade in shades]
        assert brightness in (sorted(brightness), sorted(brightness, reverse=True))


def test_the_style_uses_the_palette_and_nothing_from_elsewhere() -> None:
    rules = re.sub(r"--[a-z0-9-]+: #[0-9a-f]+;", "", CSS.partition("@media print")[0])
    assert re.findall(r"#[0-9a-f]{3,8}\b(?=[; ])", rules) == []
    assert "url(" not in CSS
    assert "@import" not in CSS
