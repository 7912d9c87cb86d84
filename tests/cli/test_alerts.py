"""``agentidp alerts``."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from agentidp.alerts.targets import request_test
from agentidp.cli import cli
from agentidp.clock import utc_now
from agentidp.db.database import Database
from tests.alerts.receiver import Receiver
from tests.cli.command import TIME, UUID, Command
from tests.conftest import settings_for
from tests.factories import free_port


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on the loopback."""
    with Receiver() as running:
        yield running


@pytest.fixture
def acme(run: Command) -> str:
    """An organization whose targets can be on the loopback."""
    run.environment["AGENTIDP_ALERT_NETWORKS"] = "127.0.0.0/8"
    return run("organization", "create", "Acme")


def add(run: Command, organization_id: str, url: str, *options: str, type_: str = "webhook") -> list[str]:
    """Add a target, with its URL on standard input; what is printed."""
    arguments = ["alerts", "target", "add", type_, "--organization", organization_id, "--name", "on-call", *options]
    result = CliRunner().invoke(cli, arguments, input=f"{url}\n", env=run.environment)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout.removesuffix("\n").split("\t")


def test_adds_lists_shows_changes_tests_and_deletes_a_target(run: Command, acme: str, receiver: Receiver) -> None:
    target_id, secret = add(run, acme, f"{receiver.url}/hook", "--kind", "spike", "--minimum-severity", "info")
    assert re.fullmatch(UUID, target_id)
    assert secret.startswith("whsec_")
    named = (target_id, "--organization", acme)
    [line] = run("alerts", "target", "list", "--organization", acme).splitlines()
    cells = line.split("\t")
    assert cells[:7] == [target_id, "on-call", "webhook", receiver.url, "spike", "info", "True"]
    assert [bool(re.fullmatch(TIME, cell)) for cell in cells[7:9]] == [True, True]
    assert cells[9:] == ["-"] * 5
    assert run("alerts", "target", "show", *named) == line
    assert [json.loads(run("alerts", "target", "show", *named, "--json"))] == json.loads(
        run("alerts", "target", "list", "--organization", acme, "--json")
    )
    assert run("alerts", "target", "test", *named) == "The target on-call accepted the test."
    assert [one.path for one in receiver.received] == ["/hook"]
    changed = json.loads(run("alerts", "target", "update", *named, "--name", "pager", "--every-kind", "--json"))
    assert (changed["name"], changed["kinds"], changed["minimumSeverity"]) == ("pager", None, "info")
    assert json.loads(run("alerts", "target", "update", *named, "--disable", "--json"))["enabled"] is False
    for options, owners in ((("--owner", "Ada", "--owner", "Grace"), ["Ada", "Grace"]), (("--every-owner",), None)):
        assert json.loads(run("alerts", "target", "update", *named, *options, "--json"))["owners"] == owners
    assert run("alerts", "target", "delete", "--yes", *named) == ""
    assert run("alerts", "target", "list", "--organization", acme) == ""


def test_shows_no_secret(run: Command, acme: str) -> None:
    target_id, key = add(run, acme, "http://127.0.0.1/hook/to-ken")
    show = ("alerts", "target", "show", target_id, "--organization", acme)
    for printed in (run(*show), run(*show, "--json")):
        assert "http://127.0.0.1" in printed
        assert [secret for secret in ("to-ken", key) if secret in printed] == []


def test_a_test_that_fails_says_why(run: Command, acme: str) -> None:
    target_id, _ = add(run, acme, f"http://127.0.0.1:{free_port()}/to-ken")
    sentence = run.refused("alerts", "target", "test", target_id, "--organization", acme)
    assert sentence == "the target on-call did not accept the test: no connection: Connection refused"


def test_delivers_what_is_due_and_lists_it(run: Command, acme: str, receiver: Receiver) -> None:
    target_id, _ = add(run, acme, receiver.url)
    listed = ("alerts", "deliveries", "--organization", acme)
    assert run(*listed) == ""
    database = Database(run.database_url, settings_for(run.database_url))
    with database.of(acme, utc_now()).transaction() as opened:
        delivery_id = str(request_test(opened, uuid.UUID(target_id)))
    database.close()
    assert json.loads(run(*listed, "--json"))[0]["status"] == "waiting"
    assert run("alerts", "deliver", "--once") == ""
    assert receiver.ids == [delivery_id]
    cells = run(*listed).split("\t")
    assert cells[:3] + cells[4:5] + cells[6:8] == [delivery_id, target_id, "on-call", "test", "1", "delivered"]


@pytest.mark.parametrize("command", ["delete", "show", "test", "update"])
def test_an_unknown_target_is_named(run: Command, acme: str, command: str) -> None:
    unknown = str(uuid.uuid4())
    options = ["--disable"] if command == "update" else []
    sentence = run.refused("alerts", "target", command, unknown, "--organization", acme, *options)
    assert sentence == f"the organization has no alert target {unknown}"


def test_refuses_what_contradicts_itself_or_changes_nothing(run: Command, acme: str) -> None:
    named = ("alerts", "target", "update", str(uuid.uuid4()), "--organization", acme)
    assert "name something to change" in run.invoke(*named).stderr
    assert "give --kind or --every-kind, not both" in run.invoke(*named, "--kind", "spike", "--every-kind").stderr


def test_reencrypts_targets_with_the_keys(run: Command, acme: str) -> None:
    add(run, acme, "https://hooks.example")
    printed = run("keys", "reencrypt")
    assert printed == "Re-encrypted 0 of 1 signing keys.\nRe-encrypted 0 of 1 alert targets."
