"""``agentidp organization``."""

from __future__ import annotations

import json
import re
import uuid

import psycopg
import pytest

from agentidp import create_app
from agentidp.config import Settings
from agentidp.http.schemas import MAX_NAME
from agentidp.scopes import SCOPES
from tests.cli.command import ORGANIZATION, TIME, Command


def test_create_prints_its_id_and_list_shows_it(run: Command) -> None:
    first, second = run("organization", "create", "Acme"), run("organization", "create", "Größe & Söhne")
    assert re.fullmatch(ORGANIZATION, first)
    lines = [line.split("\t") for line in run("organization", "list").splitlines()]
    assert [line[:3] for line in lines] == [[first, "Acme", "-"], [second, "Größe & Söhne", "-"]]
    assert all(re.fullmatch(TIME, line[3]) for line in lines)


def test_as_json(run: Command) -> None:
    made = json.loads(run("organization", "create", "Acme", "--json"))
    assert made == {"organizationId": made["organizationId"], "name": "Acme"}
    [listed] = json.loads(run("organization", "list", "--json"))
    assert listed == made | {
        "monthlyTokenBudget": None,
        "status": "active",
        "createdAt": listed["createdAt"],
        "suspendDormantAfterDays": None,
        "agentProvisioning": False,
    }


def test_there_is_none(run: Command) -> None:
    assert (run("organization", "list"), run("organization", "list", "--json")) == ("", "[]")


def test_budget_is_printed_set_and_removed(run: Command) -> None:
    acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
    assert run("organization", "budget", acme) == "-"
    assert run("organization", "budget", acme, "1000000000000") == "1000000000000"
    assert run("organization", "budget", acme) == "1000000000000"
    assert run("organization", "budget", other, "1") == "1"
    listed = json.loads(run("organization", "list", "--json"))
    assert [one["monthlyTokenBudget"] for one in listed] == [1_000_000_000_000, 1]
    assert run("organization", "budget", acme, "--none") == "-"
    assert [run("organization", "budget", one) for one in (acme, other)] == ["-", "1"]


def test_the_suspension_of_dormant_agents_is_printed_set_after_a_question_and_removed(run: Command) -> None:
    acme = run("organization", "create", "Acme")
    assert run("organization", "dormancy", acme) == "-"
    asked = run.invoke("organization", "dormancy", acme, "120")
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert asked.stderr.startswith(
        "Acme has 0 agents. Each that has not asked for a token for 120 days is suspended, 14 days after that was "
    )
    assert run("organization", "dormancy", acme) == "-"
    assert run("organization", "dormancy", acme, "120", "--yes") == "120"
    assert run("organization", "dormancy", acme) == "120"
    assert run("organization", "dormancy", acme, "--none") == "-"
    for arguments, rule in {
        ("29",): "29 is not in the range 30<=x<=3650",
        ("120", "--none"): "give DAYS or --none, not both",
    }.items():
        result = run.invoke("organization", "dormancy", acme, *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert rule in result.stderr


def test_budget_that_is_no_good(shared_run: Command) -> None:
    missing = f"org-{uuid.uuid4()}"
    assert shared_run.refused("organization", "budget", missing, "5") == f"there is no organization '{missing}'"
    for arguments, rule in {
        ("0",): "0 is not in the range 1<=x<=1000000000000",
        ("1000000000001",): "1000000000001 is not in the range 1<=x<=1000000000000",
        ("1.5",): "'1.5' is not a valid integer range.",
        ("5", "--none"): "give TOKENS or --none, not both",
    }.items():
        result = shared_run.invoke("organization", "budget", missing, *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert rule in result.stderr


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", f"must have 1 to {MAX_NAME} characters"),
        ("x" * (MAX_NAME + 1), f"must have 1 to {MAX_NAME} characters"),
        (" x", "must not begin or end with white space"),
        ("a\nb", "must not hold control characters or lone surrogates"),
        ("\udcff", "must not hold control characters or lone surrogates"),
    ],
)
def test_a_name_that_is_no_good(shared_run: Command, name: str, rule: str) -> None:
    assert shared_run.refused("organization", "create", name) == f"name {rule}"
    assert shared_run("organization", "list") == ""


def test_with_an_administrator_that_can_register_agents_over_http(run: Command) -> None:
    line = run("organization", "create", "Acme", "--with-administrator")
    organization_id, client_id, client_secret = line.split("\t")
    assert re.fullmatch(ORGANIZATION, organization_id)
    [agent] = json.loads(run("agent", "list", "--organization", organization_id, "--json"))
    assert (agent["agentId"], agent["name"], agent["scopes"]) == (client_id, "administrator", list(SCOPES))
    app = create_app(Settings.from_environment(run.environment))
    try:
        client = app.test_client()
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        token = client.post("/api/v1/token", data=form).json["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert client.post("/api/v1/agents", json={"name": "builder"}, headers=headers).status_code == 201
    finally:
        app.extensions["agentidp"].close()
    made = json.loads(run("organization", "create", "Other", "--with-administrator", "--json"))
    assert set(made) == {"organizationId", "clientId", "clientSecret", "name"}
    assert made["name"] == "Other"


def test_a_name_that_is_no_good_makes_no_administrator(run: Command) -> None:
    assert (
        run.refused("organization", "create", "", "--with-administrator")
        == f"name must have 1 to {MAX_NAME} characters"
    )
    with psycopg.connect(run.database_url) as connection:
        assert connection.execute("select count(*) from clients").fetchone() == (0,)
