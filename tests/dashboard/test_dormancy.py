"""The form that says when dormant agents are suspended."""

from __future__ import annotations

from flask.testing import FlaskClient

from agentidp.registry.organizations import MAX_DORMANCY, MIN_DORMANCY
from tests.conftest import Cast
from tests.dashboard.conftest import Page, led_to, post
from tests.factories import Api

PATH = "/dashboard/agents/dormancy"
FIELD = "suspendDormantAfterDays"


def test_sets_it_and_removes_it(signed_in: FlaskClient, cast: Cast) -> None:
    asked = Page(signed_in.get(PATH))
    assert asked.typed[FIELD] == ""
    assert "The organization has 1 agent." in asked.text
    for sent, stored in ((str(MIN_DORMANCY), MIN_DORMANCY), (f" {MAX_DORMANCY} ", MAX_DORMANCY), ("", None)):
        assert led_to(post(signed_in, PATH, **{FIELD: sent})) == "/dashboard/agents"
        assert Api(signed_in, cast.acme).get("organization").json[FIELD] == stored
        assert Page(signed_in.get(PATH)).typed[FIELD] == sent.strip()
        assert Api(signed_in, cast.outsider).get("organization").json[FIELD] is None
