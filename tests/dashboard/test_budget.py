"""``/dashboard/budget``: the budget is set from where it is shown."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.conftest import Cast
from tests.dashboard.conftest import Page, post
from tests.factories import NOON, count_usage

PATH = "/dashboard/budget"


def test_sets_and_removes_the_budget_that_the_overview_shows(signed_in: FlaskClient, cast: Cast) -> None:
    acme = cast.acme
    count_usage(acme.services, acme.organization_id, acme.agent_id, NOON, tokens=30)

    def shown() -> str:
        page = Page(signed_in.get("/dashboard"))
        assert PATH in [link["href"] for link in page.all("a")]
        return " ".join(page.text.split())

    assert "No budget is set" in shown()
    response = post(signed_in, PATH, monthlyTokenBudget="120")
    assert (response.status_code, response.headers["Location"]) == (303, "/dashboard#budget")
    assert "Budget 120" in shown()
    wrong = post(signed_in, PATH, monthlyTokenBudget="many")
    assert (wrong.status_code, "must be a whole number" in Page(wrong).notice) == (400, True)
    assert "Budget 120" in shown()
    assert post(signed_in, PATH, monthlyTokenBudget="").status_code == 303
    assert "No budget is set" in shown()
