"""Of a quota of N tokens exactly N are issued while PostgreSQL is killed."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from agentidp.clock import utc_now
from agentidp.db.embedded_postgres import EmbeddedPostgres
from agentidp.services import Services
from tests.conftest import settings_for
from tests.factories import Agent, Server, make_agent, make_organization, usage_sums, wait_until
from tests.faults.rig import kill
from tests.test_exactness import Load, assert_counted
from tests.test_quotas import set_quota

PAUSE = 0.02
"""Seconds between two requests of a client."""

MAX_REQUESTS = 20_000
"""Of a load."""


def make(url: str) -> Agent:
    """An agent in an organization of its own."""
    with closing(Services.of(settings_for(url), utc_now)) as services:
        return make_agent(services, make_organization(services))


class UntilRefused(Load):
    """Threads that ask for tokens until a quota refuses one."""

    def has_enough(self, number: int) -> bool:
        """Whether a thread has ended."""
        time.sleep(PAUSE)
        return self.refused[429] > 0 or self.ended >= MAX_REQUESTS


@pytest.mark.usefixtures("midnight_is_far")
def test_postgresql_is_killed(postgres: EmbeddedPostgres, server: Server) -> None:
    """Every token that a client has is counted, and what is left of the quota is issued."""
    url, agent, quota = postgres.url, make(postgres.url), 400
    set_quota(url, agent.organization_id, agent.agent_id, "month", quota)
    load = UntilRefused(server.port, [agent], 0).start()
    for threshold in (100, 250, 350):
        wait_until(lambda threshold=threshold: load.acknowledged >= threshold)
        kill(postgres.home)
        acknowledged = load.acknowledged
        wait_until(lambda: not postgres.is_running())
        postgres.start()
        assert acknowledged <= usage_sums(url, agent.organization_id)["tokens"] <= quota
    load.join()
    unknown = sum(load.lost) + load.refused[503]
    assert unknown > 0
    assert load.acknowledged <= quota <= load.acknowledged + unknown
    assert set(load.refused) == {429, 503}
    assert_counted(url, agent.organization_id, tokens=quota, requests=quota)
