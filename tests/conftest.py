"""A disposable PostgreSQL, a fresh database for each test, and a fixed cast of two organizations.

Which application a test uses:

| fixture | its database | for |
|---|---|---|
| ``app`` | a new database per test. In rooms that import ``tests/sharing.py`` it is ``shared_app`` | most tests |
| ``own_app`` | the database of ``app`` | a test that adds a route, or needs its own connections in such a room |
| ``shared_app`` | one database per module | tests that do not read the rows of other tests |
| ``wired_app`` | none | a test that only reads registered objects, such as the views |
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
    ServerWithoutLauncher,
    close_owner_connection,
    make_agent,
    make_organization,
    make_organizations,
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell makes background jobs ignore SIGINT, and every server that a test starts would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def settings_for(url: str, **changes: object) -> Settings:
    """Return settings for tests: at most four connections, and from the environment only ``AGENTIDP_FAST_PATH``."""
    values: dict[str, object] = {
        "database_url": url,
        "data_dir": Path("/nonexistent"),
        "secret_key": SECRET_KEY.encode(),
        "pool_max_size": 4,
        "fast_path": os.environ.get("AGENTIDP_FAST_PATH") or "on",
    }
    return Settings(**(values | changes))  # type: ignore[arg-type]


def install(url: str) -> None:
    """Create the schema and a signing key in a database."""
    migrate(url)
    ensure_signing_key(settings_for(url), at=utc_now())


def new_agent(url: str) -> Agent:
    """Return a new agent of a new organization in the database of a server."""
    with contextlib.closing(Services.of(settings_for(url), utc_now)) as services:
        return make_agent(services, make_organization(services))


LONGEST = {"statement_timeout": 23.0, "pool_timeout": 25.0}
"""Settings with the longest permitted timeouts, so that no request fails because the machine is slow, or because it
waits for a lock of another transaction of its test.
"""


class Installation(Enum):
    """A PostgreSQL installation for a test. Installations of Debian are named by the directory of their programs.

    ``DEFAULT`` is for tests that name no installation. ``MISSING`` stands for Debian's PostgreSQL if there is none.
    """

    DEFAULT = "postgresql"
    WHEEL = "wheel"
    MISSING = "missing"
    CITUS = "citus"


# The oldest version is used, because a newer version may be installed for Citus only.
DEBIANS = [file.parent for file in sorted(Path("/usr/lib/postgresql").glob("1[5-9]/bin/postgres"))][:1]
INSTALLATIONS = [
    Installation.WHEEL,
    *(pytest.param(bindir, marks=pytest.mark.program) for bindir in DEBIANS or [Installation.MISSING]),
]
"""The PostgreSQL of the wheel, and that of Debian's packages, which must be installed."""


def name_of_installation(installation: Installation | Path) -> str:
    """Return the installation's name in the ids of tests: ``wheel``, for example, or the major version of Debian's."""
    return installation.parent.name if isinstance(installation, Path) else installation.value


ON_EVERY_POSTGRES = pytest.mark.parametrize(
    "postgres_url", INSTALLATIONS, ids=name_of_installation, indirect=True, scope="session"
)
"""Run a test once on each PostgreSQL installation: plans depend on the version."""


EVERYWHERE = os.environ.get("AGENTIDP_TEST_CITUS") == "everywhere"
"""Whether each test with a database runs on the Citus cluster."""

ON_CITUS_TOO = pytest.mark.parametrize(
    "postgres_url",
    # If tests run on the cluster everywhere, the default installation is the cluster already.
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
    """Return the directory of the programs; ``None`` for the wheel. Fail the test if Debian's PostgreSQL is missing."""
    if installation is Installation.MISSING:
        pytest.fail("The tests need Debian's PostgreSQL beside the wheel's: apt-get install postgresql", pytrace=False)
    return installation if isinstance(installation, Path) else None


@pytest.fixture(scope="session")
def needs_citus() -> None:
    """Skip the test if Citus is not installed, or fail it if Citus is required."""
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
    """The URL of a server on which tests create databases: the server for ON_EVERY_POSTGRES or ON_CITUS, or otherwise a
    server with the programs in AGENTIDP_TEST_PG_BINDIR or of the wheel.
    """
    installation = getattr(request, "param", Installation.DEFAULT)
    is_default = installation is Installation.DEFAULT
    if installation is Installation.CITUS or (is_default and EVERYWHERE):
        running: citus.Cluster = request.getfixturevalue("cluster")
        return running.coordinator.url("postgres")
    if not is_default:
        return start_postgres(installation)
    bindir = os.environ.get("AGENTIDP_TEST_PG_BINDIR")
    return start_postgres(Path(bindir) if bindir else Installation.WHEEL)


def with_database(url: str, name: str) -> str:
    """Return *url* with the name of another database."""
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
    """The name of a migrated database with a signing key, which tests copy. On Citus, its tables are distributed."""
    return make_template(postgres_url)


@pytest.fixture(autouse=True)
def _no_reading_of_the_keys_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent a shared application from reading the keys while a test counts the statements of a request."""
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
"""The connections that create and drop the databases of tests, by the URL of the server."""


def _administrator(postgres_url: str) -> psycopg.Connection:
    connection = ADMINISTRATORS.get(postgres_url)
    if connection is None or connection.closed:
        ADMINISTRATORS[postgres_url] = connection = psycopg.connect(postgres_url, autocommit=True)
    return connection


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for a PostgreSQL server and its files."""
    with open_directory() as path:
        yield path


@pytest.fixture
def clock() -> Clock:
    """The application's clock, which shows noon of Wednesday, 15 April 2026."""
    return Clock()


class WholeResponses(FlaskClient):
    """A client that reads each response to its end, as clients of a server do. Flask's own client leaves a streamed
    response open, which then keeps its turn in the fair queue, unless the test reads the response.
    """

    def open(self, *args: Any, buffered: bool = True, **kwargs: Any) -> TestResponse:
        """Send a request.

        :param buffered: ``False`` for a test that reads a streamed response in parts.
        """
        return super().open(*args, buffered=buffered, **kwargs)


Flask.test_client_class = WholeResponses


class CompiledTemplates(BytecodeCache):
    """Caches compiled templates for all applications of this process, because each would compile its own otherwise."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load the code of a template that an application has compiled."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store the code of a template."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


Flask.jinja_options = {"bytecode_cache": CompiledTemplates()}


def end(services: Services) -> None:
    """Close the services, and fail unless all of their requests have left the fair queue."""
    services.close()
    assert services.fair_queue.is_empty(), "a response was made and its turn did not end"


@pytest.fixture(scope="session")
def wired_app() -> Flask:
    """The application without services. No test may change it, because all share it: wiring it takes long."""
    return create_app(settings_for("postgresql:///none"))


@pytest.fixture(scope="session")
def wired_shared_app() -> Flask:
    """A second ``wired_app`` for ``shared_app``, because a test may use ``app`` and ``shared_app``."""
    return create_app(settings_for("postgresql:///none"))


@pytest.fixture
def app(wired_app: Flask, database_url: str, clock: Clock) -> Iterator[Flask]:
    """The application on a fresh database, with services of its own. Flask refuses a further route."""
    services = wired_app.extensions["agentidp"] = Services.of(settings_for(database_url, **LONGEST), clock)
    yield wired_app
    end(services)


@pytest.fixture
def own_app(database_url: str, clock: Clock) -> Iterator[Flask]:
    """An application that is wired for a single test, which may add a route."""
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
    app_services: Services = app.extensions["agentidp"]
    return app_services


@dataclass
class Cast:
    """An agent in each of two organizations. The outsider has the same scopes as Acme, and must see nothing of Acme."""

    acme: Agent
    outsider: Agent


def make_cast(services: Services) -> Cast:
    """Create two organizations with one agent each, which has every scope."""
    acme, outsider = make_organizations(services, "Acme", "Outsider")
    return Cast(acme=make_agent(services, acme), outsider=make_agent(services, outsider))


@pytest.fixture
def cast(services: Services) -> Cast:
    """An agent with every scope in each of two organizations."""
    return make_cast(services)


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    """A server (gunicorn) on a fresh database."""
    with ServerWithoutLauncher({"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}) as running:
        yield running


@pytest.fixture
def midnight_is_far() -> None:
    """Wait until after midnight if midnight is near, so that no day or month ends during the test."""
    seconds_left = 86_400 - time.time() % 86_400
    if seconds_left < 2 * PATIENCE:
        time.sleep(seconds_left)


@pytest.fixture(scope="module")
def shared_app(wired_shared_app: Flask, postgres_url: str, template: str) -> Iterator[Flask]:
    """The application on a database that the tests of a module share, if they do not read the rows of other tests."""
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
    """The cast in the database of the shared application."""
    return make_cast(shared_app.extensions["agentidp"])


@pytest.fixture
def quiet() -> Iterator[None]:
    """Restore the logging of this process, because a command that runs in a test configures it."""
    names = ("agentidp", "gunicorn.error", "gunicorn.access")
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    saved_states = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in saved_states:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Hide the collected tests from the garbage collector, which would examine them again and again in vain."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


ROOMS_WITH_A_MARKER = {"browser", "containers", "deploy", "faults"}
"""Directories all of whose tests have a marker with the name of the directory."""

FIXTURES_WITH_A_SERVER = {"server", "running", "provider"}
"""Fixtures that run gunicorn in a process of its own. Tests that use them are marked as slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ``make test`` leaves out because of their directory or a fixture. On Citus, tests with the
    marker ``not_on_citus`` must fail: a test that passes makes the run fail, so that outdated markers are noticed.
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
"""Files with few tests that take long. They begin first, so that no process waits at the end for the last of them."""


class OneNetwork(LoadFileScheduling):
    """A scheduler like ``--dist loadfile``, except that all browser and container tests run in the same process.

    Starting containers adds network interfaces, and Chromium then aborts the page that it is loading with
    ERR_NETWORK_CHANGED.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "network" if file.startswith(("tests/browser/", "tests/containers/")) else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process the first remaining file of :data:`LONGEST_FILES`.

        If there is none, the first process gets the file with the fewest tests, which often wait for servers, and the
        others get the file with the most tests. So some tests use the processors while others wait.
        """
        scope = next((scope for scope in LONGEST_FILES if scope in self.workqueue), None)
        if scope is None and node is self.nodes[0]:
            scope = next(reversed(self.workqueue))
        if scope is not None:
            self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return three processes for two cores, because tests often wait for other processes."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneNetwork | None:
    """Return the scheduler of pytest-xdist, which distributes the tests to processes."""
    return OneNetwork(config, log) if config.getoption("dist") == "loadfile" else None


NOTHING_SKIPPED = "AGENTIDP_TEST_ALL"
"""The environment variable with which ``make test-beyond`` and CI make a run fail if a test was skipped."""


EXIT_CODE_IF_SKIPPED = 10
"""The exit code of such a run. It differs from that of failed tests, which ``make test-beyond`` repeats."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a test was skipped although all tests must run. pytest prints the test and the reason."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(NOTHING_SKIPPED) and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = EXIT_CODE_IF_SKIPPED


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print why the run fails if a test was skipped."""
    if os.environ.get(NOTHING_SKIPPED) and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("The run fails, because a test was skipped.", red=True)
