"""The ``agentidp`` command."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click
import jwt
import psycopg
import pytest
from click.testing import CliRunner, Result
from flask import Flask

from agentidp import create_app, demo
from agentidp.cli import cli
from agentidp.config import Settings
from agentidp.registry import resource_identifiers
from agentidp.registry.credentials import MAXIMUM_CREDENTIALS
from tests.citus import install_stand_ins
from tests.factories import ROOT, SECRET_KEY, usage_sums

ORGANIZATION = r"org-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


class Command:
    """Runs commands on a database of the test's own."""

    def __init__(self, database_url: str) -> None:
        self.environment = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
        self.database_url = database_url

    def invoke(self, *arguments: str, **environment: str | None) -> Result:
        """Run a command, whatever comes of it."""
        for name in os.environ:
            if name.startswith("AGENTIDP_"):
                environment.setdefault(name, None)
        return CliRunner().invoke(cli, arguments, env={**environment, **self.environment, **environment})

    def __call__(self, *arguments: str) -> str:
        """What a command that succeeds prints, without the line break; it prints nothing else."""
        result = self.invoke(*arguments)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        assert result.stdout.endswith("\n") or not result.stdout
        return result.stdout.removesuffix("\n")

    def refused(self, *arguments: str, **environment: str | None) -> str:
        """The sentence of a command that is refused."""
        result = self.invoke(*arguments, **environment)
        assert isinstance(result.exception, SystemExit), result.exception
        assert (result.exit_code, result.stdout) == (1, "")
        [line] = result.stderr.splitlines()
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")

    def agent(self, *scopes: str) -> str:
        """A new organization's new agent."""
        options = [option for scope in scopes for option in ("--scope", scope)]
        return self("agent", "create", "builder", "--organization", self("organization", "create", "Acme"), *options)


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


@pytest.fixture
def run(quiet: None, database_url: str) -> Command:
    """Commands on a database of the test's own."""
    return Command(database_url)


@pytest.fixture
def shared_run(quiet: None, shared_app: Flask) -> Command:
    """Commands on a database that tests share which change nothing."""
    return Command(shared_app.extensions["agentidp"].settings.database_url)


def commands() -> Iterator[tuple[str, ...]]:
    """The path of every command and group."""

    def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from walk(inner, (*path, name))

    return walk(cli, ())


@pytest.mark.parametrize("path", list(commands()), ids=lambda path: " ".join(path) or "agentidp")
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help_with_a_sentence_for_each_option(path: tuple[str, ...], option: str) -> None:
    result = CliRunner().invoke(cli, [*path, option], env={"AGENTIDP_DATABASE_URL": "nonsense"})
    assert result.exit_code == 0
    assert re.match(rf"Usage: cli {' '.join(path)}", result.stdout)
    description = result.stdout.split("\n\n")[1].strip()
    assert re.match(r"[A-Z][^.]*", description)
    for line in result.stdout.partition("Options:")[2].partition("Commands:")[0].splitlines():
        if line.lstrip().startswith("-") and not line.startswith("   " * 4):
            assert re.search(r"  +[A-Z]|  +[a-z]|[A-Z]$|\]$", line), line


def test_names_its_version() -> None:
    assert re.fullmatch(r"cli, version \d+\.\d+\.\d+\n", CliRunner().invoke(cli, ["--version"]).stdout)


class TestOrganization:
    """``agentidp organization``."""

    def test_create_prints_its_id_and_list_shows_it(self, run: Command) -> None:
        first, second = run("organization", "create", "Acme"), run("organization", "create", "Größe & Söhne")
        assert re.fullmatch(ORGANIZATION, first)
        lines = [line.split("\t") for line in run("organization", "list").splitlines()]
        assert [line[:3] for line in lines] == [[first, "Acme", "-"], [second, "Größe & Söhne", "-"]]
        assert all(re.fullmatch(TIME, line[3]) for line in lines)

    def test_as_json(self, run: Command) -> None:
        made = json.loads(run("organization", "create", "Acme", "--json"))
        assert made == {"organizationId": made["organizationId"], "name": "Acme"}
        [listed] = json.loads(run("organization", "list", "--json"))
        assert listed == made | {"monthlyTokenBudget": None, "createdAt": listed["createdAt"]}

    def test_there_is_none(self, run: Command) -> None:
        assert (run("organization", "list"), run("organization", "list", "--json")) == ("", "[]")

    def test_budget_is_printed_set_and_removed(self, run: Command) -> None:
        acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
        assert run("organization", "budget", acme) == "-"
        assert run("organization", "budget", acme, "1000000000000") == "1000000000000"
        assert run("organization", "budget", acme) == "1000000000000"
        assert run("organization", "budget", other, "1") == "1"
        listed = json.loads(run("organization", "list", "--json"))
        assert [one["monthlyTokenBudget"] for one in listed] == [1_000_000_000_000, 1]
        assert run("organization", "budget", acme, "--none") == "-"
        assert [run("organization", "budget", one) for one in (acme, other)] == ["-", "1"]

    def test_budget_that_is_no_good(self, shared_run: Command) -> None:
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
            ("", "must have 1 to 100 characters"),
            ("x" * 101, "must have 1 to 100 characters"),
            (" x", "must not begin or end with white space"),
            ("a\nb", "must not hold control characters or lone surrogates"),
            ("\udcff", "must not hold control characters or lone surrogates"),
        ],
    )
    def test_a_name_that_is_no_good(self, shared_run: Command, name: str, rule: str) -> None:
        assert shared_run.refused("organization", "create", name) == f"the name {rule}"
        assert shared_run("organization", "list") == ""


class TestAgent:
    """``agentidp agent``."""

    def test_create_prints_its_id_and_list_shows_it(self, run: Command) -> None:
        organization_id = run("organization", "create", "Acme")
        agent_id = run("agent", "create", "builder", "--organization", organization_id)
        assert re.fullmatch(UUID, agent_id)
        line = run("agent", "list", "--organization", organization_id).split("\t")
        assert line[:5] == [agent_id, "builder", "", "analytics:read agents:read", "active"]

    def test_as_json(self, run: Command) -> None:
        organization_id = run("organization", "create", "Acme")
        options = ("--organization", organization_id, "--description", "builds", "--scope", "agents:write")
        made = json.loads(run("agent", "create", "builder", *options, "--json"))
        assert made == {
            "agentId": made["agentId"],
            "name": "builder",
            "description": "builds",
            "scopes": ["agents:write"],
            "status": "active",
            "dpopBoundAccessTokens": False,
            "createdAt": made["createdAt"],
            "updatedAt": made["createdAt"],
        }
        assert json.loads(run("agent", "list", "--organization", organization_id, "--json")) == [made]

    def test_what_is_refused(self, run: Command) -> None:
        organization_id = run("organization", "create", "Acme")
        run("agent", "create", "builder", "--organization", organization_id)
        missing = f"org-{uuid.uuid4()}"
        for arguments, sentence in {
            ("builder", organization_id): "Another agent has this name. (name is taken)",
            ("", organization_id): "name must have 1 to 100 characters",
            ("a\tb", organization_id): "name must not hold control characters or lone surrogates",
            ("x", missing): f"there is no organization '{missing}'",
            ("x", "' or '1'='1"): "there is no organization \"' or '1'='1\"",
            ("x", "\udcff"): "there is no organization '\\udcff'",
        }.items():
            assert run.refused("agent", "create", arguments[0], "--organization", arguments[1]) == sentence
        assert run.refused("agent", "list", "--organization", missing) == f"there is no organization '{missing}'"
        description = run.refused("agent", "create", "x", "--organization", organization_id, "--description", "\udcff")
        assert description == "description must not hold control characters or lone surrogates"


class TestCredential:
    """``agentidp credential``."""

    def test_create_prints_the_secret_with_which_a_token_is_got(self, run: Command) -> None:
        agent_id = run.agent()
        credential_id, client_id, client_secret = run("credential", "create", "--agent", agent_id).split("\t")
        assert re.fullmatch(UUID, credential_id)
        assert client_id == agent_id
        app = create_app(Settings.from_environment(run.environment))
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        try:
            assert app.test_client().post("/api/v1/token", data=form).status_code == 200
            assert run("credential", "revoke", credential_id, "--agent", agent_id) == ""
            assert app.test_client().post("/api/v1/token", data=form).status_code == 401
        finally:
            app.extensions["agentidp"].close()
        assert run.refused("credential", "revoke", credential_id, "--agent", agent_id) == (
            f"the agent has no credential {credential_id}"
        )

    def test_as_json_and_with_an_expiry(self, run: Command) -> None:
        agent_id = run.agent()
        made = json.loads(run("credential", "create", "--agent", agent_id, "--expires-in", "30", "--json"))
        assert set(made) == {
            "credentialId",
            "clientId",
            "clientSecret",
            "jwks",
            "createdAt",
            "expiresAt",
            "lastUsedAt",
        }
        left = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
        assert timedelta(days=29, hours=23) < left <= timedelta(days=30)

    def test_of_an_agent_that_is_not_there(self, shared_run: Command) -> None:
        agent_id = str(uuid.uuid4())
        for arguments in (("create",), ("revoke", str(uuid.uuid4()))):
            assert shared_run.refused("credential", *arguments, "--agent", agent_id) == f"there is no agent {agent_id}"


class TestToken:
    """``agentidp token``."""

    def test_prints_a_bearer_token_and_nothing_else_counts_it_once_and_leaves_no_credential(self, run: Command) -> None:
        agent_id = run.agent()
        token = run("token", "--agent", agent_id)
        assert re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", token)
        claims = jwt.decode(token, options={"verify_signature": False})
        assert (claims["client_id"], claims["scope"]) == (agent_id, "analytics:read agents:read")
        counted = usage_sums(run.database_url, claims["organization_id"])
        assert {n for name, n in counted.items() if "rejected" not in name} == {1}
        with psycopg.connect(run.database_url) as connection:
            assert connection.execute("select count(*) from credentials").fetchone() == (0,)
        app = create_app(Settings.from_environment(run.environment))
        try:
            response = app.test_client().get(
                "/api/v1/analytics/tokens?days=1", headers={"Authorization": f"Bearer {token}"}
            )
            assert [day["count"] for day in response.json["data"]] == [1]
        finally:
            app.extensions["agentidp"].close()

    def test_with_fewer_scopes(self, run: Command) -> None:
        token = run("token", "--agent", run.agent(), "--scope", "agents:read")
        assert jwt.decode(token, options={"verify_signature": False})["scope"] == "agents:read"

    def test_for_our_own_api_by_its_identifier(self, run: Command) -> None:
        resource = "http://localhost:3000/api/v1"
        token = run("token", "--agent", run.agent(), "--resource", resource)
        assert jwt.decode(token, options={"verify_signature": False})["aud"] == resource

    def test_what_is_refused_counts_nothing_and_leaves_nothing(self, run: Command) -> None:
        agent_id = run.agent()
        nobody = str(uuid.uuid4())
        assert run.refused("token", "--agent", nobody) == f"there is no agent {nobody}"
        assert run.refused("token") == f"there is no agent {demo.OPERATOR_ID}"
        for scope, sentence in {
            "agents:write": "the agent does not have every scope that was asked for",
            "\udcff": "scope has characters or blanks that it must not have",
            "a  b": "scope has characters or blanks that it must not have",
        }.items():
            assert run.refused("token", "--agent", agent_id, "--scope", scope) == sentence
        for resource in ("api", "https://x.example/#part", "\udcff"):
            sentence = run.refused("token", "--agent", agent_id, "--resource", resource)
            assert sentence == "the resource must be an absolute URI without fragment"
        with psycopg.connect(run.database_url, autocommit=True) as connection:
            assert connection.execute("select count(*) from credentials").fetchone() == (0,)
            assert connection.execute("select count(*) from usage_daily").fetchone() == (0,)
            connection.execute("update agents set status = 'suspended'")
            assert run.refused("token", "--agent", agent_id) == f"the agent {agent_id} is suspended"
            connection.execute("update agents set deleted_at = now()")
            assert run.refused("token", "--agent", agent_id) == "there is no such agent"
            assert connection.execute("select count(*) from credentials").fetchone() == (0,)

    def test_of_an_agent_that_has_as_many_credentials_as_it_may(self, run: Command) -> None:
        agent_id = run.agent()
        with psycopg.connect(run.database_url) as connection:
            connection.execute(
                "insert into credentials (organization_id, agent_id, credential_id, secret_hash, created_at) "
                "select organization_id, agent_id, gen_random_uuid(), sha256('x'), now() "
                "from agents, generate_series(1, %s)",
                [MAXIMUM_CREDENTIALS],
            )
        assert run("token", "--agent", agent_id).count(".") == 2

    def test_of_the_demo(self, run: Command) -> None:
        assert run("demo") == f"Made the demo organization {demo.ORGANIZATION_ID}."
        assert run("demo") == f"There already is the demo organization {demo.ORGANIZATION_ID}."
        claims = jwt.decode(run("token"), options={"verify_signature": False})
        assert (claims["client_id"], claims["organization_id"]) == (str(demo.OPERATOR_ID), demo.ORGANIZATION_ID)


class TestResourceServer:
    """``agentidp resource-server``."""

    def test_assigns_transfers_lists_and_releases_an_identifier(self, run: Command) -> None:
        acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
        resource = "https://billing.example/v2"
        assert run("resource-server", "list") == ""
        assign = ("resource-server", "assign", resource, "--organization")
        assert run(*assign, acme) == f"{resource}\t{acme}\t-"
        assert run(*assign, other) == f"{resource}\t{other}\t{acme}"
        assert run("resource-server", "list") == f"{resource}\t{other}\t"
        assert run("resource-server", "release", resource) == f"{resource}\t-\t{other}"
        assert run("resource-server", "list", "--json") == "[]"

    def test_lists_conflicts(self, run: Command) -> None:
        acme, other = run("organization", "create", "Acme"), run("organization", "create", "Other")
        with psycopg.connect(run.database_url) as connection:
            for at, organization_id, resource in (
                (2, acme, "https://a"),
                (1, other, "https://a"),
                (1, acme, "https://b"),
            ):
                connection.execute(
                    "insert into resource_servers values (%s, gen_random_uuid(), %s, 'api', '{}', to_timestamp(%s))",
                    [organization_id, resource, at],
                )
        run("resource-server", "assign", "https://b/", "--organization", acme)
        assert run("resource-server", "list") == f"https://a\t-\t{other} {acme}\nhttps://b\t{acme}\t{acme}"
        assert json.loads(run("resource-server", "list", "--conflicts", "--json")) == [
            {"resource": "https://a", "organizationId": None, "registeredBy": [other, acme]}
        ]
        made = json.loads(run("resource-server", "assign", "https://a", "--organization", acme, "--json"))
        assert made == {"resource": "https://a", "organizationId": acme, "previously": None}
        assert run("resource-server", "list", "--conflicts") == ""
        released = json.loads(run("resource-server", "release", "https://a", "--json"))
        assert released == {"resource": "https://a", "organizationId": None, "previously": acme}

    def test_assign_verifies_before_it_changes_anything(self, run: Command) -> None:
        acme = run("organization", "create", "Acme")
        resource = "http://localhost:1/v2"
        sentence = run.refused("resource-server", "assign", resource, "--organization", acme, "--verify")
        assert sentence.startswith(f"the metadata of {resource} cannot be fetched: ")
        assert run("resource-server", "list") == ""

    def test_assign_takes_the_proof_of_the_resource_server(self, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        acme, asked = run("organization", "create", "Acme"), []
        monkeypatch.setattr(resource_identifiers, "verify_ownership", lambda *arguments: asked.append(arguments))
        assign = ("resource-server", "assign", "https://billing.example", "--organization", acme)
        run(*assign)
        assert asked == []
        run(*assign, "--verify")
        assert asked == [("https://billing.example", acme, "http://localhost:3000")]

    def test_what_is_refused(self, run: Command) -> None:
        acme, missing = run("organization", "create", "Acme"), f"org-{uuid.uuid4()}"
        own = "the resource must not be this server's own API or dashboard"
        for resource, organization_id, sentence in (
            ("https://x.example", missing, f"there is no organization '{missing}'"),
            ("x", acme, "the resource must be an absolute URI without fragment"),
            ("https://x.example/#part", acme, "the resource must be an absolute URI without fragment"),
            ("https://x.example/\udcff", acme, "the resource must be an absolute URI without fragment"),
            ("http://localhost:3000/api/v1", acme, own),
            ("http://localhost:3000/dashboard", acme, own),
            ("http://localhost:3000/dashboard/sign-in", acme, own),
        ):
            assert run.refused("resource-server", "assign", resource, "--organization", organization_id) == sentence
        for resource, sentence in {
            "https://x.example": "no organization holds the resource 'https://x.example'",
            "\udcff": "the resource must be an absolute URI without fragment",
        }.items():
            assert run.refused("resource-server", "release", resource) == sentence


class TestKeys:
    """``agentidp keys``."""

    def test_rotate_prints_the_new_key_and_list_shows_both(self, run: Command) -> None:
        [first] = [line.split("\t") for line in run("keys", "list").splitlines()]
        new = run("keys", "rotate").split("\t")
        assert (first[1], first[4], new[1], new[4]) == ("ES256", "signing", "ES256", "next")
        assert [line.split("\t") for line in run("keys", "list").splitlines()] == [new, first]

    def test_as_json(self, run: Command) -> None:
        new = json.loads(run("keys", "rotate", "--json"))
        listed = json.loads(run("keys", "list", "--json"))
        assert listed[0] == new
        assert set(new) == {"kid", "alg", "createdAt", "signsFrom", "status"}
        assert re.fullmatch(TIME, new["signsFrom"])


class TestDatabase:
    """``agentidp db``."""

    def test_migrate(self, run: Command, empty_database_url: str) -> None:
        assert run("db", "migrate") == "The schema is up to date."
        empty = Command(empty_database_url)
        assert re.fullmatch(r"0001_initial(\n[0-9]{4}_[a-z_]+)*", empty("db", "migrate"))
        assert empty("db", "migrate") == "The schema is up to date."

    def test_distribute(self, run: Command) -> None:
        assert run.refused("db", "distribute").startswith("the database has no Citus: ")
        install_stand_ins(run.database_url)
        printed = run("db", "distribute").splitlines()
        assert printed[0] == "count_at(integer)\ton every node"
        assert printed[-1] == "credentials\tdistributed by organization"
        assert run("db", "distribute") == "Everything is distributed."

    def test_distribute_needs_a_database_of_ones_own(self, shared_run: Command) -> None:
        sentence = shared_run.refused("db", "distribute", AGENTIDP_DATABASE_URL=None)
        assert sentence == "AGENTIDP_DATABASE_URL must name Citus's coordinator, as a superuser"

    def test_every_command_brings_an_empty_database_up_to_date(self, run: Command, empty_database_url: str) -> None:
        assert re.fullmatch(ORGANIZATION, Command(empty_database_url)("organization", "create", "Acme"))


class TestRefusals:
    """An error is one line that begins with ``Error:``, and exit code 1."""

    @pytest.mark.parametrize("command", [("organization", "list"), ("db", "migrate"), ("serve",), ("demo",)])
    def test_of_a_database_that_does_not_answer(self, shared_run: Command, command: tuple[str, ...]) -> None:
        sentence = shared_run.refused(*command, AGENTIDP_DATABASE_URL="postgresql://u:hush@127.0.0.1:1/x", PORT="3999")
        assert sentence.startswith("the database of AGENTIDP_DATABASE_URL does not answer: ")
        assert "hush" not in sentence

    @pytest.mark.parametrize(
        ("environment", "sentence"),
        [
            ({"AGENTIDP_TOKEN_TTL": "soon"}, "AGENTIDP_TOKEN_TTL must be a whole number from 60 to 86400, not 'soon'"),
            (
                {"AGENTIDP_SECRET_KEY": None},
                "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set where AGENTIDP_DATABASE_URL is",
            ),
            (
                {"AGENTIDP_SECRET_KEY": "another secret that nobody knows of"},
                "AGENTIDP_SECRET_KEY does not decrypt this database's signing keys: "
                "set the secret that the instance was started with",
            ),
        ],
    )
    def test_of_a_bad_setting(self, shared_run: Command, environment: dict[str, str | None], sentence: str) -> None:
        assert shared_run.refused("organization", "list", **environment) == sentence

    def test_of_a_role_that_may_not(self, run: Command, database_url: str) -> None:
        name = f"weak_{uuid.uuid4().hex}"
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"create role {name} login password 'x'")
            connection.execute(f"grant select on schema_migrations to {name}")
            try:
                url = re.sub(r"//[^@]*@", f"//{name}:x@", database_url)
                sentence = run.refused("organization", "create", "x", AGENTIDP_DATABASE_URL=url)
            finally:
                connection.execute(f"drop owned by {name}")
                connection.execute(f"drop role {name}")
        assert sentence == "the database's schema cannot be brought up to date: permission denied for schema public"

    @pytest.mark.parametrize(
        "arguments",
        [
            ("nonsense",),
            ("agent", "create"),
            ("agent", "create", "x"),
            ("agent", "create", "x", "--organization", "o", "--scope", "no"),
            ("token", "--agent", "no-uuid"),
            ("credential", "create", "--agent", str(uuid.uuid4()), "--expires-in", "0"),
            ("keys", "rotate", "--alg", "none"),
        ],
    )
    def test_of_a_command_that_is_written_wrong(self, shared_run: Command, arguments: tuple[str, ...]) -> None:
        result = shared_run.invoke(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_the_installed_command_prints_no_traceback_and_nothing_but_what_was_asked_for(database_url: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTIDP_")}
    environment |= {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}

    def agentidp(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "agentidp", *arguments],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    made = agentidp("organization", "create", "Acme")
    assert (made.returncode, made.stderr) == (0, "")
    assert re.fullmatch(ORGANIZATION + "\n", made.stdout)
    refused = agentidp("token", "--agent", str(uuid.UUID(int=1)))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "Error: there is no agent 00000000-0000-0000-0000-000000000001\n"
