"""docs/growing.md: its table follows from its figures."""

from __future__ import annotations

import re

import pytest

from tests.factories import ROOT

PAGE = (ROOT / "docs" / "growing.md").read_text(encoding="utf-8")
HALF = 0.5


def number(text: str) -> float:
    """``1,234`` -> 1234."""
    return float(text.replace(",", ""))


FIGURES = {name: number(value) for name, value in re.findall(r"^\| `(\w+)` \| ([\d,.]+) (?:ms|bytes) \|", PAGE, re.M)}
ROWS = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ", PAGE, re.M)


def test_the_table_has_its_figures_and_reaches_a_million_agents() -> None:
    assert set(FIGURES) == {"app", "db", "log", "use", "first", "day", "agent"}
    assert [number(cell) for cell in ROWS[-1][:2]] == [1_000_000, 100_000]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} agents")
def test_a_row_follows_from_the_figures(row: tuple[str, ...]) -> None:
    agents, tokens, *calculated = map(number, row)
    expected = [
        tokens * FIGURES["app"] / 1000 / HALF,
        tokens * FIGURES["db"] / 1000 / HALF,
        tokens * FIGURES["log"] / 1e6,
        agents * 365 * FIGURES["day"] / 1e9,
    ]
    assert calculated == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("name", "column"), [("app", 0), ("db", 1)])
def test_a_processor_time_is_that_of_the_last_quiet_run(name: str, column: int) -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    [row] = re.findall(r"^token, 100 agents .* ([\d,]+) +([\d,]+) +[\d,]+$", page.split("µs stock")[0], re.M)
    assert FIGURES[name] == pytest.approx(number(row[column]) / 1000, rel=0.1)
