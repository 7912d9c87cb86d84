"""The forms for the budget, and for the days without a token after which agents are suspended."""

from __future__ import annotations

from flask.testing import FlaskClient

from agentidp.registry.organizations import MAX_DORMANCY, MIN_DORMANCY
from tests.conftest import Cast
from tests.dashboard.conftest import Page, Read, led_to, post
from tests.factories import NOON, Agent, Api

DORMANCY = "/dashboard/agents/dormancy"
FIELD = "suspendDormantAfterDays"


def test_sets_and_removes_the_budget_that_the_month_shows(signed_in: FlaskClient, acme: Agent, read: Read) -> None:
    acme.count(NOON, tokens=30)
    assert "The organization has no budget" in read("/month").words
    for typed, figures in (
        ("600", "Budget 600 Used 5.0 % Forecast for the month 480"),
        ("120", "Will be exceeded on Sun 19 Apr Budget 120 Used 25.0 %"),
        ("29", "Exceeded on Wed 15 Apr Budget 29 Used 103.4 %"),
        ("", "The organization has no budget"),
    ):
        assert led_to(post(signed_in, "/dashboard/budget", monthlyTokenBudget=typed)) == "/dashboard/month#budget"
        assert figures in read("/month").words.replace("\N{NO-BREAK SPACE}", " ")


def test_sets_and_removes_the_days_until_agents_are_suspended(signed_in: FlaskClient, cast: Cast) -> None:
    page = Page(signed_in.get(DORMANCY))
    assert page.typed[FIELD] == ""
    assert "The organization has 1 agent." in page.text
    for typed, stored in ((str(MIN_DORMANCY), MIN_DORMANCY), (f" {MAX_DORMANCY} ", MAX_DORMANCY), ("", None)):
        assert led_to(post(signed_in, DORMANCY, **{FIELD: typed})) == "/dashboard/agents"
        assert Api(signed_in, cast.acme).get("organization").json[FIELD] == stored
        assert Page(signed_in.get(DORMANCY)).typed[FIELD] == typed.strip()
        assert Api(signed_in, cast.outsider).get("organization").json[FIELD] is None
