"""``agentidp serve``: how it starts, stops, is killed and refuses; as root and as an ordinary user."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import psycopg
import pytest

from agentidp.clock import utc_now
from agentidp.registry.organizations import add_organization
from agentidp.server.serve import gunicorn_config
from tests.cli.terminal import Terminal
from tests.directory import open_directory
from tests.factories import (
    PATIENCE,
    ROOT,
    SECRET_KEY,
    Server,
    clean_environment,
    free_port,
    wait_until,
)

pytestmark = pytest.mark.very_slow

# Root becomes nobody, who must be able to enter the interpreter's parent directories.
_CAPABILITY = "+dac_read_search"
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
AS_NOBODY += [f"--inh-caps={_CAPABILITY}", f"--ambient-caps={_CAPABILITY}", "--"]
# setpriv is a program of util-linux.
USERS = [
    pytest.param([], id="root"),
    pytest.param(AS_NOBODY, id="an ordinary user", marks=pytest.mark.program),
]
USERS = USERS if os.geteuid() == 0 else [pytest.param([], id="an ordinary user")]


@contextlib.contextmanager
def new_data_directory(run_as: list[str]) -> Iterator[Path]:
    """Return an empty data directory of the user."""
    with open_directory() as path:
        if run_as:
            shutil.chown(path, "nobody", "nogroup")
        yield path


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """Return a data directory of the user who runs the tests."""
    with new_data_directory([]) as path:
        yield path


def processes_of(path: Path) -> list[int]:
    """Return the process IDs of the launcher, gunicorn and PostgreSQL for the data directory *path*."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            setting = f"AGENTIDP_DATA_DIR={path}\0".encode()
            if setting in (process / "environ").read_bytes() or (process / "cwd").readlink().is_relative_to(path):
                processes.append(int(process.name))
    return processes


ENDS = [
    # A terminal sends Ctrl-C to the whole process group.
    (os.killpg, signal.SIGINT, 0),
    (os.kill, signal.SIGKILL, -signal.SIGKILL),
    # The child ends after the launcher.
    (os.kill, signal.SIGTERM, 0),
]
"""How the launcher is ended, one after the other, and its exit code."""


@pytest.mark.parametrize("run_as", USERS)
def test_no_end_of_the_launcher_leaves_a_process(run_as: list[str]) -> None:
    """tests/faults checks the counted tokens, and tests/db/test_embedded_postgres.py the committed rows."""
    with new_data_directory(run_as) as path:
        for end, number, exit_code in ENDS:
            server = Server({"AGENTIDP_DATA_DIR": str(path)})
            server.command = [*run_as, *server.command]
            with server:
                assert server.get("/readyz") == b'{"status":"ok"}'
                assert len(processes_of(path)) > 4
                end(server.process.pid, number)
                assert server.process.wait(PATIENCE) == exit_code
                wait_until(lambda: not processes_of(path))
            assert "Traceback" not in server.logs()


def test_a_hang_up_is_ignored_under_nohup(data_dir: Path) -> None:
    server = Server({"AGENTIDP_DATA_DIR": str(data_dir)})
    server.command = ["nohup", *server.command]
    with server:
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)  # a pause, because nothing must happen
        assert server.get("/healthz") == b'{"status":"ok"}'


def test_the_end_of_gunicorn_ends_the_launcher_with_a_sentence(data_dir: Path) -> None:
    with Server({"AGENTIDP_DATA_DIR": str(data_dir)}) as server:
        os.kill(server.main_process(), signal.SIGKILL)
        assert server.process.wait(PATIENCE) == 1
        wait_until(lambda: not processes_of(data_dir))
        wait_until(lambda: "Error: gunicorn has ended with exit code -9\n" in server.logs())


def environment_of(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment of a process with only these settings."""
    return clean_environment() | {"PORT": str(free_port())} | settings


def ended(command: list[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a process with these settings until it ends."""
    return subprocess.run(
        command, env=environment_of(settings), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )


def agentidp(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these settings, which do not contain the address of an instance."""
    return ended([sys.executable, "-m", "agentidp", *arguments], {"PORT": ""} | settings)


def refusal(environment: dict[str, str], *arguments: str, command: list[str] | None = None) -> str:
    """Return the sentence with which ``agentidp serve``, or another command, refuses to start."""
    result = ended([*(command or [sys.executable, "-m", "agentidp", "serve"]), *arguments], environment)
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert (result.returncode, result.stdout) == (1, "")
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def test_says_what_to_do_next_until_there_is_an_organization(database_url: str) -> None:
    settings = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
    with Server(settings) as server:
        printed = "".join(server.process.stdout.readline() for _ in range(6))
    assert f'PORT={server.port} agentidp organization create "My organization" --with-administrator\n' in printed
    add_organization(database_url, name="Acme", at=utc_now())
    with Server(settings) as server:
        server.process.terminate()
        server.process.wait(PATIENCE)
        assert server.process.stdout.read() == ""


def test_says_on_a_terminal_that_it_starts(tmp_path: Path) -> None:
    terminal = Terminal("")
    terminal.environment["AGENTIDP_DATA_DIR"] = str(tmp_path)
    status, shown = terminal("serve", "--bind", "0.0.0.0:3000")
    starting, refused = shown.splitlines()[:2]
    assert (status, starting) == (
        1,
        "Starting AgentIdP. The first start takes some seconds longer, because the database is created.",
    )
    assert refused.startswith("Error: cannot listen on 0.0.0.0:3000 without a proxy")


def test_commands_find_the_instance_on_their_data_directory_and_a_second_one_is_refused(
    data_dir: Path,
) -> None:
    here = {"AGENTIDP_DATA_DIR": str(data_dir)}

    def issuer(token: str) -> str:
        return str(jwt.decode(token, options={"verify_signature": False})["iss"])

    with Server({"AGENTIDP_DATA_DIR": str(data_dir)}, "--demo") as server:
        token = agentidp("token", **here).stdout.strip()
        assert issuer(token) == server.url
        assert json.loads(server.get("/api/v1/agents?limit=1", {"Authorization": f"Bearer {token}"}))["data"]
        here["AGENTIDP_ISSUER"] = "https://idp.example.com"
        refused = agentidp("token", **here)
        assert (refused.returncode, refused.stderr) == (
            1,
            f"Error: the instance that runs on {data_dir} is {server.url}, not https://idp.example.com: "
            "unset AGENTIDP_ISSUER and PORT, or set AGENTIDP_DATA_DIR to the other instance's\n",
        )
        # A second instance with this data directory is refused, and the first instance continues.
        message = refusal({"AGENTIDP_DATA_DIR": str(data_dir)})
        assert message == f"another AgentIdP already runs on {data_dir}/postgres (pid {server.process.pid})"
        assert server.get("/readyz") == b'{"status":"ok"}'
    # No instance uses the directory any more, so the settings decide again.
    assert issuer(agentidp("token", **here).stdout.strip()) == "https://idp.example.com"


def test_refuses_a_busy_port(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = refusal({"AGENTIDP_DATA_DIR": str(data_dir)} | {"PORT": str(port)})
    assert message == f"cannot listen on 127.0.0.1:{port}: Address already in use; set PORT to another port"


GUNICORN = [sys.executable, "-m", "gunicorn", "--config", str(gunicorn_config()), "agentidp:create_app()"]
"""gunicorn as started directly, without the launcher."""


@pytest.mark.parametrize("started_by", ["agentidp serve", "gunicorn"])
def test_a_unix_socket_is_for_its_owner_and_its_group(started_by: str, database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    settings = external(database_url, AGENTIDP_BIND=f"unix:{path}")
    command = GUNICORN if started_by == "gunicorn" else Server({}, bind=f"unix:{path}").command
    # A permissive umask of the user must not matter.
    with subprocess.Popen(command, env=environment_of(settings), cwd=ROOT, umask=0) as process:
        try:
            wait_until(path.is_socket)
            status = path.stat()
        finally:
            process.terminate()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o660, os.geteuid(), os.getegid())


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"AGENTIDP_TOKEN_TTL": "soon"}, (), "AGENTIDP_TOKEN_TTL must be a whole number from 60 to 86400, not 'soon'"),
        ({"AGENTIDP_SECRET_KEY": ""}, (), "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set"),
        (
            {"AGENTIDP_DATABASE_URL": ""},
            (),
            "AGENTIDP_DATABASE_URL is not set: set it, or start with `agentidp serve`",
        ),
        # tests/server/test_listening.py tests which addresses are refused.
        ({"AGENTIDP_BIND": "0.0.0.0:3999"}, (), "cannot listen on 0.0.0.0:3999 without a proxy: a client that sends "),
        ({}, ("--bind", "0.0.0.0:3999"), "cannot listen on 0.0.0.0:3999 without a proxy: a client that sends half a "),
    ],
)
def test_gunicorn_without_the_launcher_refuses_with_one_sentence(
    changes: dict[str, str], options: tuple[str, ...], said: str
) -> None:
    settings = external("postgresql://nobody@127.0.0.1:1/nothing") | changes
    assert refusal(settings, *options, command=GUNICORN).startswith(said)


@pytest.mark.parametrize("run_as", USERS)
def test_refuses_a_data_directory_that_it_cannot_write_to(tmp_path: Path, run_as: list[str]) -> None:
    (tmp_path / "file").touch()
    for path in ("/proc/agentidp", tmp_path / "file" / "data", *(["/usr"] if run_as else [])):
        command = [*run_as, sys.executable, "-m", "agentidp", "serve"]
        message = refusal({"AGENTIDP_DATA_DIR": str(path)}, command=command)
        assert message == f"the data directory {path} cannot be written to: set AGENTIDP_DATA_DIR to another"


def external(url: str, **settings: str) -> dict[str, str]:
    """Return the environment of a server that uses an external PostgreSQL."""
    return {"AGENTIDP_DATABASE_URL": url, "AGENTIDP_SECRET_KEY": SECRET_KEY} | settings


def url_of_the_service(server: Server) -> str:
    """Return the database's URL in the environment of gunicorn's workers."""
    environment = Path(f"/proc/{server.workers()[0]}/environ").read_bytes().split(b"\0")
    [url] = [entry.partition(b"=")[2] for entry in environment if entry.startswith(b"AGENTIDP_DATABASE_URL=")]
    return url.decode()


def test_the_service_of_the_embedded_server_is_no_superuser(data_dir: Path) -> None:
    with Server({"AGENTIDP_DATA_DIR": str(data_dir)}) as server:
        first_url = url_of_the_service(server)
    with Server({"AGENTIDP_DATA_DIR": str(data_dir)}) as server:
        assert server.get("/readyz") == b'{"status":"ok"}'
        url = url_of_the_service(server)
        with psycopg.connect(url, autocommit=True) as connection:
            # First what the service does, and then what an attacker makes it do.
            connection.execute("set role agentidp_service")
            connection.execute("select set_config('agentidp.organization_id', 'org-x', false)")
            assert connection.execute("select count(*) from agents").fetchone() == (0,)
            connection.execute("reset role")
            rights = (
                "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication, rolinherit "
                "from pg_roles where rolname = current_user"
            )
            assert connection.execute(rights).fetchone() == (False,) * 6
            [*roles] = connection.execute(
                "select rolname from pg_roles where pg_has_role(rolname, 'member') and rolname <> current_user"
            ).fetchall()
            assert roles == [("agentidp_service",)]
            for statement in (
                "select from agents",
                "select from signing_keys",
                "insert into signing_keys select 'x', alg, ''::bytea, now(), now() from signing_keys",
                "create table public.x ()",
                "set role agentidp",
                "alter role agentidp_login superuser",
                "select pg_read_file('postgresql.conf')",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
        # The operator's commands still connect as the superuser.
        assert agentidp("keys", "list", AGENTIDP_DATA_DIR=str(data_dir)).stdout.count("signing") == 1
        # The role's password changes at each start.
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"{first_url.partition('@')[0]}@{url.partition('@')[2]}")
