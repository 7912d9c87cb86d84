"""``agentidp alerts``."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from agentidp.alerts.targets import request_test
from agentidp.clock import utc_now
from agentidp.db.database import Database
from agentidp.http.errors import ServiceUnavailable
from tests.alerts.receiver import Receiver
from tests.cli.command import TIME, UUID, Command
from tests.conftest import settings_for, with_database
from tests.factories import free_port

OF = ("--organization", "Acme")


@pytest.fixture
def receiver(run: Command) -> Iterator[Receiver]:
    """An HTTP server on the loopback address that receives alerts."""
    run.environment["AGENTIDP_ALERT_NETWORKS"] = "127.0.0.0/8"
    with Receiver() as running:
        yield running


def add(run: Command, url: str, *options: str) -> list[str]:
    """Add a target and return the output."""
    return run("alerts", "target", "add", "webhook", *OF, "--name", "on-call", *options, input=f"{url}\n").split("\t")


def test_a_refused_address_names_the_environment_of_the_command(run: Command, acme: str) -> None:
    command = ("alerts", "target", "add", "webhook", *OF, "--name", "on-call", "--url-file", "-")
    result = run.invoke(*command, input="http://127.0.0.1:9/hook\n")
    assert result.exit_code == 1
    assert "AGENTIDP_ALERT_NETWORKS allows no network" in result.stderr
    assert result.stderr.endswith("A command reads the setting from its own environment, so set it there too\n")


def test_adds_lists_shows_changes_and_deletes_a_target(run: Command, acme: str, receiver: Receiver) -> None:
    target_id, key = add(run, f"{receiver.url}/to-ken", "--kind", "spike", "--minimum-severity", "info")
    assert re.fullmatch(UUID, target_id)
    assert key.startswith("whsec_")
    # The argument may be the id or the name, and the secrets are not shown again.
    named = ("on-call", *OF)
    [cells] = run.cells("alerts", "target", "list", *OF)
    assert cells[:7] == [target_id, "on-call", "webhook", receiver.url, "spike", "info", "true"]
    assert [bool(re.fullmatch(TIME, cell)) for cell in cells[7:9]] == [True, True]
    assert {*cells[9:]} == {"-"}
    assert run.cells("alerts", "target", "show", target_id, *OF) == [cells]
    shown = run.json("alerts", "target", "show", *named)
    assert run.json("alerts", "target", "list", *OF) == [shown]
    assert [secret for secret in ("to-ken", key) if secret in str(shown)] == []
    assert run("alerts", "target", "key", *named) == key
    update = ("alerts", "target", "update", *named)
    changed = run.json(*update, "--every-kind", "--owner", "Ada", "--owner", "Grace", "--disable")
    change = {"kinds": None, "owners": ["Ada", "Grace"], "enabled": False}
    assert changed == shown | change | {"updatedAt": changed["updatedAt"]}
    moved = run(*update, "--url-file", "-", "--name", "pager", input="https://other.example/x\n").split("\t")
    assert moved[1:4] == ["pager", "webhook", "https://other.example"]
    assert run("keys", "reencrypt").endswith("Re-encrypted 0 of 1 alert targets.")
    assert run.asked("alerts", "target", "delete", "pager", *OF) == (
        "This deletes the alert target pager (webhook, https://other.example). 0 waiting messages will not be sent. A "
        "deletion cannot be undone.\n"
    )
    assert run("alerts", "target", "delete", "--yes", "pager", *OF) == run("alerts", "target", "list", *OF) == ""


def test_sends_a_test_and_what_is_due(run: Command, acme: str, receiver: Receiver) -> None:
    target_id, _ = add(run, f"{receiver.url}/hook")
    assert run("alerts", "target", "test", "on-call", *OF) == "The target on-call accepted the test."
    assert [request.path for request in receiver.received] == ["/hook"]
    listed = ("alerts", "deliveries", *OF)
    assert run(*listed) == ""
    database = Database(run.database_url, settings_for(run.database_url))
    with database.of(acme, utc_now()).transaction() as opened:
        delivery_id = str(request_test(opened, uuid.UUID(target_id)))
    database.close()
    assert run.json(*listed)[0]["status"] == "waiting"
    assert "1 waiting message will not be sent." in run.asked("alerts", "target", "delete", "on-call", *OF)
    assert run("alerts", "deliver", "--once") == ""
    assert receiver.ids[1:] == [delivery_id]
    [cells] = run.cells(*listed)
    assert cells[:3] + cells[4:5] + cells[6:8] == [delivery_id, target_id, "on-call", "test", "1", "delivered"]
    assert "0 waiting messages will not be sent." in run.asked("alerts", "target", "delete", "on-call", *OF)
    run("alerts", "target", "update", "on-call", *OF, "--url-file", "-", input=f"http://127.0.0.1:{free_port()}/to-ken")
    sentence = run.refused("alerts", "target", "test", "on-call", *OF)
    assert sentence == "the target on-call did not accept the test: no connection: Connection refused"


def test_delivers_until_ctrl_c_also_while_the_database_is_away(
    run: Command, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = conninfo_to_dict(run.database_url)["dbname"]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt
        with psycopg.connect(with_database(run.database_url, "postgres"), autocommit=True) as connection:
            connection.execute(f"alter database {name} allow_connections false")
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])

    monkeypatch.setattr("agentidp.cli.alerts.time.sleep", sleep)
    delivered = run.invoke("alerts", "deliver")
    assert (delivered.exit_code, delivered.stdout, delivered.stderr) == (0, "", f"{ServiceUnavailable.message}\n")
