"""``/dashboard/budget``: the budget is set from where it is shown."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.dashboard.conftest import Read, led_to, post
from tests.factories import NOON, Agent


def test_sets_and_removes_the_budget_that_the_overview_shows(signed_in: FlaskClient, acme: Agent, read: Read) -> None:
    acme.count(NOON, tokens=30)
    assert "No budget is set" in read().words
    for sent, shown in (
        ("600", "Issued so far 30 Forecast for the month 480 Budget 600 Used 5 % issued"),
        ("120", "Used 25 % Will be exceeded on Sun 19 Apr"),
        ("29", "Used 103.4 % Exceeded on Wed 15 Apr"),
        ("", "No budget is set"),
    ):
        assert led_to(post(signed_in, "/dashboard/budget", monthlyTokenBudget=sent)) == "/dashboard#budget"
        assert shown in read().words
