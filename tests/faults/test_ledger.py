"""The ledger notices what it is there for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tests.faults.bounds import BOUNDS
from tests.faults.ledger import Answer, Counts, judge

AGENT = uuid4()
NOW = datetime(2026, 4, 15, 12, 30, tzinfo=UTC)
ROW = "HUP"


def issued(n: int) -> list[Answer]:
    """Tokens of an agent that were issued without any trouble."""
    return [Answer("token", AGENT, 10.0, 10.1, 200, jti=str(number)) for number in range(n)]


def judged(
    answers: list[Answer],
    counted: int,
    *,
    row: str = ROW,
    other_counter: int | None = None,
    recovery: float | None = 0.5,
) -> list[str]:
    """A row in which *counted* tokens are in the counters."""
    sums = {counted, counted if other_counter is None else other_counter}
    counts = Counts(sums, Counter({AGENT: counted}), set())
    return judge(row, answers, counts, began_at=NOW, fault=(9.0, 11.0), recovery=recovery)


def test_finds_nothing_where_nothing_is_wrong() -> None:
    unknown = [Answer("token", AGENT, 10.0, 10.1, None, is_unknown=True, problem="ConnectionResetError")] * 2
    for counted in (3, 4, 5):
        assert judged(issued(3) + unknown, counted) == []


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (judged(issued(3), 2), "1 acknowledged tokens are not counted"),
        (judged(issued(3), 4), "1 tokens are counted of which no client may think that they could be"),
        (judged(issued(3), 3, other_counter=2), "the counters differ: [2, 3]"),
        (judged(issued(3) + issued(1), 4), "1 jti are of two tokens"),
        (judged([*issued(1), Answer("token", AGENT, 10, 11, 500, problem="why")], 1), "token: 500 1 times, why"),
        (judged([*issued(1), Answer("read", None, 10, 11, 503, problem="why")], 1), "read: 503 1 times, why"),
        (judged([replace(issued(1)[0], ended=10 + BOUNDS[ROW].longest + 1)], 1), "token took "),
        (judged(issued(1), 1, recovery=None), "tokens did not work again"),
        (judged(issued(1), 1, recovery=BOUNDS[ROW].recovery + 1), "tokens worked again "),
        (judged(issued(1), 1, row="worker killed"), "no request failed: the fault did not happen"),
    ],
)
def test_finds(result: list[str], expected: str) -> None:
    [fault] = result
    assert fault.startswith(expected)
