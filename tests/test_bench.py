"""The benchmark's own arithmetic, and the bounds of what it counts."""

from __future__ import annotations

from agentidp.services import Services
from bench.calls import calls_by_case
from tests.conftest import settings_for
from tests.factories import make_agent, make_organization

MAXIMUM_CALLS = {"token": 690, "trend": 720, "heatmap": 610, "agents": 610, "introspection": 660}
"""Functions that Python calls for a request, those in C included. Python 3.11 calls the most."""


class TestPythonCalls:
    def test_stay_within_their_bounds(self, services: Services) -> None:
        agent = make_agent(services, make_organization(services))
        settings = settings_for(str(services.settings.database_url), pool_min_size=1)
        found = calls_by_case(settings, (agent.client_id, agent.client_secret))
        assert {name: round(number) for name, number in found.items() if number > MAXIMUM_CALLS[name]} == {}
        assert found.keys() == MAXIMUM_CALLS.keys()
