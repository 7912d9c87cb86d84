"""A disposable PostgreSQL, a fresh database for each test, and a fixed cast of two organizations.

Which application a test uses:

| fixture | its database | for |
|---|---|---|
| ``app`` | a fresh one for each test. In rooms that import ``tests/sharing.py`` it is ``shared_app`` | most tests |
| ``own_app`` | that of ``app`` | a test that adds a route, or that needs its own connections in such a room |
| ``shared_app`` | one for each module | tests that do not look at what other tests write |
| ``wired_app`` | none | a test that only reads what is registered, such as the views |
"""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import hmac
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import CodeType
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from _pytest.terminal import TerminalReporter
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from werkzeug.test import TestResponse
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from agentidp import create_app
from agentidp.clock import utc_now
from agentidp.config import Settings
from agentidp.db.distribution import distribute
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from agentidp.jose import signing_keys
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.services import Services
from tests import citus
from tests.directory import open_directory
from tests.factories import (
    PATIENCE,
    ROOT,
    SECRET_KEY,
    Agent,
    Clock,
    Server,
    close_owner_connection,
    make_agent,
    make_organization,
    make_organizations,
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts a background job like this, and every server that a test starts would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def settings_for(url: str, **changes: object) -> Settings:
    """The settings of a test: four connections at most, and nothing from the environment but which path it runs on."""
    values: dict[str, object] = {
        "database_url": url,
        "data_dir": Path("/nonexistent"),
        "secret_key": SECRET_KEY.encode(),
        "pool_max_size": 4,
        "fast_path": os.environ.get("AGENTIDP_FAST_PATH") or "on",
    }
    return Settings(**(values | changes))  # type: ignore[arg-type]


def install(url: str) -> None:
    """Give a database the schema and a signing key."""
    migrate(url)
    ensure_signing_key(settings_for(url), at=utc_now())


def new_agent(url: str) -> Agent:
    """An agent of an organization of its own in the database of a server."""
    with contextlib.closing(Services.of(settings_for(url), utc_now)) as services:
        return make_agent(services, make_organization(services))


LONGEST = {"statement_timeout": 23.0, "pool_timeout": 25.0}
"""The settings with which requests wait as long as they may, so that none fails because the machine is slow, or because
another transaction of its test holds what it waits for.
"""


class Installation(Enum):
    """A PostgreSQL that a test asks for. One of Debian's is asked for by the directory of its programs instead.

    ``DEFAULT`` is what a test gets that asks for none, and ``MISSING`` stands for Debian's if there is none.
    """

    DEFAULT = "postgresql"
    WHEEL = "wheel"
    MISSING = "missing"
    CITUS = "citus"


# The oldest: another one may be there for Citus only.
DEBIANS = [file.parent for file in sorted(Path("/usr/lib/postgresql").glob("1[5-9]/bin/postgres"))][:1]
INSTALLATIONS = [
    Installation.WHEEL,
    *(pytest.param(bindir, marks=pytest.mark.program) for bindir in DEBIANS or [Installation.MISSING]),
]
"""The wheel's PostgreSQL, and that of Debian's packages, of which there must be one."""


def name_of_installation(installation: Installation | Path) -> str:
    """What the ids of the tests call it: ``wheel``, for example, or the major version of Debian's."""
    return installation.parent.name if isinstance(installation, Path) else installation.value


ON_EVERY_POSTGRES = pytest.mark.parametrize(
    "postgres_url", INSTALLATIONS, ids=name_of_installation, indirect=True, scope="session"
)
"""Run a test once on each PostgreSQL installation: plans depend on the version."""


EVERYWHERE = os.environ.get("AGENTIDP_TEST_CITUS") == "everywhere"
"""Whether each test that gets a database gets one on the cluster."""

ON_CITUS_TOO = pytest.mark.parametrize(
    "postgres_url",
    # Everywhere, the default is the cluster already.
    [Installation.DEFAULT, *([] if EVERYWHERE else [pytest.param(Installation.CITUS, marks=pytest.mark.citus)])],
    ids=name_of_installation,
    indirect=True,
    scope="session",
)
"""Run a test a second time on the distributed tables of a Citus cluster."""

ON_CITUS = pytest.mark.parametrize(
    "postgres_url",
    [pytest.param(Installation.CITUS, marks=pytest.mark.citus)],
    ids=name_of_installation,
    indirect=True,
    scope="session",
)
"""Run a test on the distributed tables of a Citus cluster only."""


def bindir_of(installation: Installation | Path) -> Path | None:
    """The directory of its programs, ``None`` for the wheel's; the test fails if Debian's PostgreSQL is missing."""
    if installation is Installation.MISSING:
        pytest.fail("The tests need Debian's PostgreSQL beside the wheel's: apt-get install postgresql", pytrace=False)
    return installation if isinstance(installation, Path) else None


@pytest.fixture(scope="session")
def needs_citus() -> None:
    """Skips the test if Citus is not installed, and fails if every test is to run on it."""
    if reason := citus.missing():
        if os.environ.get("AGENTIDP_TEST_CITUS"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(needs_citus: None) -> Iterator[citus.Cluster]:
    """A Citus cluster."""
    with citus.cluster() as running:
        yield running


def store_password_for_quick_logins(url: str) -> None:
    """Hash the superuser's password once instead of 4096 times, because each connection of a test computes the hash."""
    parts, salt = conninfo_to_dict(url), os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", str(parts["password"]).encode(), salt, 1)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    salt_text, *keys = (
        base64.b64encode(value).decode() for value in (salt, stored_key, hmac.digest(salted, b"Server Key", "sha256"))
    )
    statement = sql.SQL("alter role {} password {}")
    verifier = f"SCRAM-SHA-256$1:{salt_text}${':'.join(keys)}"
    _administrator(url).execute(statement.format(sql.Identifier(str(parts["user"])), sql.Literal(verifier)))


@pytest.fixture(scope="session")
def start_postgres() -> Iterator[Callable[[Installation | Path], str]]:
    """Start the server of an installation once, and return its URL."""
    urls: dict[Installation | Path, str] = {}
    with contextlib.ExitStack() as servers:

        def start(installation: Installation | Path) -> str:
            if installation not in urls:
                urls[installation] = servers.enter_context(temporary(bindir=bindir_of(installation))).url
                store_password_for_quick_logins(urls[installation])
            return urls[installation]

        yield start
        close_owner_connection()
        while ADMINISTRATORS:
            ADMINISTRATORS.popitem()[1].close()


@pytest.fixture(scope="session")
def postgres_url(start_postgres: Callable[[Installation | Path], str], request: pytest.FixtureRequest) -> str:
    """A server that may create databases: the one that ON_EVERY_POSTGRES or ON_CITUS asks for, or else one with the
    programs in AGENTIDP_TEST_PG_BINDIR, if it is set.
    """
    asked = getattr(request, "param", Installation.DEFAULT)
    is_default = asked is Installation.DEFAULT
    if asked is Installation.CITUS or (is_default and EVERYWHERE):
        running: citus.Cluster = request.getfixturevalue("cluster")
        return running.coordinator.url("postgres")
    if not is_default:
        return start_postgres(asked)
    bindir = os.environ.get("AGENTIDP_TEST_PG_BINDIR")
    return start_postgres(Path(bindir) if bindir else Installation.WHEEL)


def with_database(url: str, name: str) -> str:
    """*url* with another database's name, as a URL."""
    parts = conninfo_to_dict(url)
    query = "&".join(f"{k}={parts[k]}" for k in ("host", "port") if k in parts)
    return f"postgresql://{quote(str(parts.get('user', '')))}:{quote(str(parts.get('password', '')))}@/{name}?{query}"


@pytest.fixture(scope="session")
def make_template() -> Callable[[str], str]:
    """Make a migrated database with a signing key on a server once, and return its name."""
    names: dict[str, str] = {}

    def make(postgres_url: str) -> str:
        if postgres_url not in names:
            name = f"agentidp_template_{uuid.uuid4().hex[:8]}"
            url = with_database(postgres_url, name)
            _create(postgres_url, name, None)
            install(url)
            if running := citus.RUNNING.get(postgres_url):
                list(distribute(url))
                running.make_template(name)
            names[postgres_url] = name
        return names[postgres_url]

    return make


@pytest.fixture(scope="session")
def template(make_template: Callable[[str], str], postgres_url: str) -> str:
    """The name of a migrated database with a signing key, to copy. On a cluster its tables are distributed."""
    return make_template(postgres_url)


@pytest.fixture(autouse=True)
def _no_reading_of_the_keys_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that several tests share would read the keys beside a request whose statements are counted."""
    monkeypatch.setattr(signing_keys, "CACHE_SECONDS", 3600)


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A fresh database without a schema."""
    yield from _fresh_database(postgres_url, None)


@pytest.fixture
def database_url(postgres_url: str, template: str) -> Iterator[str]:
    """A fresh, migrated database."""
    yield from _fresh_database(postgres_url, template)


def _fresh_database(postgres_url: str, template: str | None) -> Iterator[str]:
    name = f"agentidp_test_{uuid.uuid4().hex[:12]}"
    _create(postgres_url, name, template)
    try:
        yield with_database(postgres_url, name)
    finally:
        _drop(postgres_url, name)


def _create(postgres_url: str, name: str, template: str | None) -> None:
    if running := citus.RUNNING.get(postgres_url):
        if template is None:
            running.create(name)
        else:
            running.copy(template, name)
        return
    # The server runs without fsync, so copying the files is faster.
    statement = sql.SQL("create database {} template {} strategy file_copy")
    _administrator(postgres_url).execute(
        statement.format(sql.Identifier(name), sql.Identifier(template or "template0"))
    )


def _drop(postgres_url: str, name: str) -> None:
    if running := citus.RUNNING.get(postgres_url):
        running.drop(name)
        return
    _administrator(postgres_url).execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


ADMINISTRATORS: dict[str, psycopg.Connection] = {}
"""URL of a server -> the connection that makes and drops the databases of the tests there."""


def _administrator(postgres_url: str) -> psycopg.Connection:
    kept = ADMINISTRATORS.get(postgres_url)
    if kept is None or kept.closed:
        ADMINISTRATORS[postgres_url] = kept = psycopg.connect(postgres_url, autocommit=True)
    return kept


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for a server of PostgreSQL and its files."""
    with open_directory() as path:
        yield path


@pytest.fixture
def clock() -> Clock:
    """What the application takes for now; stands at noon of Wednesday, 15 April 2026."""
    return Clock()


class WholeResponses(FlaskClient):
    """A client that receives each response to its end, as one of a server does. Flask's own leaves a response that is
    made in parts open, and its turn in the fair queue with it, unless a test reads it.
    """

    def open(self, *args: Any, buffered: bool = True, **kwargs: Any) -> TestResponse:
        """Send a request.

        :param buffered: ``False`` for a test that looks at the parts of a response.
        """
        return super().open(*args, buffered=buffered, **kwargs)


Flask.test_client_class = WholeResponses


class CompiledTemplates(BytecodeCache):
    """Keeps the templates that this process has compiled, because each application compiles its own otherwise."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give a template its code if an application has compiled it before."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


Flask.jinja_options = {"bytecode_cache": CompiledTemplates()}


def end(services: Services) -> None:
    """Close the services, after each of their requests has left the fair queue."""
    services.close()
    assert services.fair_queue.is_empty(), "a response was made and its turn did not end"


@pytest.fixture(scope="session")
def wired_app() -> Flask:
    """The application without services. To wire it takes longer than most tests, and no test may change it."""
    return create_app(settings_for("postgresql:///none"))


@pytest.fixture(scope="session")
def wired_shared_app() -> Flask:
    """The same, for the modules that share an application, because a test may use both."""
    return create_app(settings_for("postgresql:///none"))


@pytest.fixture
def app(wired_app: Flask, database_url: str, clock: Clock) -> Iterator[Flask]:
    """The application on a fresh database, with services of its own. Flask refuses a further route."""
    services = wired_app.extensions["agentidp"] = Services.of(settings_for(database_url, **LONGEST), clock)
    yield wired_app
    end(services)


@pytest.fixture
def own_app(database_url: str, clock: Clock) -> Iterator[Flask]:
    """The same, wired for one test, which may add a route."""
    app = create_app(settings_for(database_url, **LONGEST), clock=clock)
    yield app
    end(app.extensions["agentidp"])


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of the application."""
    return app.test_client()


@pytest.fixture
def services(app: Flask) -> Services:
    """The application's services."""
    found: Services = app.extensions["agentidp"]
    return found


@dataclass
class Cast:
    """Two organizations. The outsider has everything that Acme has, and must see nothing of it."""

    acme: Agent
    outsider: Agent


def make_cast(services: Services) -> Cast:
    """An agent with every scope in each of two new organizations."""
    acme, outsider = make_organizations(services, "Acme", "Outsider")
    return Cast(acme=make_agent(services, acme), outsider=make_agent(services, outsider))


@pytest.fixture
def cast(services: Services) -> Cast:
    """An agent with every scope in each of two organizations."""
    return make_cast(services)


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    """gunicorn on a fresh database."""
    with Server({"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}) as running:
        yield running


@pytest.fixture
def midnight_is_far() -> None:
    """The day, and so the month, does not end during the test: it begins after midnight if that is near."""
    left = 86_400 - time.time() % 86_400
    if left < 2 * PATIENCE:
        time.sleep(left)


@pytest.fixture(scope="module")
def shared_app(wired_shared_app: Flask, postgres_url: str, template: str) -> Iterator[Flask]:
    """The application on a database that the tests of a module share: for those that change nothing that counts."""
    with contextlib.contextmanager(_fresh_database)(postgres_url, template) as url:
        services = wired_shared_app.extensions["agentidp"] = Services.of(settings_for(url, **LONGEST), Clock())
        yield wired_shared_app
        end(services)


@pytest.fixture(scope="module")
def shared_client(shared_app: Flask) -> FlaskClient:
    """A client of the shared application."""
    return shared_app.test_client()


@pytest.fixture(scope="module")
def shared_cast(shared_app: Flask) -> Cast:
    """The cast in the shared application."""
    return make_cast(shared_app.extensions["agentidp"])


@pytest.fixture
def quiet() -> Iterator[None]:
    """Commands set up logging for their process, which is this one; it is undone here."""
    names = ("agentidp", "gunicorn.error", "gunicorn.access")
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what pytest collects out of the garbage collector, which would look at it again and again in vain."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


ROOMS_WITH_A_MARKER = {"browser", "containers", "deploy", "faults"}
"""Rooms whose tests all have the marker of the room's name."""

FIXTURES_WITH_A_SERVER = {"server", "running", "provider"}
"""Fixtures that run gunicorn in a process of its own: the tests that use them are slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ``make test`` leaves out and whose room, or whose fixture, says so. On Citus, those that
    cannot apply there must fail: one that passes makes the run fail, so that no mark outlives its reason.
    """
    for item in items:
        if EVERYWHERE and (mark := item.get_closest_marker("not_on_citus")):
            item.add_marker(pytest.mark.xfail(reason=mark.args[0], **{"strict": True} | mark.kwargs))
        room = item.path.relative_to(ROOT / "tests").parts[0]
        if room in ROOMS_WITH_A_MARKER:
            item.add_marker(room)
        is_very_slow = item.get_closest_marker("very_slow") is not None
        if is_very_slow or FIXTURES_WITH_A_SERVER & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


LONGEST_FILES = (
    "network",
    "tests/faults/test_faults.py",
    "tests/server/test_serve.py",
    "tests/test_bench.py",
    "tests/http/test_openapi.py",
    "tests/fast_path/test_worker.py",
    "tests/test_exactness.py",
    "tests/cli/test_confirmation.py",
    "tests/faults/test_citus.py",
    "tests/faults/test_quotas.py",
    "tests/http/test_generated_clients.py",
    "tests/deploy/test_install.py",
    "tests/maintenance/test_guide.py",
    "tests/deploy/test_two_servers.py",
)
"""Files with few tests that take long. They begin first, so that no process waits for the last of them in the end."""


class OneNetwork(LoadFileScheduling):
    """A file on each core, as with ``--dist loadfile``, but the browser and the containers all on one.

    When containers start, the machine gets network interfaces, and Chromium then ends what it is loading with
    ERR_NETWORK_CHANGED.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "network" if file.startswith(("tests/browser/", "tests/containers/")) else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process the longest of the files that remain, or else the one with the most tests."""
        if scope := next((scope for scope in LONGEST_FILES if scope in self.workqueue), None):
            self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneNetwork | None:
    """How tests are dealt out to the processes of pytest-xdist."""
    return OneNetwork(config, log) if config.getoption("dist") == "loadfile" else None


NOTHING_SKIPPED = "AGENTIDP_TEST_ALL"
"""The variable with which ``make test-beyond`` and CI make a run fail in which a test was skipped."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a test was skipped that must not be. pytest names it, and the reason, below."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(NOTHING_SKIPPED) and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print why the run fails if a test was skipped."""
    if os.environ.get(NOTHING_SKIPPED) and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("The run fails, because a test was skipped.", red=True)
