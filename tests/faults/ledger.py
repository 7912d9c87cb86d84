"""The responses that clients received, what the database counted, and whether the two agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tests.factories import execute, usage_sums
from tests.faults.bounds import BOUNDS, QUICK

CLOCK_TOLERANCE = timedelta(seconds=10)
"""Maximum deviation of the clock of a server that serves: the leeway."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A request and its response, as the client sees them. Times are seconds of ``time.monotonic``.

    :param kind: ``token``, ``read`` or the path of a request without a client.
    :param status: the status of the response; ``None`` without a response.
    :param is_unknown: whether the client cannot know if a token was counted: the response was lost, or says so.
    :param problem: the reason why there is no response.
    """

    kind: str
    agent_id: UUID | None
    began: float
    ended: float
    status: int | None
    is_unknown: bool = False
    token: str = field(default="", repr=False)
    jti: str = ""
    problem: str = ""

    @property
    def took(self) -> float:
        """The duration in seconds."""
        return self.ended - self.began


@dataclass(frozen=True)
class Counts:
    """The counts of an organization.

    :param sums: the tokens per counter, which must all be equal.
    :param by_agent: the tokens per agent.
    :param hours: the UTC hours in which tokens were counted.
    """

    sums: set[int]
    by_agent: Counter[UUID | None]
    hours: set[datetime]


def read_counts(url: str, organization_id: str) -> Counts:
    """Read the counters of an organization as the operator."""
    sums = usage_sums(url, organization_id)
    tokens_of = "select agent_id, sum(tokens)::bigint from agent_usage_daily where organization_id = %s group by 1"
    by_agent = execute(url, tokens_of, organization_id)
    hours = execute(
        url,
        "select distinct day, n from usage_daily, unnest(tokens_by_hour) with ordinality as h (tokens, n)"
        " where organization_id = %s and h.tokens > 0",
        organization_id,
    )
    return Counts(
        {value for name, value in sums.items() if "tokens" in name},
        Counter(dict(by_agent)),
        {datetime(day.year, day.month, day.day, int(n) - 1, tzinfo=UTC) for day, n in hours},
    )


def judge(
    row: str,
    answers: Sequence[Answer],
    counts: Counts | None,
    *,
    began_at: datetime,
    fault: tuple[float, float] | None,
    recovery: float | None,
) -> list[str]:
    """Compare a row with its bounds, and return the problems.

    :param counts: the counts; ``None`` if the database could not be read.
    :param began_at: the time of the first request, by a correct clock.
    :param fault: its beginning and end in seconds of ``time.monotonic``; ``None`` without a fault.
    :param recovery: seconds from the fault until tokens are issued again; ``None`` if they are not.
    """
    bound = BOUNDS[row]
    tokens = [answer for answer in answers if answer.kind == "token"]
    acknowledged = Counter(answer.agent_id for answer in tokens if answer.status == 200)
    unknown = Counter(answer.agent_id for answer in tokens if answer.is_unknown)
    begin = fault[0] if fault else -math.inf
    wrong = (
        ["the database cannot be read after the fault"]
        if counts is None
        else _miscounted(acknowledged, unknown, counts)
    )
    if counts and (strange := counts.hours - _hours(began_at - CLOCK_TOLERANCE, datetime.now(UTC) + CLOCK_TOLERANCE)):
        wrong.append(f"counted in another hour: {', '.join(sorted(f'{hour:%d %H:00}' for hour in strange))}")
    if twice := [jti for jti, n in Counter(a.jti for a in tokens if a.jti).items() if n > 1]:
        wrong.append(f"{len(twice)} jti are of two tokens")
    if unknown.total() > bound.unknown:
        problems = sorted({answer.problem or str(answer.status) for answer in tokens if answer.is_unknown})
        wrong.append(f"{unknown.total()} outcomes are unknown, {', '.join(problems)}")
    wrong += _wrong_statuses(answers, bound.fails is not False)
    since = [answer for answer in answers if answer.ended >= begin]
    if bound.fails and all(answer.status == 200 for answer in since if answer.kind == "token"):
        wrong.append("no request failed: the fault did not happen")
    slowest = max(since, key=lambda answer: answer.took, default=None)
    if slowest and slowest.took > bound.longest:
        wrong.append(
            f"{slowest.kind} took {slowest.took:.2f} s and ended with {slowest.status or slowest.problem}; "
            f"at most {bound.longest:.2f} s: {bound.reason}"
        )
    if bound.known_after is not None and fault:
        quick = _percentile_99(
            [a.took for a in tokens if a.status == 503 and begin + bound.known_after <= a.began and a.ended <= fault[1]]
        )
        if quick is None or quick > QUICK:
            quick_part = "there is none" if quick is None else f"99 % of them within {quick:.2f} s"
            wrong.append(f"503 is not immediate while the database is known to be unreachable: {quick_part}")
    if recovery is None:
        wrong.append("tokens did not work again")
    elif recovery > bound.recovery:
        wrong.append(f"tokens worked again {recovery:.2f} s after the fault, at most {bound.recovery:.2f} s")
    return wrong


def _miscounted(acknowledged: Counter[UUID | None], unknown: Counter[UUID | None], counts: Counts) -> list[str]:
    surplus = {name: counts.by_agent[name] - acknowledged[name] for name in acknowledged | unknown | counts.by_agent}
    lost = sum(max(0, -n) for n in surplus.values())
    doubled = sum(max(0, n - unknown[name]) for name, n in surplus.items())
    wrong = [] if len(counts.sums) == 1 else [f"the counters differ: {sorted(counts.sums)}"]
    if lost:
        wrong.append(f"{lost} acknowledged tokens are not counted")
    if doubled:
        wrong.append(f"{doubled} tokens are counted of which no client may think that they could be")
    return wrong


def _wrong_statuses(answers: Iterable[Answer], fails: bool) -> list[str]:
    right = {"token": 200, "read": 200, "/forged": 401}
    wrong: Counter[tuple[str, int, str]] = Counter()
    for answer in answers:
        allowed: set[int | None] = {right.get(answer.kind, 200), None}
        if fails and answer.kind in ("token", "read"):
            # Only what needs the database may be unavailable.
            allowed.add(503)
        if answer.status not in allowed:
            wrong[answer.kind, answer.status or 0, answer.problem] += 1
    return [f"{kind}: {status} {n} times, {text}" for (kind, status, text), n in sorted(wrong.items())]


def _percentile_99(times: list[float]) -> float | None:
    return sorted(times)[math.ceil(len(times) * 0.99) - 1] if times else None


def _hours(begin: datetime, end: datetime) -> set[datetime]:
    hour = begin.replace(minute=0, second=0, microsecond=0)
    hours = set()
    while hour <= end:
        hours.add(hour)
        hour += timedelta(hours=1)
    return hours
