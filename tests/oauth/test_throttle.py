"""Failed authentications are throttled by client and address; the right credential is never refused."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

import psycopg
import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.counting import UNKNOWN_ORGANIZATION
from agentidp.jose.access_token import LEEWAY
from agentidp.oauth import throttle
from agentidp.oauth.throttle import FAILURES_A_MINUTE
from agentidp.services import Services
from tests.conftest import ON_CITUS_TOO, Cast, settings_for
from tests.factories import PATIENCE, SECRET_KEY, Agent, Clock, make_agent, usage_sums
from tests.machine import within
from tests.oauth.clients import FAILED, GRANT, KEYS, KeyHolder, Whole, refused, whole
from tests.routes import CLIENT_PATHS

HERE, THERE = "192.0.2.1", "198.51.100.1"
SPELLED_WRONG = "8D9C1A52-0000-4000-8000-ABCDEFABCDEF"
"""A UUID in upper case, which no client has."""

WAIT = {"Retry-After": f"{throttle.INTERVAL.total_seconds():g}"}
THROTTLED = refused("temporarily_unavailable", "too many failed authentications; try again later", 429, **WAIT)
ALLOWED = [FAILED] * FAILURES_A_MINUTE


def ask(
    client: FlaskClient,
    client_id: str,
    shown: str = "wrong",
    *,
    address: str = HERE,
    forwarded: str | None = None,
    path: str = CLIENT_PATHS[0],
    **form: str,
) -> TestResponse:
    """A request by ``client_secret_post`` from an address."""
    secret = {"token": "none", "client_id": client_id, "client_secret": shown}
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return client.post(path, data=GRANT | secret | form, headers=headers, environ_base={"REMOTE_ADDR": address})


def failures(client: FlaskClient, client_id: str, number: int, address: str = HERE) -> list[Whole]:
    """What so many failed authentications get, one after the other."""
    return [whole(ask(client, client_id, address=address)) for _ in range(number)]


def exhaust(client: FlaskClient, client_id: str, address: str = HERE) -> None:
    """Fail as often as a client may from an address."""
    assert failures(client, client_id, FAILURES_A_MINUTE, address) == ALLOWED


def rows(url: str) -> dict[int, datetime]:
    """The cells in the table."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute("select cell, admits_at from throttles").fetchall())


class TestAClientFromAnAddress:
    """Ten at once, then one every six seconds."""

    @ON_CITUS_TOO
    def test_is_throttled_alike_wherever_it_fails_and_nobody_else_is(
        self, client: FlaskClient, cast: Cast, services: Services
    ) -> None:
        paths = CLIENT_PATHS * FAILURES_A_MINUTE
        answers = [whole(ask(client, cast.acme.client_id, path=path)) for path in paths[: FAILURES_A_MINUTE + 3]]
        assert answers == ALLOWED + [THROTTLED] * 3
        assert whole(ask(client, cast.acme.client_id, address=THERE)) == FAILED
        for other in (make_agent(services, cast.acme.organization_id, "colleague"), cast.outsider):
            assert ask(client, other.client_id, other.client_secret).status_code == 200
            assert whole(ask(client, other.client_id)) == FAILED

    def test_gets_one_try_with_every_six_seconds_and_saves_up_no_more_than_ten(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        acme = cast.acme.client_id
        exhaust(client, acme)
        clock.advance(seconds=6, microseconds=-1)
        # Nor for longer if it goes on.
        assert failures(client, acme, 20) == [THROTTLED] * 20
        clock.advance(microseconds=1)
        assert failures(client, acme, 2) == [FAILED, THROTTLED]
        clock.advance(seconds=29)
        assert failures(client, acme, 6) == [FAILED] * 4 + [THROTTLED] * 2
        clock.advance(hours=1)
        assert failures(client, acme, FAILURES_A_MINUTE + 2) == ALLOWED + [THROTTLED] * 2

    def test_is_not_throttled_for_what_is_no_failed_authentication(
        self, client: FlaskClient, cast: Cast, database_url: str
    ) -> None:
        acme = cast.acme
        for _ in range(20):
            assert ask(client, acme.client_id, acme.client_secret).status_code == 200
            assert ask(client, acme.client_id, acme.client_secret, scope="no:such").json["error"] == "invalid_scope"
        assert rows(database_url) == {}


@pytest.mark.slow
class TestTheRightCredential:
    """It is never refused, whatever others do."""

    @pytest.fixture(params=["secret", "key"])
    def succeed(self, request: pytest.FixtureRequest, client: FlaskClient, cast: Cast) -> Callable[[str], None]:
        """Authenticates Acme's agent from an address, at each endpoint; it must succeed each time."""
        acme = cast.acme
        holder = KeyHolder.make(acme)

        def authenticate(address: str) -> None:
            for path in CLIENT_PATHS:
                form = {"client_secret": ""} | holder.form() if request.param == "key" else {}
                response = ask(client, acme.client_id, acme.client_secret, address=address, path=path, **form)
                assert response.status_code == 200, response.json

        return authenticate

    def test_succeeds_while_a_dozen_addresses_fail(
        self, client: FlaskClient, cast: Cast, succeed: Callable[[str], None]
    ) -> None:
        addresses = [HERE, *(f"203.0.113.{number}" for number in range(11))]
        answers: Counter[int] = Counter()
        for turn in range(40):
            answers.update(ask(client, cast.acme.client_id, address=address).status_code for address in addresses)
            if turn % 10 == 0:
                succeed(HERE)
                succeed(THERE)
        assert answers == {401: 12 * 10, 429: 12 * 30}

    def test_succeeds_behind_an_address_where_invented_clients_fail(
        self, client: FlaskClient, succeed: Callable[[str], None]
    ) -> None:
        for _ in range(700):
            assert ask(client, str(uuid.uuid4())).status_code == 401
        succeed(HERE)

    def test_opens_the_dashboard(self, client: FlaskClient, cast: Cast) -> None:
        form = {"client_id": cast.acme.client_id, "client_secret": "wrong"}
        here = {"REMOTE_ADDR": HERE}
        statuses = [client.post("/dashboard/sign-in", data=form, environ_base=here).status_code for _ in range(20)]
        assert statuses == [401] * FAILURES_A_MINUTE + [429] * FAILURES_A_MINUTE
        form["client_secret"] = cast.acme.client_secret
        assert client.post("/dashboard/sign-in", data=form, environ_base=here).status_code == 303

    @ON_CITUS_TOO
    def test_changes_nothing_about_what_the_failures_count(
        self, client: FlaskClient, cast: Cast, database_url: str
    ) -> None:
        exhaust(client, cast.acme.client_id)
        for _ in range(5):
            assert whole(ask(client, cast.acme.client_id)) == THROTTLED
            assert ask(client, cast.acme.client_id, cast.acme.client_secret).status_code == 200
        sums = usage_sums(database_url, cast.acme.organization_id)
        assert sums == {name: 15 if "rejected" in name else 5 for name in sums}


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", THROTTLED),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", FAILED),
        ("192.0.2.1", "::ffff:192.0.2.1", THROTTLED),
        ("fe80::1%eth0", "fe80::2%eth1", THROTTLED),
        # What is not known counts as one.
        ("", "unknown", THROTTLED),
        ("", "192.0.2.1:4711", THROTTLED),
    ],
)
def test_an_address_is_known_by_its_network(
    client: FlaskClient, cast: Cast, one: str, other: str, answer: Whole
) -> None:
    exhaust(client, cast.acme.client_id, one)
    assert whole(ask(client, cast.acme.client_id, address=other)) == answer
    assert whole(ask(client, cast.outsider.client_id, address=other)) == FAILED


class TestAnUnknownClient:
    """Nobody can tell it from a known one."""

    @pytest.mark.parametrize(
        ("unknown", "path"),
        [
            (str(uuid.UUID(int=7)), CLIENT_PATHS[0]),
            ("nobody", CLIENT_PATHS[1]),
            ("ünknöwn \x00", CLIENT_PATHS[2]),
            (SPELLED_WRONG, CLIENT_PATHS[0]),
            ("x" * 20_000, CLIENT_PATHS[1]),
        ],
    )
    def test_is_throttled_like_a_known_one(
        self, client: FlaskClient, cast: Cast, clock: Clock, unknown: str, path: str
    ) -> None:
        def story(client_id: str) -> list[Whole]:
            begin = clock.now
            answers = [whole(ask(client, client_id, path=path)) for _ in range(FAILURES_A_MINUTE + 2)]
            for _ in range(3):
                clock.advance(seconds=3)
                answers.append(whole(ask(client, client_id, path=path)))
            clock.now = begin
            return answers

        known = story(cast.acme.client_id)
        assert known == ALLOWED + [THROTTLED] * 3 + [FAILED, THROTTLED]
        assert story(unknown) == known
        # Nor does it throttle another unknown one.
        assert whole(ask(client, "somebody else", path=path)) == FAILED

    @ON_CITUS_TOO
    def test_is_counted_exactly_in_its_bucket(self, client: FlaskClient, database_url: str) -> None:
        for client_id in ("nobody", str(uuid.uuid4())):
            for _ in range(15):
                ask(client, client_id)
        sums = usage_sums(database_url, UNKNOWN_ORGANIZATION)
        assert sums == {name: 30 if "rejected" in name else 0 for name in sums}

    def test_is_throttled_like_a_known_one_that_shows_an_assertion(self, client: FlaskClient, cast: Cast) -> None:
        holder = KeyHolder(cast.acme, KEYS["ES256"]())
        for client_id in (cast.acme.client_id, str(uuid.uuid4()), "nobody"):
            forms = [holder.form_of(client_id) for _ in range(FAILURES_A_MINUTE + 2)]
            answers = [
                whole(client.post(CLIENT_PATHS[0], data=form, environ_base={"REMOTE_ADDR": HERE})) for form in forms
            ]
            assert answers == ALLOWED + [THROTTLED] * 2
            # A client has one throttle, whatever it authenticates with.
            assert whole(ask(client, client_id)) == THROTTLED


@pytest.mark.slow
class TestWorkers:
    """The throttle is in the database."""

    @pytest.fixture
    def other_app(self, database_url: str, clock: Clock) -> Iterator[Flask]:
        """Another process's."""
        app = create_app(settings_for(database_url), clock=clock)
        with closing(app.extensions["agentidp"]):
            yield app

    @ON_CITUS_TOO
    def test_admit_as_many_as_there_may_be_when_they_fail_at_once(
        self, app: Flask, other_app: Flask, cast: Cast, services: Services, database_url: str
    ) -> None:
        colleague = make_agent(services, cast.acme.organization_id, "colleague")
        victims = [cast.acme, colleague, cast.outsider]
        addresses = [HERE, THERE, "2001:db8::1"]
        answers: Counter[tuple[str, str, int]] = Counter()
        lock = threading.Lock()

        def fail(number: int) -> None:
            client = (app, other_app)[number % 2].test_client()
            for turn in range(36):
                victim = victims[(turn + number) % 3]
                address = addresses[(turn // 3 + number // 2) % 3]
                status = ask(client, victim.client_id, address=address).status_code
                with lock:
                    answers[victim.client_id, address, status] += 1

        threads = [threading.Thread(target=fail, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        # Eight times thirty-six, over nine pairs.
        assert answers == {
            (victim.client_id, address, status): number
            for victim in victims
            for address in addresses
            for status, number in ((401, FAILURES_A_MINUTE), (429, 32 - FAILURES_A_MINUTE))
        }
        organizations = (cast.acme.organization_id, cast.outsider.organization_id)
        assert [usage_sums(database_url, each)["rejected"] for each in organizations] == [2 * 96, 96]


@pytest.fixture
def cell(cast: Cast) -> int:
    """The cell of Acme's agent from an address."""
    return throttle.cell_of(SECRET_KEY.encode(), cast.acme.client_id, HERE)


def store(url: str, *cells: tuple[int, datetime]) -> None:
    """Put cells into the table."""
    with psycopg.connect(url) as connection:
        for cell in cells:
            connection.execute("insert into throttles values (%s, %s, %s)", [UNKNOWN_ORGANIZATION, *cell])


@pytest.mark.slow
class TestTheTable:
    """It stays small."""

    def test_forgets_those_nearby_that_nobody_holds_and_no_other(
        self, client: FlaskClient, cast: Cast, clock: Clock, database_url: str, cell: int
    ) -> None:
        limit = clock() - timedelta(minutes=1)
        rest, held = limit - timedelta(microseconds=1), cell + 9
        # The client's next failure finds the last one as if it had been forgotten; in general, it is not at rest.
        kept = {cell - 1: rest, cell + throttle.NEARBY: rest, cell + 5: limit}
        store(database_url, *kept.items(), *((n, rest) for n in (held, cell + 3, cell + throttle.NEARBY - 1)))
        with psycopg.connect(database_url) as connection:
            connection.execute("select from throttles where cell = %s for update", [held])
            assert whole(ask(client, cast.acme.client_id)) == FAILED
        assert set(rows(database_url)) == {*kept, held, cell}

    def test_forgets_ten_at_a_time(
        self, client: FlaskClient, cast: Cast, clock: Clock, database_url: str, cell: int
    ) -> None:
        store(database_url, *((cell + n, clock() - timedelta(hours=1)) for n in range(1, 101)))
        assert whole(ask(client, cast.acme.client_id)) == FAILED
        assert len(rows(database_url)) == 91

    def test_has_cells_that_only_the_instance_can_name(self) -> None:
        named = [("one", "client", HERE), ("two", "client", HERE), ("one", "another", HERE)]
        named += [("one", "client", THERE), ("one", "client", "")]
        cells = [throttle.cell_of(key.encode() * 20, client_id, address) for key, client_id, address in named]
        assert len(set(cells)) == 5
        assert all(0 <= one < throttle.CELLS for one in cells)
        assert throttle.cell_of(b"one" * 20, "client", HERE) == cells[0]


class TestAServerWhoseClockIsWrong:
    """It keeps nobody from anything at the others."""

    def test_throttles_nobody_by_a_failure_an_hour_ahead(
        self, client: FlaskClient, clock: Clock, cast: Cast, database_url: str
    ) -> None:
        app = create_app(settings_for(database_url), clock=Clock(clock() + timedelta(hours=1)))
        with closing(app.extensions["agentidp"]):
            failures(app.test_client(), cast.acme.client_id, 15)
        answers = failures(client, cast.acme.client_id, FAILURES_A_MINUTE + 2)
        assert answers == ALLOWED + [THROTTLED] * 2

    @pytest.mark.parametrize(("beyond", "answer"), [(0, THROTTLED), (1, FAILED)])
    def test_is_believed_up_to_two_leeways(
        self, client: FlaskClient, clock: Clock, cast: Cast, database_url: str, cell: int, beyond: int, answer: Whole
    ) -> None:
        latest = clock() + timedelta(seconds=6 + 2 * LEEWAY, microseconds=beyond)
        store(database_url, (cell, latest))
        # No response says to wait for longer than one failure takes to be forgotten.
        assert whole(ask(client, cast.acme.client_id)) == answer
        assert rows(database_url)[cell] == (latest if answer == THROTTLED else clock() - timedelta(seconds=48))


class TestTheAddressBehindAProxy:
    """``AGENTIDP_TRUSTED_PROXIES``."""

    @contextmanager
    def behind(self, database_url: str, clock: Clock, proxies: int) -> Iterator[FlaskClient]:
        app = create_app(settings_for(database_url, trusted_proxies=proxies), clock=clock)
        with closing(app.extensions["agentidp"]):
            yield app.test_client()

    def test_is_not_what_the_client_says_where_no_proxy_is_trusted(self, client: FlaskClient, cast: Cast) -> None:
        answers = [
            whole(ask(client, cast.acme.client_id, forwarded=f"203.0.113.{n}")) for n in range(FAILURES_A_MINUTE + 1)
        ]
        assert answers == [*ALLOWED, THROTTLED]
        # Nor does it fall upon whom the client names.
        assert whole(ask(client, cast.acme.client_id, address="203.0.113.1")) == FAILED

    @pytest.mark.parametrize(("proxies", "behind"), [(1, ""), (2, ", 10.0.0.1"), (3, ",10.0.0.2, 10.0.0.1")])
    def test_is_what_the_outermost_trusted_proxy_has_added(
        self, database_url: str, clock: Clock, cast: Cast, proxies: int, behind: str
    ) -> None:
        with self.behind(database_url, clock, proxies) as client:
            for number in range(FAILURES_A_MINUTE):
                forged = f"203.0.113.{number}, {HERE}{behind}"
                assert whole(ask(client, cast.acme.client_id, address="10.0.0.9", forwarded=forged)) == FAILED
            # From a UNIX socket there is no address but this.
            for address, answer in ((HERE, THROTTLED), (THERE, FAILED)):
                response = ask(client, cast.acme.client_id, address="", forwarded=f"{address}{behind}")
                assert whole(response) == answer

    def test_is_the_peers_where_the_proxy_says_nothing(self, database_url: str, clock: Clock, cast: Cast) -> None:
        with self.behind(database_url, clock, 1) as client:
            assert failures(client, cast.acme.client_id, FAILURES_A_MINUTE + 1) == [*ALLOWED, THROTTLED]

    def test_is_all_that_is_believed_of_a_proxy(self, database_url: str, clock: Clock) -> None:
        forged = {"For": HERE, "Host": "evil.example", "Proto": "https", "Prefix": "/evil", "Port": "1"}
        headers = {f"X-Forwarded-{name}": value for name, value in forged.items()}
        believed = []
        with self.behind(database_url, clock, 1) as client:

            @client.application.before_request
            def listen() -> None:
                believed.append((request.url, request.remote_addr))

            assert client.get("/.well-known/oauth-authorization-server", headers=headers).status_code == 200
        assert believed == [("http://localhost/.well-known/oauth-authorization-server", HERE)]


def test_a_failure_that_cannot_be_counted_is_a_503_and_counts_nowhere(
    client: FlaskClient, database_url: str, clock: Clock, cast: Cast
) -> None:
    ask(client, cast.acme.client_id)
    before = rows(database_url)
    app = create_app(settings_for(database_url, statement_timeout=0.3), clock=clock)
    with closing(app.extensions["agentidp"]), psycopg.connect(database_url) as connection:
        connection.execute("select from throttles for update")
        with within(2):
            response = ask(app.test_client(), cast.acme.client_id)
        description = "The service is temporarily unavailable; try again."
        assert whole(response) == refused("temporarily_unavailable", description, 503, **{"Retry-After": "1"})
        # Whoever holds no throttle of a client does not keep it from its tokens.
        assert ask(client, cast.acme.client_id, cast.acme.client_secret).status_code == 200
    assert rows(database_url) == before
    assert usage_sums(database_url, cast.acme.organization_id)["rejected"] == 1
    assert whole(ask(client, cast.acme.client_id)) == FAILED


def test_refused_bearer_tokens_are_not_throttled(client: FlaskClient, cast: Cast) -> None:
    forged = {"Authorization": f"Bearer {cast.acme.token()[:-8]}AAAAAAAA"}
    for _ in range(30):
        answer = client.get("/api/v1/analytics/tokens", headers=forged, environ_base={"REMOTE_ADDR": HERE})
        assert answer.status_code == 401
    assert ask(client, cast.acme.client_id, cast.acme.client_secret).status_code == 200


def test_requests_that_name_no_client_are_not_throttled(client: FlaskClient, database_url: str) -> None:
    here = {"REMOTE_ADDR": HERE}
    for headers in ({"Authorization": header} for header in ("Basic", "Basic !", "Digest x")):
        for _ in range(15):
            assert whole(client.post(CLIENT_PATHS[0], data=GRANT, headers=headers, environ_base=here)) == FAILED
    for _ in range(15):
        assert whole(client.post(CLIENT_PATHS[0], data=GRANT, environ_base=here)) == FAILED
    assert rows(database_url) == {}


def test_a_suspended_agent_is_throttled_like_one_with_a_wrong_secret(
    client: FlaskClient, cast: Cast, services: Services
) -> None:
    agent: Agent = make_agent(services, cast.acme.organization_id, "idle")
    path = f"/api/v1/agents/{agent.agent_id}"
    assert client.patch(path, json={"status": "suspended"}, headers=cast.acme.bearer()).status_code == 200
    answers = [whole(ask(client, agent.client_id, agent.client_secret)) for _ in range(FAILURES_A_MINUTE + 2)]
    assert answers == ALLOWED + [THROTTLED] * 2
