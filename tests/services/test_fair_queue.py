"""No organization takes the threads of a process from another organization, and no token request waits for a read."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.caller import TURN
from agentidp.http.errors import RateLimited
from agentidp.server.sending import limit_sending_time
from agentidp.server.serve import gunicorn_config
from agentidp.services import Services, fair_queue
from agentidp.services.fair_queue import (
    MAX_REQUESTS,
    MAX_REQUESTS_PER_ORGANIZATION,
    MAX_RUNNING,
    MAX_RUNNING_PER_ORGANIZATION,
    MAX_RUNNING_TOGETHER,
    RETRY_AFTER,
    SMALL,
    FairQueue,
    Turn,
)
from tests.conftest import Cast
from tests.dashboard.conftest import session_of
from tests.dashboard.test_routes import IN_SESSION, send
from tests.factories import PATIENCE, SECRET_KEY, Agent, Server, ServerWithoutLauncher, usage_sums, wait_until
from tests.routes import PROTECTED

MESSAGE = "Too many requests of your organization are running at the same time; try again."


class Waiting:
    """A request that waits for its turn in a thread of its own."""

    def __init__(self, queue: FairQueue, organization_id: str, max_wait: float = PATIENCE) -> None:
        self.turn: Turn | None = None
        self.is_refused = False
        self.organization_id = organization_id
        self._queue, self._max_wait = queue, max_wait
        waiting = list(queue._waiting)
        self.thread = threading.Thread(target=self._enter)
        self.thread.start()
        wait_until(lambda: set(queue._waiting).difference(waiting) or not self.thread.is_alive())

    def _enter(self) -> None:
        try:
            self.turn = self._queue.enter(self.organization_id, max_wait=self._max_wait)
        except RateLimited:
            self.is_refused = True

    def begun(self) -> Turn:
        """Return the turn as soon as it runs."""
        self.thread.join()
        assert self.turn is not None
        return self.turn


def test_limits_the_running_requests_of_an_organization_and_of_all() -> None:
    queue = FairQueue()
    assert (MAX_RUNNING_PER_ORGANIZATION, MAX_RUNNING_TOGETHER, MAX_RUNNING) == (2, 3, 5)
    first, second = queue.enter("a"), queue.enter("a")
    third_of_a = Waiting(queue, "a")
    first_of_b = queue.enter("b")
    first.leave()
    third_of_a.begun()
    # Two organizations that read as much as they can do not keep out others.
    second_of_b = Waiting(queue, "b")
    newcomers = [queue.enter("c"), queue.enter("d")]
    last = Waiting(queue, "e")
    assert (second_of_b.turn, last.turn) == (None, None)
    newcomers.pop().leave()
    newcomers.append(last.begun())
    for turn in (*newcomers, second):
        assert second_of_b.turn is None
        turn.leave()
    for turn in (second_of_b.begun(), third_of_a.begun(), first_of_b):
        turn.leave()
    assert not queue._inside
    assert not queue._running


def test_the_organization_that_runs_fewest_is_next_and_of_its_requests_the_oldest() -> None:
    queue = FairQueue()
    running = [queue.enter(name) for name in "aabde"]
    requests = [Waiting(queue, name) for name in ("a", "c", "c", "b")]
    for request, organizations_waiting in ((requests[1], "abc"), (requests[2], "ab")):
        running.pop().leave()
        running.append(request.begun())
        assert "".join(sorted(turn.organization_id for turn in queue._waiting)) == organizations_waiting
    for _ in range(3):
        assert requests[3].turn is None
        running.pop().leave()
    requests[3].begun().leave()
    for turn in running:
        turn.leave()
    requests[0].begun().leave()


def test_refuses_what_waits_too_long() -> None:
    queue = FairQueue()
    running = [queue.enter("a"), queue.enter("a")]
    late = Waiting(queue, "a", max_wait=0.01)
    late.thread.join()
    assert late.is_refused
    assert queue._inside == {"a": 2}
    assert queue._waiting == []
    for turn in running:
        turn.leave()


def test_a_request_that_lets_another_thread_serve_still_waits_for_its_turn() -> None:
    queue, blocked_threads = FairQueue(), threading.Semaphore(0)
    paused = queue.enter("a")
    paused.pause()
    running = [queue.enter("a"), queue.enter("a")]
    queue.before_blocking = blocked_threads.release
    resumed_turns = []

    def resume() -> None:
        paused.resume()
        resumed_turns.append(paused)

    resuming = threading.Thread(target=resume)
    resuming.start()
    entering = Waiting(queue, "a")
    for thread in (resuming, entering.thread):
        assert blocked_threads.acquire(timeout=PATIENCE)
        thread.join(0.05)
    assert (resumed_turns, entering.turn, entering.is_refused) == ([], None, False)
    for turn in running:
        turn.leave()
    resuming.join()
    assert resumed_turns == [paused]
    for turn in (paused, entering.begun()):
        turn.leave()


def test_refuses_more_of_one_organization_than_may_be_inside() -> None:
    queue = FairQueue()
    inside = [Waiting(queue, "a") for _ in range(MAX_REQUESTS_PER_ORGANIZATION)]
    with pytest.raises(RateLimited) as refused:
        queue.enter("a")
    assert (refused.value.message, refused.value.headers) == (MESSAGE, {"Retry-After": str(RETRY_AFTER)})
    queue.enter("b").leave()
    for request in inside:
        request.begun().leave()
    queue.enter("a").leave()


def test_an_organization_that_uses_none_always_finds_a_place() -> None:
    queue = FairQueue()
    sizes = {"a": 15, "b": MAX_REQUESTS_PER_ORGANIZATION, "c": 1, "e": 4}
    inside = [Waiting(queue, name) for name, size in sizes.items() for _ in range(size)]
    assert sum(queue._inside.values()) == MAX_REQUESTS
    with pytest.raises(RateLimited):
        queue.enter("c", max_wait=0.01)
    assert sum(queue._inside.values()) == MAX_REQUESTS
    newcomer = Waiting(queue, "d")
    # The newest request of the organization that has the most requests in the queue.
    displaced = [request for request in inside if request.organization_id == "b"][-1]
    displaced.thread.join()
    inside.remove(displaced)
    assert [displaced.is_refused, *{request.is_refused for request in (*inside, newcomer)}] == [True, False]
    for request in (*inside, newcomer):
        request.begun().leave()


def test_never_more_run_than_may_however_many_threads_enter() -> None:
    queue, running, sizes = FairQueue(), [], []

    def enter_often(organization_id: str) -> None:
        for _ in range(50):
            turn = queue.enter(organization_id, max_wait=PATIENCE)
            running.append(organization_id)
            sizes.append((len(running), running.count(organization_id)))
            time.sleep(0.0002)
            running.remove(organization_id)
            turn.leave()

    threads = [threading.Thread(target=enter_often, args=(name,)) for name in "aaabbbcc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sizes) == 50 * len(threads)
    assert max(together for together, _ in sizes) <= MAX_RUNNING
    assert max(of_organization for _, of_organization in sizes) <= MAX_RUNNING_PER_ORGANIZATION


class TestUntilTheLastByte:
    def respond(self, queue: FairQueue, parts: Iterable[bytes]) -> Any:
        environ = {TURN: queue.enter("a")}
        return limit_sending_time(60, lambda *_: parts)(environ, None)

    def test_a_response_that_is_made_lets_others_run_and_stays_inside_while_it_is_sent(self) -> None:
        queue = FairQueue()
        body = self.respond(queue, [b"a" * (SMALL + 1)])
        next(iter(body))
        assert (queue._running, queue._inside) == ({}, {"a": 1})
        body.close()
        assert not queue._inside

    @pytest.mark.parametrize("size", [1, SMALL + 1])
    def test_runs_while_a_part_is_made_and_not_while_one_is_sent(self, size: int) -> None:
        queue, states = FairQueue(), []

        def parts() -> Iterator[bytes]:
            for _ in range(2):
                states.append(dict(queue._running))
                yield b"a" * size

        body = self.respond(queue, parts())
        sent = [dict(queue._running) for _ in body]
        assert (states, sent) == ([{"a": 1}, {"a": 1}], [{}, {}])
        body.close()

    @pytest.mark.parametrize("is_begun", [False, True])
    def test_a_response_that_fails_or_whose_client_has_gone_leaves(self, is_begun: bool) -> None:
        def parts() -> Iterator[bytes]:
            yield b"a"
            raise ZeroDivisionError

        queue = FairQueue()
        body = self.respond(queue, parts())
        if is_begun:
            with pytest.raises(ZeroDivisionError):
                list(body)
        body.close()
        body.close()
        assert not queue._inside
        with pytest.raises(ZeroDivisionError):
            limit_sending_time(60, lambda *_: 1 / 0)({TURN: queue.enter("a")}, None)  # type: ignore[arg-type, return-value]
        assert not queue._inside


def test_gunicorn_has_threads_for_tokens_beside_all_that_may_be_inside() -> None:
    settings = gunicorn_config().read_text(encoding="utf-8")
    [further] = re.findall(r"^threads = MAX_REQUESTS \+ (\d+)$", settings, re.MULTILINE)
    assert int(further) >= MAX_RUNNING + 1


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch, services: Services, cast: Cast) -> Iterator[None]:
    """Acme has its maximum of requests in the queue."""
    monkeypatch.setattr(fair_queue, "MAX_REQUESTS_PER_ORGANIZATION", 1)
    turn = services.fair_queue.enter(cast.acme.organization_id)
    yield
    turn.leave()


@pytest.mark.usefixtures("full")
class TestRoutes:
    def test_no_operation_forgets_its_turn(self, client: FlaskClient, cast: Cast) -> None:
        before = usage_sums(cast.acme.database_url, cast.acme.organization_id)
        for route in PROTECTED:
            response = client.open(route.path(), method=route.method, json=route.body, headers=cast.acme.bearer())
            assert (response.status_code, response.json) == (
                429,
                {"code": "RATE_LIMITED", "message": MESSAGE, "details": {}},
            ), route
        assert response.headers["Retry-After"] == str(RETRY_AFTER)
        after = usage_sums(cast.acme.database_url, cast.acme.organization_id)
        requests = {after[name] - before.get(name, 0) for name in after if "requests" in name}
        assert requests == {len(PROTECTED)}, "a refused request is counted like any other"

    def test_no_page_forgets_its_turn(self, client: FlaskClient, cast: Cast) -> None:
        for route in IN_SESSION:
            response = send(client, route, session_of(cast.acme), {})
            assert response.status_code == 429, route
            assert MESSAGE in response.text

    def test_others_and_tokens_do_not_notice(self, client: FlaskClient, cast: Cast) -> None:
        assert client.get("/api/v1/analytics/tokens", headers=cast.outsider.bearer()).status_code == 200
        assert client.post("/api/v1/token", data=credentials(cast.acme)).status_code == 200

    def test_a_refused_token_is_a_401_before_anything_waits(self, client: FlaskClient, cast: Cast) -> None:
        response = client.get("/api/v1/analytics/tokens", headers=cast.acme.bearer(ttl=-600))
        assert response.status_code == 401


@pytest.mark.parametrize("is_chunked", [False, True])
def test_runs_only_when_the_body_has_arrived(
    client: FlaskClient, services: Services, cast: Cast, is_chunked: bool
) -> None:
    running = []

    class Body(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            running.append(dict(services.fair_queue._running))
            return super().read(size)

        def readinto(self, buffer: Any) -> int:
            running.append(dict(services.fair_queue._running))
            return super().readinto(buffer)

    body = b'{"name":"worker","scopes":["analytics:read"]}'
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    response = client.post(
        "/api/v1/agents",
        headers=cast.acme.bearer(),
        input_stream=Body(body),
        content_type="application/json",
        environ_overrides=chunked if is_chunked else {"CONTENT_LENGTH": str(len(body))},
    )
    assert response.status_code == 201, response.text
    assert running
    assert not any(running)


def credentials(agent: Agent) -> dict[str, str]:
    secret = str(agent.client_secret)
    return {"grant_type": "client_credentials", "client_id": agent.client_id, "client_secret": secret}


def token(server: Server, agent: Agent) -> str:
    form = urlencode(credentials(agent)).encode()
    with urllib.request.urlopen(f"{server.url}/api/v1/token", form, timeout=PATIENCE) as response:
        return str(json.load(response)["access_token"])


@pytest.mark.slow
@pytest.mark.parametrize("fast_path", ["on", "off"])
def test_tokens_and_reads_of_others_do_not_wait_for_blocked_reads(
    cast: Cast, database_url: str, fast_path: str
) -> None:
    statuses: list[int] = []

    def ask(server: Server, bearer: dict[str, str], path: str) -> None:
        request = urllib.request.Request(f"{server.url}/api/v1/analytics/{path}", headers=bearer)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE):
                statuses.append(200)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)

    environment = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
    # The maximum time that a statement may wait.
    environment |= {"AGENTIDP_STATEMENT_TIMEOUT": "23", "AGENTIDP_POOL_TIMEOUT": "25", "AGENTIDP_FAST_PATH": fast_path}
    with ServerWithoutLauncher(environment) as server, psycopg.connect(database_url, autocommit=True) as watcher:

        def blocked() -> int:
            query = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            return len(watcher.execute(query).fetchall())

        bearers = [{"Authorization": f"Bearer {token(server, agent)}"} for agent in (cast.acme, cast.outsider)]
        threads = [threading.Thread(target=ask, args=(server, bearers[0], "findings")) for _ in range(32)]
        workers = 2
        with psycopg.connect(database_url) as connection:
            # Of the statements in this test, only the findings read this table.
            connection.execute("lock table rejected_networks in access exclusive mode")
            for thread in threads:
                thread.start()
            wait_until(lambda: 1 <= blocked() <= workers * MAX_RUNNING_PER_ORGANIZATION)
            for _ in range(10):
                token(server, cast.outsider)
                ask(server, bearers[1], "tokens")
            assert statuses.count(200) == 10
            assert 1 <= blocked() <= workers * MAX_RUNNING_PER_ORGANIZATION
        for thread in threads:
            thread.join()
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) > 10
