"""Failed authentications are throttled by client and address; the right credential is never refused."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import psycopg
import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.counting import UNKNOWN_ORGANIZATION
from agentidp.jose.access_token import LEEWAY
from agentidp.oauth import throttle
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import SECRET_KEY, Clock, execute, usage_sums
from tests.machine import within
from tests.oauth.clients import FAILED, GRANT, KEYS, KeyHolder, Whole, process, refused, whole
from tests.routes import CLIENT_PATHS

HERE, THERE = "192.0.2.1", "198.51.100.1"
SPELLED_WRONG = "8D9C1A52-0000-4000-8000-ABCDEFABCDEF"
"""A UUID in upper case, which no client has."""

WAIT = {"Retry-After": f"{throttle.INTERVAL.total_seconds():g}"}
THROTTLED = refused("temporarily_unavailable", "too many failed authentications; try again later", 429, **WAIT)
ALLOWED = [FAILED] * MAX_FAILURES_PER_MINUTE


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
    """Send a request with ``client_secret_post`` from an address."""
    secret = {"token": "none", "client_id": client_id, "client_secret": shown}
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return client.post(path, data=GRANT | secret | form, headers=headers, environ_base={"REMOTE_ADDR": address})


def failures(client: FlaskClient, client_id: str, number: int, address: str = HERE) -> list[Whole]:
    """Return the responses to a number of failed authentications."""
    return [whole(ask(client, client_id, address=address)) for _ in range(number)]


def exhaust(client: FlaskClient, client_id: str, address: str = HERE) -> None:
    """Fail as often as a client may from an address."""
    assert failures(client, client_id, MAX_FAILURES_PER_MINUTE, address) == ALLOWED


def rows(url: str) -> dict[int, datetime]:
    """Return the cells in the table."""
    return dict(execute(url, "select cell, admits_at from throttles"))


class TestAClientFromAnAddress:
    """Ten failures at once are admitted, then one per six seconds."""

    @ON_CITUS_TOO
    def test_is_throttled_alike_wherever_it_fails_and_nobody_else_is(self, client: FlaskClient, cast: Cast) -> None:
        paths = CLIENT_PATHS * MAX_FAILURES_PER_MINUTE
        answers = [whole(ask(client, cast.acme.client_id, path=path)) for path in paths[: MAX_FAILURES_PER_MINUTE + 3]]
        assert answers == ALLOWED + [THROTTLED] * 3
        assert whole(ask(client, cast.acme.client_id, address=THERE)) == FAILED
        for other in (cast.acme.colleague(), cast.outsider):
            assert ask(client, other.client_id, other.client_secret).status_code == 200
            assert whole(ask(client, other.client_id)) == FAILED

    def test_gets_one_try_with_every_six_seconds_and_saves_up_no_more_than_ten(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        acme = cast.acme.client_id
        exhaust(client, acme)
        clock.advance(seconds=6, microseconds=-1)
        # Further failures do not make the wait longer.
        assert failures(client, acme, 20) == [THROTTLED] * 20
        clock.advance(microseconds=1)
        assert failures(client, acme, 2) == [FAILED, THROTTLED]
        clock.advance(seconds=29)
        assert failures(client, acme, 6) == [FAILED] * 4 + [THROTTLED] * 2
        clock.advance(hours=1)
        assert failures(client, acme, MAX_FAILURES_PER_MINUTE + 2) == ALLOWED + [THROTTLED] * 2

    def test_is_not_throttled_for_what_is_no_failed_authentication_or_names_no_client(
        self, client: FlaskClient, cast: Cast, database_url: str
    ) -> None:
        acme, here = cast.acme, {"REMOTE_ADDR": HERE}
        for _ in range(15):
            assert ask(client, acme.client_id, acme.client_secret).status_code == 200
            assert ask(client, acme.client_id, acme.client_secret, scope="no:such").json["error"] == "invalid_scope"
            for headers in ({}, *({"Authorization": header} for header in ("Basic", "Basic !", "Digest x"))):
                response = client.post(CLIENT_PATHS[0], data=GRANT, headers=headers, environ_base=here)
                assert (response.status_code, response.json["error"]) == (401, "invalid_client")
        assert rows(database_url) == {}


@pytest.mark.slow
class TestTheRightCredential:
    """The right credential is never refused, whatever others do."""

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

    @ON_CITUS_TOO
    def test_changes_nothing_about_what_the_failures_count(self, client: FlaskClient, cast: Cast) -> None:
        exhaust(client, cast.acme.client_id)
        for _ in range(5):
            assert whole(ask(client, cast.acme.client_id)) == THROTTLED
            assert ask(client, cast.acme.client_id, cast.acme.client_secret).status_code == 200
        sums = cast.acme.sums()
        assert sums == {name: 15 if "rejected" in name else 5 for name in sums}


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        # All unknown addresses count as one.
        ("", "unknown", True),
        ("", "192.0.2.1:4711", True),
    ],
)
def test_an_address_is_known_by_its_network(one: str, other: str, is_one: bool) -> None:
    cells = {throttle.compute_throttle_cell(SECRET_KEY.encode(), "client", address) for address in (one, other)}
    assert (len(cells) == 1) is is_one


class TestAnUnknownClient:
    """The throttle does not reveal which clients exist."""

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
            answers = [whole(ask(client, client_id, path=path)) for _ in range(MAX_FAILURES_PER_MINUTE + 2)]
            for _ in range(3):
                clock.advance(seconds=3)
                answers.append(whole(ask(client, client_id, path=path)))
            clock.now = begin
            return answers

        known = story(cast.acme.client_id)
        assert known == ALLOWED + [THROTTLED] * 3 + [FAILED, THROTTLED]
        assert story(unknown) == known
        # Another unknown client is not throttled.
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
            forms = [holder.form_of(client_id) for _ in range(MAX_FAILURES_PER_MINUTE + 2)]
            answers = [
                whole(client.post(CLIENT_PATHS[0], data=form, environ_base={"REMOTE_ADDR": HERE})) for form in forms
            ]
            assert answers == ALLOWED + [THROTTLED] * 2
            # A client has one throttle for all its credentials.
            assert whole(ask(client, client_id)) == THROTTLED


@pytest.mark.slow
class TestWorkers:
    """All workers share the throttle, which is in the database."""

    @ON_CITUS_TOO
    def test_admit_as_many_as_there_may_be_when_they_fail_at_once(
        self, app: Flask, clock: Clock, cast: Cast, database_url: str
    ) -> None:
        victims = [cast.acme, cast.acme.colleague(), cast.outsider]
        addresses = [HERE, THERE, "2001:db8::1"]

        def fail(number: int) -> Counter[tuple[str, str, int]]:
            client = (app, other.application)[number % 2].test_client()
            answers: Counter[tuple[str, str, int]] = Counter()
            for turn in range(36):
                victim = victims[(turn + number) % 3]
                address = addresses[(turn // 3 + number // 2) % 3]
                answers[victim.client_id, address, ask(client, victim.client_id, address=address).status_code] += 1
            return answers

        with process(database_url, clock) as other, ThreadPoolExecutor(8) as threads:
            answers = sum(threads.map(fail, range(8)), Counter())
        # Eight times thirty-six, over nine pairs.
        assert answers == {
            (victim.client_id, address, status): number
            for victim in victims
            for address in addresses
            for status, number in ((401, MAX_FAILURES_PER_MINUTE), (429, 32 - MAX_FAILURES_PER_MINUTE))
        }
        assert (cast.acme.sums()["rejected"], cast.outsider.sums()["rejected"]) == (2 * 96, 96)


@pytest.fixture
def cell(cast: Cast) -> int:
    """Return the cell of Acme's agent for an address."""
    return throttle.compute_throttle_cell(SECRET_KEY.encode(), cast.acme.client_id, HERE)


def store(url: str, *cells: tuple[int, datetime]) -> None:
    """Put cells into the table."""
    for cell in cells:
        execute(url, "insert into throttles values (%s, %s, %s)", UNKNOWN_ORGANIZATION, *cell)


@pytest.mark.slow
class TestTheTable:
    """The table stays small."""

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
        named: list[tuple[str, str, str | None]] = [("one", "client", HERE), ("two", "client", HERE)]
        # Nobody whose address is unknown reaches a throttle of all addresses, such as of audit events, by a client_id.
        named += [("one", "another", HERE), ("one", "client", THERE), ("one", "client", ""), ("one", "client", None)]
        cells = [
            throttle.compute_throttle_cell(key.encode() * 20, client_id, address) for key, client_id, address in named
        ]
        assert len(set(cells)) == 6
        assert all(0 <= cell < throttle.CELLS for cell in cells)
        assert throttle.compute_throttle_cell(b"one" * 20, "client", HERE) == cells[0]


class TestAServerWhoseClockIsWrong:
    """A server with a wrong clock does not throttle clients at other servers."""

    def test_throttles_nobody_by_a_failure_an_hour_ahead(
        self, client: FlaskClient, clock: Clock, cast: Cast, database_url: str
    ) -> None:
        with process(database_url, Clock(clock() + timedelta(hours=1))) as ahead:
            failures(ahead, cast.acme.client_id, 15)
        answers = failures(client, cast.acme.client_id, MAX_FAILURES_PER_MINUTE + 2)
        assert answers == ALLOWED + [THROTTLED] * 2

    @pytest.mark.parametrize(("beyond", "answer"), [(0, THROTTLED), (1, FAILED)])
    def test_is_believed_up_to_two_leeways(
        self, client: FlaskClient, clock: Clock, cast: Cast, database_url: str, cell: int, beyond: int, answer: Whole
    ) -> None:
        latest = clock() + timedelta(seconds=6 + 2 * LEEWAY, microseconds=beyond)
        store(database_url, (cell, latest))
        # No response asks to wait longer than until one failure is forgotten.
        assert whole(ask(client, cast.acme.client_id)) == answer
        assert rows(database_url)[cell] == (latest if answer == THROTTLED else clock() - timedelta(seconds=48))


class TestTheAddressBehindAProxy:
    """``AGENTIDP_TRUSTED_PROXIES``."""

    def test_is_not_what_the_client_says_where_no_proxy_is_trusted(self, client: FlaskClient, cast: Cast) -> None:
        answers = [
            whole(ask(client, cast.acme.client_id, forwarded=f"203.0.113.{n}"))
            for n in range(MAX_FAILURES_PER_MINUTE + 1)
        ]
        assert answers == [*ALLOWED, THROTTLED]
        # The client's header does not throttle the address that it names.
        assert whole(ask(client, cast.acme.client_id, address="203.0.113.1")) == FAILED

    @pytest.mark.parametrize(("proxies", "behind"), [(1, ""), (2, ", 10.0.0.1"), (3, ",10.0.0.2, 10.0.0.1")])
    def test_is_what_the_outermost_trusted_proxy_has_added(
        self, database_url: str, clock: Clock, cast: Cast, proxies: int, behind: str
    ) -> None:
        with process(database_url, clock, trusted_proxies=proxies) as client:
            for number in range(MAX_FAILURES_PER_MINUTE):
                forged = f"203.0.113.{number}, {HERE}{behind}"
                assert whole(ask(client, cast.acme.client_id, address="10.0.0.9", forwarded=forged)) == FAILED
            # A UNIX socket has no address, so only the header has one.
            for address, answer in ((HERE, THROTTLED), (THERE, FAILED)):
                response = ask(client, cast.acme.client_id, address="", forwarded=f"{address}{behind}")
                assert whole(response) == answer

    def test_is_all_that_is_believed_of_a_proxy(self, database_url: str, clock: Clock) -> None:
        forged = {"For": HERE, "Host": "evil.example", "Proto": "https", "Prefix": "/evil", "Port": "1"}
        headers = {f"X-Forwarded-{name}": value for name, value in forged.items()}
        believed = []
        with process(database_url, clock, trusted_proxies=1) as client:

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
    with process(database_url, clock, statement_timeout=0.3) as other, psycopg.connect(database_url) as connection:
        connection.execute("select from throttles for update")
        with within(2):
            response = ask(other, cast.acme.client_id)
        description = "The service is temporarily unavailable; try again."
        assert whole(response) == refused("temporarily_unavailable", description, 503, **{"Retry-After": "1"})
        # Whoever holds no throttle of a client does not keep it from its tokens.
        assert ask(client, cast.acme.client_id, cast.acme.client_secret).status_code == 200
    assert rows(database_url) == before
    assert cast.acme.sums()["rejected"] == 1
    assert whole(ask(client, cast.acme.client_id)) == FAILED
