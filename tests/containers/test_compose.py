"""``compose.yaml`` and the commands of docs/containers.md, from nothing to the way back from an upgrade."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import shlex
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentidp.db.migrations import steps
from tests.containers.podman import (
    PODMAN,
    SERVICE,
    Checkout,
    podman,
    run_anyway,
    shell_blocks,
)
from tests.deploy.deployment import FORM, fetch, make_certificate
from tests.factories import PATIENCE, ROOT, wait_until

DEFAULT_ROUTE = re.compile(r"^\w+\t00000000\t", re.MULTILINE)
DEMO = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"


@pytest.fixture(scope="module")
def checkout(check_out: Callable[[str], Checkout]) -> Checkout:
    """A service that the commands below "Try it" have started, with the demo organization."""
    started = check_out("compose")
    printed = started.shell(shell_blocks("Try it") + '\necho "$TOKEN" >&2')
    trend = json.loads(printed)
    assert (trend["tenantId"], trend["days"], len(trend["data"])) == (DEMO, 1, 1)
    started.first_count = trend["data"][0]["count"]  # type: ignore[attr-defined]
    return started


@pytest.fixture(scope="module")
def client(checkout: Checkout) -> tuple[str, str, str]:
    """The organization, agent and secret that the documentation's commands make."""
    printed = checkout.shell(
        shell_blocks("Your own organization and agent") + '\necho; echo "$ORGANIZATION $AGENT $SECRET"'
    )
    issued, names = printed.splitlines()
    organization, agent, secret = names.split()
    assert (json.loads(issued)["token_type"], tokens_of(checkout, organization)) == ("Bearer", 1)
    return organization, agent, secret


def tokens_of(checkout: Checkout, organization: str) -> int:
    """How many tokens the counters hold of an organization."""
    counted = "select coalesce(sum(tokens), 0) from usage_daily"
    return int(checkout.sql(f"{counted} where organization_id = '{organization}'"))


def ask_once(checkout: Checkout, client: tuple[str, str, str]) -> int:
    """Ask for a token, as soon as nginx listens."""
    wait_until(lambda: listens(checkout.port))
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", checkout.port, timeout=PATIENCE)) as connection:
        return ask(client, connection)


def listens(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(client: tuple[str, str, str], connection: http.client.HTTPConnection) -> int:
    """Ask for a token; the status of the response."""
    credentials = base64.b64encode(":".join(client[1:]).encode()).decode()
    headers = FORM | {"Authorization": f"Basic {credentials}"}
    return fetch(connection, "POST", "/api/v1/token", b"grant_type=client_credentials", headers).status


def test_three_commands_lead_from_nothing_to_a_counted_token(checkout: Checkout) -> None:
    again = re.findall(r"^(?:TOKEN=|curl ).*", shell_blocks("Try it"), re.MULTILINE)
    [count] = [day["count"] for day in json.loads(checkout.shell("\n".join(again)))["data"]]
    # A second token; at midnight the first day ends.
    assert count in (checkout.first_count + 1, 1)  # type: ignore[attr-defined]


def test_the_image_has_no_embedded_postgresql(checkout: Checkout) -> None:
    packages = checkout.inside("agentidp", "sh", "-c", "ls /opt/agentidp/lib/python3*/site-packages").stdout.split()
    assert {"agentidp", "flask", "psycopg"} <= set(packages)
    assert not [name for name in packages if name.startswith(("pixeltable", "psutil", "fasteners", "platformdirs"))]


@pytest.mark.parametrize("service", ["agentidp", "nginx", "watch"])
def test_a_container_has_no_root_no_capability_and_writes_nowhere(checkout: Checkout, service: str) -> None:
    lines = checkout.inside(service, "cat", "/proc/1/status").stdout.splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, 0, "1")
    # Only a read-only file system can refuse root.
    as_root = checkout.inside(service, "touch", "/opt/new", options=["--user", "0"])
    assert "Read-only file system" in as_root.stderr


def test_the_service_is_reached_by_its_socket_only_and_reaches_the_database_only(checkout: Checkout) -> None:
    printed = checkout.inside("agentidp", "cat", *(f"/proc/net/{name}" for name in ("tcp", "tcp6", "route"))).stdout
    listening = [line for line in printed.splitlines() if " 0A " in line and ": 0B00007F:" not in line]
    assert (listening, DEFAULT_ROUTE.findall(printed)) == ([], [])


def test_the_services_login_can_do_nothing_by_itself(checkout: Checkout) -> None:
    assert checkout.sql("select has_table_privilege('agentidp_login', 'agents', 'select')") == "f"
    assert checkout.sql("select count(*) > 0 from pg_stat_activity where usename = 'agentidp_login'") == "t"


def test_watch_evaluates_the_findings_reaches_other_machines_and_ends_cleanly(checkout: Checkout) -> None:
    checkout.shell("docker compose stop watch")
    assert checkout.exit_code("watch") == 0
    # It had begun before there was an organization, and sleeps between two rounds.
    checkout.shell("docker compose start watch")
    wait_until(lambda: checkout.sql("select count(*) from finding_evaluations") != "0")
    assert DEFAULT_ROUTE.search(checkout.inside("watch", "cat", "/proc/net/route").stdout)


def test_health_checks_look_at_the_service(checkout: Checkout) -> None:
    checks = [checkout.inside("agentidp", "agentidp-healthcheck", *path) for path in ([], ["/readyz"], ["/nothing"])]
    assert [check.returncode for check in checks] == [0, 0, 1]
    elsewhere = run_anyway(*PODMAN, "run", "--rm", SERVICE, "agentidp-healthcheck")
    assert (elsewhere.returncode, elsewhere.stderr) == (1, "FileNotFoundError: [Errno 2] No such file or directory\n")


def test_sigterm_under_load_ends_cleanly_and_loses_no_token(checkout: Checkout, client: tuple[str, str, str]) -> None:
    before, end = tokens_of(checkout, client[0]), threading.Event()

    def load() -> Counter[int]:
        statuses: Counter[int] = Counter()
        connection = http.client.HTTPConnection("127.0.0.1", checkout.port, timeout=PATIENCE)
        while not end.is_set():
            status = ask(client, connection)
            statuses[status] += 1
            if status != 200:
                time.sleep(0.05)
        connection.close()
        return statuses

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(load) for _ in range(4)]
        try:
            time.sleep(2)
            checkout.shell("docker compose stop agentidp")
            exit_code = checkout.exit_code("agentidp")
            checkout.shell("docker compose start agentidp")
            time.sleep(2)
        finally:
            end.set()
        statuses = sum((future.result(PATIENCE) for future in clients), Counter())
    assert exit_code == 0
    # 503 while no process is there.
    assert set(statuses) == {200, 503}
    assert tokens_of(checkout, client[0]) - before == statuses[200]


def test_down_and_up_keep_the_data(checkout: Checkout, client: tuple[str, str, str]) -> None:
    before = tokens_of(checkout, client[0])
    checkout.shell("docker compose down")
    assert podman("ps", "--all", "--quiet", "--filter", f"name={checkout.project}") == ""
    checkout.shell("docker compose up --detach")
    assert ask_once(checkout, client) == 200
    assert tokens_of(checkout, client[0]) == before + 1


def test_tls(checkout: Checkout, client: tuple[str, str, str], tmp_path: Path) -> None:
    make_certificate(tmp_path)
    tmp_path.chmod(0o755)
    (tmp_path / "tls.key").chmod(0o644)
    lines = re.search(r"```ini\n(.*?)```", (ROOT / "docs" / "containers.md").read_text(), re.DOTALL)
    assert lines
    added = lines[1].replace("idp.example.com", "localhost").replace("/etc/agentidp", str(tmp_path))
    secrets = checkout.directory / ".env"
    saved = secrets.read_text()
    secrets.write_text(saved + added)
    try:
        # The port of this test is in the environment, which comes before .env.
        checkout.shell("docker compose up --detach")
        context = ssl.create_default_context(cafile=tmp_path / "tls.crt")
        wait_until(lambda: listens(checkout.port))
        with contextlib.closing(
            http.client.HTTPSConnection("localhost", checkout.port, context=context, timeout=PATIENCE)
        ) as connection:
            response = fetch(connection, "GET", "/.well-known/oauth-authorization-server")
            assert json.loads(response.body)["issuer"] == "https://localhost"
            assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert ask(client, connection) == 200
    finally:
        secrets.write_text(saved)


def test_the_image_runs_debians_python(images: None) -> None:
    script = "import os, sys; print(os.path.realpath(sys.executable))"
    assert podman("run", "--rm", SERVICE, "python", "-c", script) == "/usr/bin/python3.13\n"


def upgrade(checkout: Checkout) -> None:
    """Run the commands of the documentation, but for git's."""
    commands = shell_blocks("Upgrade").splitlines()
    checkout.shell("\n".join(command for command in commands if command != "git pull"))


def applied(checkout: Checkout) -> list[str]:
    """The migrations that the database has."""
    return checkout.sql("select name from schema_migrations order by name").split()


def test_an_upgrade_keeps_data_and_a_rollback_brings_the_backup_back(
    checkout: Checkout, client: tuple[str, str, str]
) -> None:
    # A release with other functions would have left this name.
    older = "functions_0.9.0_0123456789abcdef"
    checkout.sql(f"update schema_migrations set name = '{older}' where starts_with(name, 'functions_')")
    before = tokens_of(checkout, client[0])
    upgrade(checkout)
    # The image may have another version of the package installed than the tests.
    assert [name.rpartition("_")[2] for name in applied(checkout)] == [step.name.rpartition("_")[2] for step in steps()]
    assert ask_once(checkout, client) == 200
    assert tokens_of(checkout, client[0]) == before + 1
    *restore, up = shell_blocks("Rollback").splitlines()
    checkout.shell("\n".join(restore))
    assert applied(checkout)[-1] == older
    assert tokens_of(checkout, client[0]) == before
    # The same release again, which here migrates the restored database.
    checkout.shell(up)
    assert ask_once(checkout, client) == 200


def test_a_release_does_not_start_on_a_schema_newer_than_itself(checkout: Checkout) -> None:
    checkout.sql("insert into schema_migrations (name) values ('9999_future')")
    checkout.shell("docker compose down")
    assert checkout.try_shell("docker compose up --detach").returncode != 0
    [line] = run_anyway(*PODMAN, "logs", checkout.container("migrate")).stderr.splitlines()
    assert line.startswith("Error: the database holds migration 9999_future, which this release ")
    assert podman("inspect", "--format", "{{.State.Status}}", checkout.container("agentidp")).strip() == "created"


def test_the_documentation_makes_the_secrets_that_the_compose_file_asks_for() -> None:
    secrets = shlex.split(shell_blocks("Try it").partition("for name in ")[2].partition(";")[0])
    assert set(secrets) == set(re.findall(r"\$\{([A-Z_]+):\?", (ROOT / "compose.yaml").read_text()))
