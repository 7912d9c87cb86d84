"""Each route and each command that changes something records an audit event without secrets."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask.testing import FlaskClient
from jwt.algorithms import ECAlgorithm

from agentidp.actor import find_operator
from agentidp.audit import INSTANCE
from agentidp.cli import cli
from agentidp.oauth.client_secret import PATTERN
from agentidp.oauth.throttle import MAX_FAILURES_PER_MINUTE
from agentidp.services import Services
from tests.audit.conftest import events_of, verified
from tests.citus import WITHOUT_CITUS
from tests.cli.command import Command
from tests.dashboard.conftest import SAME_ORIGIN, post, with_session
from tests.dashboard.test_routes import form_of
from tests.factories import SECRET_KEY, Agent, execute, make_one_of_each
from tests.maintenance.conftest import rows_of
from tests.routes import ALL, Route
from tests.sharing import acme, app

__all__ = ["acme", "app"]

WRITING = [route for route in ALL if route.method != "GET"]
UNRECORDED = {
    "POST /api/v1/mcp": "Its tools only read.",
    "POST /dashboard/agents/<uuid:agent_id>/trust/test": "compares a token with rules, and changes nothing",
    "POST /dashboard/provisioning-rules/test": "the same",
    "POST /api/v1/token": "tokens are counted",
    "POST /authorize": "needs a person; tests/authorization compares its events",
    "POST /authorize/grants": "the same",
    "POST /api/v1/token/introspect": "changes nothing",
    "POST /api/v1/alert-targets/<uuid:target_id>/test": "sends a message and changes nothing",
}
"""Routes with other methods than GET that record no event -> the reason."""

WRITING_AT_GET = {"GET /dashboard/sign-in", "GET /dashboard/sign-in/oidc/callback"}
"""GET routes that sign in: a sign-in link, and the redirect back from a provider."""


@pytest.fixture
def url(services: Services) -> str:
    """The URL of the database that the tests of this module share. Commands use another database."""
    return str(services.settings.database_url)


def test_every_route_that_leaves_no_event_is_there() -> None:
    assert UNRECORDED.keys() <= {str(route) for route in WRITING}
    assert {str(route) for route in ALL} >= WRITING_AT_GET


@pytest.mark.parametrize("route", [route for route in WRITING if str(route) not in UNRECORDED], ids=str)
def test_a_route_that_changes_something_leaves_one_event(
    client: FlaskClient, acme: Agent, url: str, route: Route
) -> None:
    other = acme.colleague("the other")
    ids = make_one_of_each(client, other)
    path = route.path(**ids)
    if route.endpoint == "openid-providers.create_openid_provider":
        # An organization has at most one.
        assert client.delete(f"{path}/{ids['openid_provider_id']}", headers=acme.bearer()).status_code == 204
    event_count = len(events_of(url, acme.organization_id))
    request: dict[str, Any] = {"headers": {"X-Request-Id": "of-this-test"}}
    secret = {"client_id": acme.client_id, "client_secret": acme.client_secret}
    if route.authentication == "session":
        with_session(client, acme)
        request["data"] = (form_of(route, other.client_id) or {}) | {"monthlyTokenBudget": "5"}
    elif route.rule == "/dashboard/sign-in":
        request["data"] = secret
    elif route.authentication == "client":
        request["data"] = secret | {"token": other.token()}
    else:
        request["json"] = route.body_for(other.agent_id)
    request["headers"] |= SAME_ORIGIN if "data" in request else acme.bearer()
    if route.rule.endswith("action>"):
        path = path.replace("/resume", "/suspend").replace("/test", "/disable")
    response = client.open(path, method=route.method, **request)
    assert response.status_code < 400, response.text
    added = events_of(url, acme.organization_id)[event_count:]
    assert len(added) == 1, (
        f"call audit.record in the transaction in which {route} changes something, "
        "or say in UNRECORDED why it leaves no event"
    )
    [event] = added
    is_of_a_session = route.rule.startswith("/dashboard")
    assert (event["actorType"], event["actor"]) == ("session" if is_of_a_session else "agent", acme.client_id)
    assert (event["requestId"], event["clientAddress"]) == ("of-this-test", "127.0.0.1")
    assert verified(url, acme.organization_id).broken_at is None


@pytest.mark.parametrize("route", [route for route in ALL if route.method == "GET"], ids=str)
def test_a_route_that_reads_leaves_none(client: FlaskClient, acme: Agent, url: str, route: Route) -> None:
    if route.authentication == "session":
        with_session(client, acme)
    events = events_of(url, acme.organization_id)
    client.get(route.path(acme.agent_id), headers=acme.bearer())
    assert events_of(url, acme.organization_id) == events


class TestSigningIn:
    def attempts(self, url: str, agent: Agent) -> list[tuple[str, str, str, Any]]:
        return [
            (event["action"], event["actorType"], event["actor"], event["after"])
            for event in events_of(url, agent.organization_id)
            if event["subject"] == agent.client_id and event["action"] != "agent.created"
        ]

    def test_by_a_link(self, client: FlaskClient, acme: Agent, url: str) -> None:
        link = acme.link()
        assert client.get(link).status_code == 303
        assert client.get(link).status_code == 401
        assert client.get(acme.link(at=acme.services.clock().replace(year=2025))).status_code == 401
        refused = ("agent.sign_in_refused", "anonymous", "anonymous", {"by": "link", "reason": "invalid_token"})
        assert self.attempts(url, acme) == [
            ("agent.signed_in", "session", acme.client_id, {"by": "link"}),
            refused,
            refused,
        ]

    def test_by_a_token(self, client: FlaskClient, acme: Agent, url: str) -> None:
        token = acme.token()
        assert client.post("/dashboard/sign-in", data={"token": token}, headers=SAME_ORIGIN).status_code == 303
        assert client.post("/dashboard/sign-out", headers=SAME_ORIGIN).status_code == 303
        expired = acme.token(at=acme.services.clock().replace(year=2025))
        assert client.post("/dashboard/sign-in", data={"token": expired}, headers=SAME_ORIGIN).status_code == 401
        assert client.post("/dashboard/sign-in", data={"token": "none"}, headers=SAME_ORIGIN).status_code == 401
        assert self.attempts(url, acme) == [
            ("agent.signed_in", "session", acme.client_id, {"by": "token"}),
            ("agent.signed_out", "session", acme.client_id, None),
            ("agent.sign_in_refused", "anonymous", "anonymous", {"by": "token", "reason": "invalid_token"}),
        ]

    def test_by_a_credential(self, client: FlaskClient, acme: Agent, url: str) -> None:
        wrong = {"client_id": acme.client_id, "client_secret": "wrong"}
        assert client.post("/dashboard/sign-in", data=wrong, headers=SAME_ORIGIN).status_code == 401
        unknown = {"client_id": str(uuid.uuid4()), "client_secret": "wrong"}
        assert client.post("/dashboard/sign-in", data=unknown, headers=SAME_ORIGIN).status_code == 401
        blind = acme.colleague("blind", ["agents:read"])
        right = {"client_id": blind.client_id, "client_secret": blind.client_secret}
        assert client.post("/dashboard/sign-in", data=right, headers=SAME_ORIGIN).status_code == 403
        reasons = {"by": "credential", "reason": "invalid_client"}, {"by": "credential", "reason": "invalid_scope"}
        assert self.attempts(url, acme) == [("agent.sign_in_refused", "anonymous", "anonymous", reasons[0])]
        assert self.attempts(url, blind) == [("agent.sign_in_refused", "anonymous", "anonymous", reasons[1])]

    def test_refusals_cannot_fill_the_disk(self, client: FlaskClient, acme: Agent, url: str) -> None:
        for number in range(MAX_FAILURES_PER_MINUTE + 5):
            client.post(
                "/dashboard/sign-in",
                data={"client_id": acme.client_id, "client_secret": "wrong"},
                headers=SAME_ORIGIN,
                # Each attempt comes from another address, so that the throttle of authentication does not apply.
                environ_base={"REMOTE_ADDR": f"10.0.0.{number}"},
            )
        assert len(self.attempts(url, acme)) == MAX_FAILURES_PER_MINUTE


def chains(url: str) -> list[str]:
    return [chain for (chain,) in execute(url, "select organization_id from audit_heads")]


class Story:
    """Prepare objects for commands that change something, by other commands."""

    def __init__(self, run: Command, directory: Path) -> None:
        self.run, self.directory = run, directory
        self.organization = run("organization", "create", "Acme")
        self.agent = run("agent", "create", "builder", "--organization", self.organization)
        run("resource-server", "create", "https://api.example", "--organization", self.organization, "--name", "api")

    def file(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def usage_import(self) -> tuple[str, ...]:
        file = self.file("usage.csv", f"time,agent,tokens\n2020-01-01T00:00:00Z,{self.agent},1\n")
        return file, "--organization", self.organization

    def restored_backup(self) -> tuple[str, ...]:
        file = str(self.directory / "agentidp.dump")
        self.run("backup", file)
        return file, "--clean"

    def old_usage(self) -> tuple[str, ...]:
        self.run("usage", "import", *self.usage_import())
        return "--keep", "25months"

    def events(self) -> list[dict[str, Any]]:
        return [event for chain in chains(self.run.database_url) for event in events_of(self.run.database_url, chain)]


CHANGES: dict[str, Callable[[Story], tuple[str, ...]]] = {
    "agent erase": lambda story: (story.agent,),
    "apply": lambda story: ("-f", story.file("new.yaml", "organizations: [{name: New, agents: [{name: new}]}]")),
    "audit prune": lambda _: ("--keep", "0"),
    "dashboard": lambda story: ("--agent", story.agent),
    "demo": lambda _: (),
    "keys reencrypt": lambda _: (),
    "keys revoke": lambda story: (story.run("keys", "list").split("\t")[0],),
    "keys rotate": lambda _: (),
    "organization create": lambda _: ("Other", "--with-administrator"),
    "organization delete": lambda story: (story.organization,),
    "organization rename": lambda story: (story.organization, "Acme II"),
    "organization resume": lambda story: (story.organization,),
    "organization suspend": lambda story: (story.organization,),
    "resource-server assign": lambda story: (
        *("https://api.example", "--organization", story.run("organization", "create", "Other")),
    ),
    "resource-server release": lambda _: ("https://api.example",),
    "restore": Story.restored_backup,
    "token": lambda story: ("--agent", story.agent),
    "usage import": Story.usage_import,
    "usage prune": Story.old_usage,
}
"""Command -> arguments with which it changes something. ``--yes`` is added if the command asks."""

BEFORE: dict[str, Callable[[Story], tuple[str, ...]]] = {
    "agent erase": lambda story: ("agent", "delete", "--yes", story.agent),
    "organization resume": lambda story: ("organization", "suspend", "--yes", story.organization),
}
"""Command -> the commands that must run first."""

AS_OVER_HTTP = {
    *(f"agent {verb}" for verb in ("create", "delete", "end-tokens", "resume", "suspend", "update")),
    *(f"alerts target {verb}" for verb in ("add", "delete", "update")),
    *(f"credential {verb}" for verb in ("create", "revoke", "trust")),
    *(f"findings {verb}" for verb in ("acknowledge", "mute", "unmute")),
    *("delegation-rule create", "delegation-rule delete", "grant end"),
    *("marker create", "marker delete"),
    *(f"organization {setting}" for setting in ("budget", "dormancy", "provisioning")),
    *(f"openid-provider {verb}" for verb in ("create", "delete", "update")),
    *("provisioning-rule create", "provisioning-rule delete", "quota remove", "quota set"),
    *(f"resource-server {verb}" for verb in ("create", "delete", "update")),
}
"""Commands that call the same function as a route, which records the change."""

READS = {
    *(f"{things} list" for things in ("agent", "alerts target", "audit", "credential", "delegation-rule", "findings")),
    *(f"{things} list" for things in ("grant", "keys", "marker", "openid-provider", "organization")),
    *(f"{things} list" for things in ("provisioning-rule", "quota")),
    *(f"{thing} show" for thing in ("agent", "alerts target", "findings")),
    *("resource-server list", "resource-server show", "alerts deliver", "alerts deliveries"),
    *("alerts target key", "alerts target test"),
    *("audit export", "organization export", "usage export", "audit verify", "credential test", "findings compute"),
    *("agent rejections",),
    *("backup", "check", "db distribute", "db migrate", "serve", "watch"),
}
"""Commands that change no setting of an organization or of the operator."""


def commands(group: click.Group = cli, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command with the names of its groups."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


ASKING = {name for name, command in commands() if any("--yes" in option.opts for option in command.params)}
"""Commands that ask before they change something."""

ENDING = re.compile(r"\.(deleted|erased|pruned|released|restored|revoked)")
"""Actions after which an object no longer exists or works."""


def ends_something(event: dict[str, Any]) -> bool:
    return bool(ENDING.search(event["action"])) or (event["after"] or {}).get("status") == "suspended"


def test_every_command_says_whether_it_changes_something() -> None:
    assert {name for name, _ in commands()} == CHANGES.keys() | AS_OVER_HTTP | READS, (
        "add arguments with which the command changes something to CHANGES, or add it to READS if it does not"
    )


@pytest.mark.parametrize(
    "command",
    # On Citus, base backups replace this command.
    [pytest.param(command, marks=WITHOUT_CITUS if command == "restore" else ()) for command in CHANGES],
)
def test_a_command_that_changes_something_leaves_events_and_asks_before_it_ends_something(
    quiet: None, database_url: str, tmp_path: Path, command: str
) -> None:
    run = Command(database_url)
    story = Story(run, tmp_path)
    environment = {}
    if command in BEFORE:
        run(*BEFORE[command](story))
    if command == "keys reencrypt":
        environment = {"AGENTIDP_SECRET_KEY": SECRET_KEY.swapcase(), "AGENTIDP_SECRET_KEY_PREVIOUS": SECRET_KEY}
    arguments = CHANGES[command](story)
    options = ["--yes"] if command in ASKING else []
    if options:
        rows = rows_of(database_url)
        question = re.sub(r"org-\S+|[0-9a-f-]{36}", "", run.asked(*command.split(), *arguments))
        assert re.search(r"\b\d", question), f"{command} should say how much it changes"
        assert rows_of(database_url) == rows, f"{command} changes something before it asks"
    earlier_ids = {event["eventId"] for event in story.events()}
    result = run.invoke(*command.split(), *options, *arguments, **environment)
    assert result.exit_code == 0, result.output
    added = [event for event in story.events() if event["eventId"] not in earlier_ids]
    assert added, f"call audit.record in the transaction in which {command} changes something"
    # The demo revokes one of its own credentials.
    created = {event["subject"] for event in added if event["action"].endswith(".created")}
    ended = [event["action"] for event in added if ends_something(event) and event["subject"] not in created]
    assert command in ASKING or not ended, f"{command} ends something ({ended}): declare it by @require_confirmation"
    for chain in chains(database_url):
        # In the demo, people allow grants.
        events = [event for event in events_of(database_url, chain) if event["action"] != "grant.allowed"]
        assert {(event["actorType"], event["actor"]) for event in events} == {("operator", find_operator().name)}
        assert verified(database_url, chain).broken_at is None


def test_no_secret_and_no_hash_of_one_is_recorded(quiet: None, client: FlaskClient, acme: Agent, url: str) -> None:
    """Change each kind of object, and search the trail for every secret that was used."""
    run = Command(url)
    secrets = [SECRET_KEY, acme.client_secret]
    new = client.post(f"/api/v1/agents/{acme.agent_id}/credentials", headers=acme.bearer()).json
    secrets.append(new["clientSecret"])
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(ECAlgorithm.to_jwk(private.public_key()))
    client.post(f"/api/v1/agents/{acme.agent_id}/credentials", json={"jwk": jwk}, headers=acme.bearer())
    secrets.append(json.loads(ECAlgorithm.to_jwk(private))["d"])
    secrets += [run("token", "--agent", acme.client_id), run("dashboard", "--agent", acme.client_id).partition("=")[2]]
    secrets.append(run("credential", "create", "--agent", acme.client_id).split("\t")[2])
    client.get("/dashboard/sign-in", query_string={"token": secrets[-2]})
    with_session(client, acme)
    page = post(client, f"/dashboard/agents/{acme.agent_id}/rotate").text
    [shown] = re.findall(PATTERN, page)
    secrets.append(shown)
    run("organization", "create", "Other", "--with-administrator")
    run("keys", "rotate")
    target = {"name": "on-call", "type": "webhook", "url": "https://hooks.example/services/to-ken"}
    target_body = client.post("/api/v1/alert-targets", json=target, headers=acme.bearer()).json
    secrets += ["to-ken", target_body["secret"]]
    client.patch(f"/api/v1/alert-targets/{target_body['targetId']}", json={"url": target["url"]}, headers=acme.bearer())
    sealed = [
        bytes(value)
        for query in (
            "select private_key_encrypted from signing_keys",
            "select secret_hash from credentials where secret_hash is not null",
            "select sealed from alert_targets",
        )
        for (value,) in execute(url, query)
    ]
    assert INSTANCE in chains(url)
    hidden = [*secrets, *(form for value in sealed for form in (value.hex(), base64.b64encode(value).decode()))]
    assert len(hidden) > 15
    recorded = json.dumps([events_of(url, chain) for chain in chains(url)])
    assert jwk["x"] in recorded
    assert [secret for secret in hidden if secret in recorded] == []
