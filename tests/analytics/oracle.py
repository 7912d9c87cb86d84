"""What the three endpoints must answer, computed from a list of events in plain Python."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from flask import Flask

from agentidp.services import Services
from tests.factories import Agent, Clock

TREND = "/api/v1/analytics/tokens"
HEATMAP = "/api/v1/analytics/agents/activity"
USAGE = "/api/v1/analytics/agents"

BAD_DAYS = (
    *("0", "00", "-0", "-1", "91", "091", "99999999999999999999", "9" * 5000),
    *("abc", "", "30.5", "1e1", "+7", "%2B7", "%207", "7%20", "1_0", "0x1F", "7,8", "7;days=8", "[7]"),
    *("%00", "7%00", "%0A7", "7%0A", "%ff", "null", "true", "NaN", "Infinity"),
    # Digits of other scripts: Arabic-Indic, superscript, full-width; and the minus sign U+2212.
    *("%D9%A3%D9%A0", "%C2%B3", "%EF%BC%97", "%E2%88%927"),
)
"""Invalid values of ``days``, as in a query string."""


@dataclass(frozen=True)
class Event:
    """An issued token or a request."""

    at: datetime
    organization_id: str
    agent_id: UUID
    kind: Literal["token", "request"]

    @property
    def day(self) -> date:
        """The UTC day of the event."""
        return self.at.astimezone(UTC).date()


class Oracle:
    """Stores every event, and reads all of them for each response. Its bounds are whole days, as documented."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, agent: Agent, at: datetime, kind: Literal["token", "request"], times: int = 1) -> None:
        """Store *times* events."""
        self.events += [Event(at, agent.organization_id, agent.agent_id, kind)] * times

    def trend(self, organization_id: str, now: datetime, days: int = 30) -> dict[str, Any]:
        """Return the body of the token trend."""
        today = now.astimezone(UTC).date()
        counts = Counter(
            event.day for event in self.events if event.organization_id == organization_id and event.kind == "token"
        )
        shown = [today - timedelta(days=ago) for ago in reversed(range(days))]
        return {
            "tenantId": organization_id,
            "days": days,
            "data": [{"date": day.isoformat(), "count": counts[day]} for day in shown],
        }

    def heatmap(self, organization_id: str, now: datetime, days: int = 90) -> dict[str, Any]:
        """Return the body of the heatmap. An issued token counts as a request too."""
        today = now.astimezone(UTC).date()
        counts = Counter(
            (event.day.isoweekday() % 7, event.at.astimezone(UTC).hour)
            for event in self.events
            if event.organization_id == organization_id and 0 <= (today - event.day).days < days
        )
        return {
            "tenantId": organization_id,
            "data": [{"dow": dow, "hour": hour, "count": n} for (dow, hour), n in sorted(counts.items())],
        }

    def usage(self, organization_id: str, now: datetime) -> dict[str, Any]:
        """Return the body of the usage per agent."""
        today = now.astimezone(UTC).date()
        counts = Counter(
            str(event.agent_id)
            for event in self.events
            if event.organization_id == organization_id
            and event.kind == "token"
            and (event.day.year, event.day.month) == (today.year, today.month)
            and event.day <= today
        )
        ranking = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return {
            "tenantId": organization_id,
            "month": f"{today.year:04}-{today.month:02}",
            "data": [{"agentId": agent_id, "tokenCount": n} for agent_id, n in ranking],
        }


class Comparison:
    """Counts the same usage in the product and in the oracle, and compares their responses byte by byte."""

    def __init__(self, app: Flask, clock: Clock, oracle: Oracle | None = None) -> None:
        self.client, self.clock, self.oracle = app.test_client(), clock, oracle or Oracle()
        self.services: Services = app.extensions["agentidp"]

    def count(self, agent: Agent, at: datetime, *, tokens: int = 0, requests: int = 0) -> None:
        """Count tokens and requests of *agent* at an instant."""
        agent.count(at, tokens=tokens, requests=requests)
        self.oracle.record(agent, at, "token", tokens)
        self.oracle.record(agent, at, "request", requests)

    def check(self, agent: Agent, now: datetime, *, trend: tuple[int, ...], heatmap: tuple[int, ...]) -> None:
        """Compare the responses of all three endpoints at *now*. A request of *agent* counts in later responses only.

        :param trend: the values of ``days`` for the trend.
        :param heatmap: the values of ``days`` for the heatmap.
        """
        self.clock.now = now
        organization_id = agent.organization_id
        questions = [
            *(
                (f"{TREND}?days={days}", lambda days=days: self.oracle.trend(organization_id, now, days))
                for days in trend
            ),
            *(
                (f"{HEATMAP}?days={days}", lambda days=days: self.oracle.heatmap(organization_id, now, days))
                for days in heatmap
            ),
            (USAGE, lambda: self.oracle.usage(organization_id, now)),
        ]
        bearer = agent.bearer()
        for path, expected in questions:
            response = self.client.get(path, headers=bearer)
            assert response.status_code == 200, (path, now, response.text)
            assert response.get_data() == json.dumps(expected(), separators=(",", ":")).encode(), (path, now)
            self.oracle.record(agent, now, "request")
