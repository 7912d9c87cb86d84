"""Simultaneous expensive reads are bounded, and tokens never queue behind them."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.http.errors import RateLimited
from agentidp.server.serve import gunicorn_config
from agentidp.services import Services
from agentidp.services.expensive_reads import IN_ALL, PER_ORGANIZATION, RETRY_AFTER, ExpensiveReads
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import Cast
from tests.factories import PATIENCE, SECRET_KEY, Agent, Server, usage_sums, wait_until
from tests.wire import overheard

pytestmark = pytest.mark.slow

FINDINGS = "/api/v1/analytics/findings"
REFUSED = {"code": "RATE_LIMITED", "message": "Other requests for findings are running; try again.", "details": {}}


def test_bounds_each_organization_and_all_together() -> None:
    reads = ExpensiveReads(per_organization=2, in_all=3)
    with reads.running("a"), reads.running("a"):
        with pytest.raises(RateLimited), reads.running("a"):
            pass
        with reads.running("b"), pytest.raises(RateLimited), reads.running("c"):
            pass
        with reads.running("c"):
            pass
    with reads.running("a"), reads.running("b"), reads.running("c"):
        pass


def test_a_read_that_fails_or_is_given_up_makes_room() -> None:
    reads = ExpensiveReads(per_organization=1, in_all=1)
    with pytest.raises(ZeroDivisionError), reads.running("a"):
        raise ZeroDivisionError

    def page() -> Iterator[str]:
        with reads.running("a"):
            yield "the first part"

    parts = page()
    next(parts)
    with pytest.raises(RateLimited), reads.running("a"):
        pass
    # As a server does when the client has gone.
    parts.close()  # type: ignore[attr-defined]
    with reads.running("a"):
        pass


def test_never_more_run_than_may_however_many_threads_ask() -> None:
    reads, running, most, refused = ExpensiveReads(per_organization=2, in_all=3), [], [], []

    def ask(organization: str) -> None:
        for _ in range(50):
            try:
                with reads.running(organization):
                    running.append(organization)
                    most.append((len(running), running.count(organization)))
                    time.sleep(0.0002)
                    running.remove(organization)
            except RateLimited:
                refused.append(organization)
                time.sleep(0.0001)

    threads = [threading.Thread(target=ask, args=(name,)) for name in "aaabbbcc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused
    assert len(most) + len(refused) == 50 * len(threads)
    assert max(together for together, _ in most) <= 3
    assert max(of_one for _, of_one in most) <= 2
    with reads.running("a"), reads.running("b"), reads.running("c"):
        pass


def test_two_of_gunicorns_threads_stay_free() -> None:
    [threads] = re.findall(r"^threads = (\d+)$", gunicorn_config().read_text(encoding="utf-8"), re.MULTILINE)
    assert PER_ORGANIZATION <= IN_ALL <= int(threads) - 2


@COMPARES_STATEMENTS
def test_a_second_request_for_findings_is_refused_and_counted(
    client: FlaskClient, services: Services, cast: Cast, database_url: str
) -> None:
    headers = cast.acme.bearer()
    with services.expensive_reads.running(cast.acme.organization_id):
        with overheard(services.database) as conversation:
            refused = client.get(FINDINGS, headers=headers)
        assert client.get(FINDINGS, headers=cast.outsider.bearer()).status_code == 200
        assert client.get("/api/v1/analytics/tokens", headers=headers).status_code == 200
    assert (refused.status_code, refused.json) == (429, REFUSED)
    assert refused.headers["Retry-After"] == str(RETRY_AFTER)
    assert conversation.statements == [
        "database/enter_organization",
        "finding_state/last_evaluation",
        "finding_state/stored_findings",
        "usage/record_request",
    ]
    assert client.get(FINDINGS, headers=headers).status_code == 200
    counted = usage_sums(database_url, cast.acme.organization_id)
    assert {n for name, n in counted.items() if "requests" in name} == {3}


def test_a_refused_token_is_a_401_however_many_reads_run(client: FlaskClient, services: Services, cast: Cast) -> None:
    expired = cast.acme.bearer(ttl=-600)
    with services.expensive_reads.running(cast.acme.organization_id):
        assert client.get(FINDINGS, headers=expired).status_code == 401


def token(server: Server, agent: Agent) -> str:
    form = f"grant_type=client_credentials&client_id={agent.client_id}&client_secret={agent.client_secret}"
    with urllib.request.urlopen(f"{server.url}/api/v1/token", form.encode(), timeout=PATIENCE) as response:
        return str(json.load(response)["access_token"])


def test_tokens_do_not_queue_behind_findings(services: Services, cast: Cast, database_url: str) -> None:
    statuses: list[int] = []

    def ask(server: Server, bearer: dict[str, str]) -> None:
        request = urllib.request.Request(server.url + FINDINGS, headers=bearer)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE):
                statuses.append(200)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)

    environment = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
    # As long as a statement may wait at all.
    environment |= {"AGENTIDP_STATEMENT_TIMEOUT": "23", "AGENTIDP_POOL_TIMEOUT": "25"}
    with Server(environment) as server, psycopg.connect(database_url, autocommit=True) as watcher:

        def waiting() -> list[tuple[Any, ...]]:
            return watcher.execute(
                "select pid, query_start from pg_stat_activity "
                "where datname = current_database() and wait_event_type = 'Lock' order by 1"
            ).fetchall()

        bearer = {"Authorization": f"Bearer {token(server, cast.acme)}"}
        threads = [threading.Thread(target=ask, args=(server, bearer)) for _ in range(32)]
        with psycopg.connect(database_url) as connection:
            # Of the statements that run here only findings read it.
            connection.execute("lock table rejected_networks in access exclusive mode")
            for thread in threads:
                thread.start()
            wait_until(lambda: len(statuses) + len(waiting()) == len(threads))
            refused, before = list(statuses), waiting()
            # Before there was a bound, all eight threads waited for the lock, and the first token took three seconds.
            for _ in range(10):
                token(server, cast.outsider)
            assert waiting() == before
        for thread in threads:
            thread.join()
    workers = 2
    assert 1 <= len(before) <= workers * PER_ORGANIZATION
    assert set(refused) == {429}
    assert sorted(statuses) == sorted([200] * len(before) + refused)
