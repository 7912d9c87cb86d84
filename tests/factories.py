"""What the tests are made of: organizations, agents, credentials, tokens and counted traffic."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from flask.testing import FlaskClient
from psycopg.rows import dict_row, tuple_row

from agentidp import demo
from agentidp.alerts.target_fields import NewAlertTargetSchema
from agentidp.alerts.targets import add_target
from agentidp.counting import Rejection, build_admission_call
from agentidp.db.database import configure_operator
from agentidp.db.organization import OrganizationDatabase, Transaction, operator_transaction
from agentidp.findings import DEFAULT_DAYS, ComputedFindings, build_findings_query
from agentidp.findings.finding import Finding, Severity, StoredFinding
from agentidp.findings.store import store_evaluation
from agentidp.jose import access_token as tokens
from agentidp.oauth import issuance
from agentidp.oauth.client import Client
from agentidp.registry import quotas
from agentidp.registry.agents import NewAgentSchema, add_agent
from agentidp.registry.credentials import add_credential
from agentidp.registry.markers import add_marker
from agentidp.registry.organizations import generate_organization_id, insert_organization
from agentidp.scopes import SCOPES
from agentidp.server.serve import gunicorn_config
from agentidp.services import Services
from agentidp.usage_history.monthly_sums import store_sums

_WITHOUT_NAME = NewAgentSchema(exclude=["name"])
NEW_AGENT: dict[str, Any] = {"status": "active"} | _WITHOUT_NAME.dump(_WITHOUT_NAME.load({}))
"""Default members of a new agent, except its name, as in the API, audit events and files of ``agentidp apply``."""

NOON = datetime(2026, 4, 15, 12, 0, tzinfo=UTC)
"""The default time of the tests, on a Wednesday."""

RESOURCE_METADATA = 'resource_metadata="http://localhost:3000/.well-known/oauth-protected-resource/api/v1"'
"""The end of every challenge of our own API (RFC 9728 section 5.1)."""

SECRET_KEY = "a-secret-for-the-tests-of-forty-characters"
ROOT = Path(__file__).resolve().parent.parent


class Clock:
    """A clock that a test sets. If *now* is ``None``, it shows the real time."""

    def __init__(self, now: datetime | None = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now or datetime.now(UTC)

    def advance(self, **delta: float) -> None:
        """Set the clock forward. The parameters are those of :class:`timedelta`."""
        assert self.now is not None
        self.now += timedelta(**delta)


@dataclass
class Agent:
    """A registered agent, the secret of its credential, and a token that is signed but not counted."""

    organization_id: str
    agent_id: UUID
    client_secret: str
    services: Services = field(repr=False)
    scopes: tuple[str, ...] = tuple(SCOPES)

    @property
    def client_id(self) -> str:
        """The agent's id as text, as in OAuth requests."""
        return str(self.agent_id)

    @property
    def form(self) -> dict[str, str]:
        """The form of a token request that succeeds."""
        return {"grant_type": "client_credentials", "client_id": self.client_id, "client_secret": self.client_secret}

    def token(self, **changes: Any) -> str:
        """Return a valid access token of the agent that is not counted, because the token endpoint has not issued it.

        :param changes: arguments of :func:`agentidp.jose.access_token.sign_access_token` to replace.
        """
        settings = self.services.settings
        arguments: dict[str, Any] = {
            "key": self.services.keys.current().signing,
            "issuer": settings.issuer,
            "audience": settings.resource,
            "organization_id": self.organization_id,
            "agent_id": self.agent_id,
            "scope": " ".join(self.scopes),
            "jti": uuid.uuid4().hex,
            "at": self.services.clock(),
            "ttl": settings.token_ttl,
        }
        arguments |= changes
        return tokens.sign_access_token(arguments.pop("key"), **arguments)

    def link(self, **changes: Any) -> str:
        """Return the path of a link that signs in to the dashboard. Its token is not counted."""
        arguments = {"audience": self.services.settings.dashboard_sign_in, "scope": "analytics:read", "ttl": 300}
        return f"/dashboard/sign-in?token={self.token(**(arguments | changes))}"

    def bearer(self, **changes: Any) -> dict[str, str]:
        """Return the request headers with a new :meth:`token`."""
        return {"Authorization": f"Bearer {self.token(**changes)}"}

    def count(self, at: datetime, **counts: Any) -> None:
        """Count usage of the agent, as :func:`count_usage` does."""
        count_usage(self.services, self.organization_id, self.agent_id, at, **counts)

    def get_tokens(self, client: FlaskClient, times: int, **form: str) -> None:
        """Get tokens from the token endpoint."""
        for _ in range(times):
            response = client.post("/api/v1/token", data=self.form | form)
            assert response.status_code == 200, response.json

    def credential_ids(self) -> list[UUID]:
        """Return the ids of the agent's credentials, oldest first."""
        return [row.credential_id for row in self.database.fetch("agents/list_credentials", agent_id=self.agent_id)]

    @property
    def database(self) -> OrganizationDatabase:
        """The database of the agent's organization, at the present time."""
        return database_of(self.services, self.organization_id)

    @property
    def database_url(self) -> str:
        """The URL of the database."""
        return str(self.services.settings.database_url)

    def sums(self) -> dict[str, int]:
        """Return the counts of the agent's organization, as :func:`usage_sums` does."""
        return usage_sums(self.database_url, self.organization_id)

    def colleague(self, name: str = "colleague", scopes: Iterable[str] = tuple(SCOPES)) -> Agent:
        """Return a new agent of the same organization."""
        return make_agent(self.services, self.organization_id, name, scopes)


class Api:
    """Sends requests to our API as an agent.

    :param changes: the arguments of :meth:`Agent.token`.
    """

    def __init__(self, client: FlaskClient, agent: Agent, **changes: Any) -> None:
        self.client, self.agent, self._changes = client, agent, changes

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return the response to a request. *path* is below ``/api/v1/``, or begins with ``/``."""
        full_path = path if path.startswith("/") else f"/api/v1/{path}"
        headers = self.agent.bearer(**self._changes)
        return self.client.open(full_path, method=method, json=body, query_string=query or None, headers=headers)

    get = partialmethod(send, "GET")
    post = partialmethod(send, "POST")
    patch = partialmethod(send, "PATCH")
    put = partialmethod(send, "PUT")
    delete = partialmethod(send, "DELETE")

    def token(self, **changes: Any) -> Any:
        """Return the response to a token request with the agent's secret."""
        return self.client.post("/api/v1/token", data=self.agent.form | changes)

    def last_event(self) -> Any:
        """Return the last event of the organization's audit trail."""
        return self.get("audit", limit=1).json["data"][0]


_owner_connections: dict[str, psycopg.Connection[Any]] = {}
"""This process's connection, by the URL of the last database. Connecting takes longer than most statements."""

_owner_lock = threading.Lock()


@contextlib.contextmanager
def owner_connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection with the role in *url*, without the application. Later calls for the same database get the
    same connection, unless another thread is using it.
    """
    if not _owner_lock.acquire(blocking=False):
        with psycopg.connect(url, autocommit=True) as connection:
            configure_operator(connection)
            yield connection
        return
    try:
        if url not in _owner_connections or _has_ended(_owner_connections[url]):
            close_owner_connection()
            _owner_connections[url] = psycopg.connect(url, autocommit=True)
            configure_operator(_owner_connections[url])
        yield _owner_connections[url]
    finally:
        _owner_lock.release()


def close_owner_connection() -> None:
    """Close the connection that :func:`owner_connection` has cached."""
    while _owner_connections:
        _owner_connections.popitem()[1].close()


def _has_ended(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has ended an idle connection, before which the server sends a message."""
    poll = select.poll()
    if not connection.closed:
        poll.register(connection, select.POLLIN)
    return connection.closed or bool(poll.poll(0))


def execute(url: str, statement: str, *parameters: Any) -> list[Any]:
    """Run and commit a statement as the owner of the tables, without the application, and return its rows."""
    with owner_connection(url) as connection:
        cursor = connection.cursor(row_factory=tuple_row).execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def database_of(services: Services, organization_id: str) -> OrganizationDatabase:
    """Return the database of an organization, at the present time."""
    return services.database.of(organization_id, services.clock())


def make_organization(services: Services, name: str = "Acme", organization_id: str | None = None) -> str:
    """Create an organization and return its id."""
    [new_id] = make_organizations(services, name, ids=[organization_id or generate_organization_id()])
    return new_id


def make_organizations(services: Services, *names: str, ids: Iterable[str] = ()) -> list[str]:
    """Create organizations on a connection of the operator, and return their ids."""
    new_ids = [*ids] or [generate_organization_id() for _ in names]
    with owner_connection(str(services.settings.database_url)) as connection:
        for organization_id, name in zip(new_ids, names, strict=True):
            with operator_transaction(connection, organization_id, services.clock()) as opened:
                insert_organization(opened, name=name)
    return new_ids


def make_agent(
    services: Services, organization_id: str, name: str = "builder", scopes: Iterable[str] = tuple(SCOPES)
) -> Agent:
    """Register an agent with one credential."""
    with database_of(services, organization_id).transaction() as transaction:
        row = add_agent(
            transaction, name=name, description="", scopes=list(scopes), max_agents=services.settings.max_agents
        )
        _, client_secret = add_credential(transaction, row.agent_id, expires_at=None)
    assert client_secret is not None
    return Agent(organization_id, row.agent_id, client_secret, services, tuple(scopes))


def demo_ids(services: Services) -> dict[str, UUID]:
    """Return the ids of the demo's agents, by name."""
    rows = database_of(services, demo.ORGANIZATION_ID).fetch("agents/agents_named", name=None, is_deleted=False)
    return {row.name: row.agent_id for row in rows}


def demo_path(services: Services, path: str) -> str:
    """Return *path* with the ids of the demo's agents in place of their names."""
    for name, agent_id in demo_ids(services).items():
        path = path.replace(f"/agents/{name}", f"/agents/{agent_id}")
    return path


def demo_operator(services: Services) -> Agent:
    """Return the demo's agent that has every scope."""
    return Agent(demo.ORGANIZATION_ID, demo_ids(services)[demo.OPERATOR.name], "", services)


def make_alert_target(
    services: Services, organization_id: str, name: str = "on-call", kinds: list[str] | None = None
) -> UUID:
    """Create an alert target and return its id. If another target has the name, a number is added to the name."""
    with database_of(services, organization_id).transaction() as transaction:
        name = free_target_name(transaction, name)
        values = {"name": name, "type": "webhook", "url": "https://hooks.example/services/secret", "kinds": kinds}
        row, _ = add_target(transaction, services.settings, NewAlertTargetSchema().load(values))
    target_id: UUID = row.target_id
    return target_id


def free_target_name(transaction: Transaction, name: str = "on-call") -> str:
    """Return a name for a new alert target, with a number if another target has the name."""
    names = [row.name for row in transaction.fetch("alerts/list_targets")]
    return f"{name} {len(names) + 1}" if name in names else name


def fail_target(services: Services, organization_id: str, target_id: UUID, *, is_gone: bool = False) -> None:
    """Record that an alert target has failed at noon.

    :param is_gone: whether the target refuses all further alerts.
    """
    database_of(services, organization_id).fetch_durably(
        "alerts/record_failure",
        target_id=target_id,
        delivery_id=target_id,
        error="the status of the response was 500",
        next_attempt_at=NOON,
        paused_until=NOON + timedelta(minutes=1),
        is_last=False,
        is_gone=is_gone,
    )


def make_marker(services: Services, organization_id: str) -> UUID:
    """Mark a deployment and return the marker's id."""
    with database_of(services, organization_id).transaction() as transaction:
        row = add_marker(
            transaction, kind="deployment", starts_at=transaction.at, ends_at=None, agent_id=None, note="release 7"
        )
    marker_id: UUID = row.marker_id
    return marker_id


def make_grant(agent: Agent, rule_id: UUID | None = None, subject: str = "x", resource: str | None = None) -> UUID:
    """Store a person's grant to an agent and return its id. Nobody has a token of the grant."""
    grant_id = uuid.uuid4()
    execute(
        agent.database_url,
        "insert into grants (organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, "
        "subject_encrypted, resource, scopes, token_digest, days, created_at, last_used_at, expires_at) values "
        "(%s, %s, %s, %s, 'https://issuer.example', %s, '', %s, '{a}', sha256(''), 30, now(), now(), '2999-01-01')",
        *(agent.organization_id, grant_id, agent.client_id, rule_id or uuid.uuid4(), subject),
        resource or f"https://{agent.client_id}.example",
    )
    return grant_id


def make_openid_provider(client: FlaskClient, agent: Agent) -> object:
    """Return the id of the OpenID provider of the agent's organization. Add a provider if there is none."""
    api = Api(client, agent)
    providers = api.get("openid-providers").json["data"]
    if providers:
        return providers[0]["openidProviderId"]
    body = {"issuer": f"https://{agent.client_id}.example", "clientId": agent.client_id}
    return api.post("openid-providers", body).json["openidProviderId"]


def _post(path: str, member: str, body: Callable[[str], Any]) -> Callable[[FlaskClient, Agent], object]:
    """Return a function that creates an object by a POST. The body contains the agent's id, so it differs per agent."""

    def make(client: FlaskClient, agent: Agent) -> object:
        return Api(client, agent).post(path.format(agent.client_id), body(agent.client_id)).json[member]

    return make


IDS: dict[str, Callable[[FlaskClient, Agent], object]] = {
    "agent_id": lambda _, agent: agent.client_id,
    "credential_id": _post("agents/{}/credentials", "credentialId", lambda _: None),
    "resource_server_id": _post(
        "resource-servers",
        "resourceServerId",
        lambda own: {"resource": f"https://{own}.example", "name": own, "scopes": [own]},
    ),
    "provisioning_rule_id": _post(
        "provisioning-rules",
        "provisioningRuleId",
        lambda own: {"name": own, "trust": {"issuer": "https://issuer.example", "claims": {"namespace": own}}},
    ),
    "delegation_rule_id": _post(
        "delegation-rules",
        "delegationRuleId",
        lambda own: {
            "name": own,
            "trust": {"issuer": "https://issuer.example", "claims": {"group": own}},
            "agentIds": [own],
            "resources": [{"resource": f"https://{own}.example", "scopes": [own]}],
        },
    ),
    "grant_id": lambda _, agent: make_grant(agent),
    "openid_provider_id": lambda client, agent: make_openid_provider(client, agent),
    "finding_id": lambda _, agent: make_finding(agent.services, agent.organization_id),
    "target_id": lambda _, agent: make_alert_target(agent.services, agent.organization_id, agent.client_id),
    "marker_id": lambda _, agent: make_marker(agent.services, agent.organization_id),
}
"""Functions that create an object of an agent or of its organization and return its id, by the id's name in routes."""


def make_one_of_each(client: FlaskClient, agent: Agent) -> dict[str, str]:
    """Create one object per name in :data:`IDS`, and the quotas. Return the ids by name."""
    # IDS does not create quotas, because they have no ids.
    make_quotas(agent)
    return {name: str(make(client, agent)) for name, make in IDS.items()}


def make_quotas(agent: Agent, *, tokens: int = 2_000_000) -> None:
    """Set a quota per day for an agent and for its organization."""
    with agent.services.database.of(agent.organization_id, agent.services.clock()).transaction() as opened:
        quotas.lock(opened)
        for agent_id in (agent.agent_id, None):
            quotas.set_quota(opened, agent_id, "day", tokens=tokens, is_enforced=True)


def count_usage(
    services: Services,
    organization_id: str,
    agent_id: UUID,
    at: datetime,
    *,
    tokens: int = 0,
    requests: int = 0,
    rejected: int = 0,
    resource: str | None = None,
) -> None:
    """Count *tokens* for a resource, *requests* (in addition to those for the tokens) and *rejected* requests at an
    instant, by the statements of the product.
    """
    digest = os.urandom(32)
    with services.database.of(organization_id, at).transaction() as transaction:
        if tokens:
            credential_id = uuid.uuid4()
            transaction.fetch(
                "agents/add_credential",
                agent_id=agent_id,
                credential_id=credential_id,
                secret_hash=digest,
                jwks=None,
                trust=None,
                trust_selector=None,
                label=None,
                expires_at=None,
                max_credentials=1000,
            )
            call = issuance.build_call(
                Client(organization_id, agent_id, secret_hash=digest),
                scope=None,
                resource=resource,
                has_proof=False,
                is_counted=True,
            )
            for _ in range(tokens):
                assert transaction.run(call)
            transaction.fetch("agents/forget_credential", credential_id=credential_id)
        for _ in range(requests):
            assert transaction.run(build_admission_call(agent_id, "a", at))
        for _ in range(rejected):
            for call in Rejection(organization_id, agent_id, "secret", "wrong secret").build_calls():
                transaction.run(call)


def count_delegation(agent: Agent, subject: Agent | str, at: datetime, tokens: int, resource: str) -> None:
    """Count tokens that an agent got from exchanges, by the function of the product.

    :param subject: the agent for which the agent acts, or the issuer of the tokens of the people.
    """
    subject_agent_id, issuer = (None, subject) if isinstance(subject, str) else (subject.agent_id, None)
    with owner_connection(str(agent.services.settings.database_url)) as connection, connection.transaction():
        connection.execute("select set_config('agentidp.organization_id', %s, true)", [agent.organization_id])
        for _ in range(tokens):
            connection.execute(
                "select count_delegation(%s, %s, %s, %s, %s, %s)",
                [agent.organization_id, agent.agent_id, subject_agent_id, issuer, resource, at.date()],
            )


def make_findings(
    services: Services, organization_id: str, *findings: Finding, days: int = DEFAULT_DAYS
) -> list[StoredFinding]:
    """Store *findings* as the result of an evaluation of the last *days* days, and return the stored findings."""
    database = database_of(services, organization_id)
    with database.transaction() as opened:
        return store_evaluation(
            opened, ComputedFindings([*findings]), build_findings_query(database.at, services.settings, days=days)
        )


def make_finding(services: Services, organization_id: str, finding: Finding | None = None) -> UUID:
    """Store a finding as the only finding of an evaluation, and return its id."""
    return make_findings(services, organization_id, finding or a_finding(services.clock()))[0].finding_id


def a_finding(at: datetime, **changes: Any) -> Finding:
    """Return an ongoing spike. *changes* replace its members."""
    values = {
        "kind": "spike",
        "severity": Severity.warning,
        "begins": at - timedelta(hours=1),
        "ends": at,
        "unit": "tokens",
        "observed": 900,
        "expected": 100,
        "baseline": "a test's",
        "summary": "The organization was issued 900 tokens in an hour; typically it is 100.",
        "causes": "A test.",
        "next_step": "See whether it passes.",
    }
    return Finding(**(values | changes))


def known_finding(finding: Finding, **changes: Any) -> StoredFinding:
    """Return a finding as it would be stored. It is ongoing, unless *changes* replace its members."""
    values = {
        "finding_id": uuid.uuid4(),
        "highest": finding.severity,
        "first_seen_at": finding.begins,
        "last_seen_at": finding.ends,
    }
    return StoredFinding(**(vars(finding) | values | changes))


def usage_sums(url: str, organization_id: str) -> dict[str, int]:
    """Return the sums of an organization's counters, read as the operator: tokens of the organization, per agent, per
    credential and resource, and of the stored monthly sums; requests and rejected requests.
    """
    by_hour = "(select sum(n) from unnest({}_by_hour) n)"
    columns = {
        "tokens": ("usage_daily", "tokens"),
        "tokens_by_hour": ("usage_daily", by_hour.format("tokens")),
        "requests": ("usage_daily", by_hour.format("requests")),
        "rejected": ("usage_daily", by_hour.format("rejected")),
    }
    for name in ("tokens", "requests", "rejected"):
        columns[f"agent_{name}"] = ("agent_usage_daily", name)
        columns[f"agent_{name}_by_hour"] = ("agent_usage_daily", by_hour.format(name))
    columns["credential_tokens"] = ("credential_usage_daily", "tokens")
    columns["credential_tokens_by_hour"] = ("credential_usage_daily", by_hour.format("tokens"))
    columns["monthly_tokens"] = ("usage_monthly", "tokens")
    columns["agent_monthly_tokens"] = ("usage_monthly", "(select sum(n) from unnest(agent_tokens) n)")
    sums = ", ".join(
        f"(select coalesce(sum({value}), 0)::bigint from {table} where organization_id = %(organization_id)s) as {name}"
        for name, (table, value) in columns.items()
    )
    with owner_connection(url) as connection:
        store_sums(connection, organization_id, datetime(9000, 1, 1, tzinfo=UTC))
        with connection.transaction():
            connection.execute("select set_config('agentidp.organization_id', %s, true)", [organization_id])
            cursor = connection.cursor(row_factory=dict_row)
            row: dict[str, int] = cursor.execute(f"select {sums}", {"organization_id": organization_id}).fetchone()
    return row


def _ports() -> Iterator[int]:
    """Yield ports below those that the kernel chooses (from 32768 on by default), in an endless cycle. Each process of
    a test run has ports of its own, and each run on this machine begins at a random port.
    """
    first = 10_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(first, 32_768, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    begin = secrets.randbelow(len(ports))
    return itertools.cycle([*ports[begin:], *ports[:begin]])


_PORTS = _ports()


def free_port() -> int:
    """Return a TCP port of the loopback address on which nothing listens, and which no other test gets."""
    while True:
        port = next(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def clean_environment(*prefixes: str) -> dict[str, str]:
    """Return the environment of the tests without settings of AgentIdP, except ``AGENTIDP_FAST_PATH``.

    :param prefixes: prefixes of further variables to leave out.
    """
    fast_path = {"AGENTIDP_FAST_PATH": os.environ.get("AGENTIDP_FAST_PATH", "")}
    return {k: v for k, v in os.environ.items() if not k.startswith(("AGENTIDP_", *prefixes))} | fast_path


class Server:
    """``agentidp serve`` in a process of its own, with gunicorn as in production.

    :param application: the application that gunicorn runs without ``agentidp serve``; empty for ``agentidp serve``.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *arguments: str,
        bind: str | None = None,
        directory: Path = ROOT,
        application: str = "",
    ) -> None:
        self.directory, self.application = directory, application
        self.port = int(environment.get("PORT") or free_port())
        self.url = f"http://localhost:{self.port}"
        self.environment = {
            **clean_environment(),
            "PORT": str(self.port),
            # The stored findings would depend on the time of an evaluation.
            "AGENTIDP_WATCH": "off",
            # Tests that load the server have few agents, which would reach this limit.
            "AGENTIDP_TOKENS_PER_AGENT_AND_MINUTE": "0",
            **environment,
        }
        launcher = ["agentidp", "serve", *arguments, *(["--bind", bind] if bind else [])]
        gunicorn = ["gunicorn", "--config", str(gunicorn_config()), application]
        self.command = [sys.executable, "-m", *(gunicorn if application else launcher)]

    def __enter__(self) -> Server:
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        import threading

        self._lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(iter(self.process.stderr.readline, "")))
        self._reader.start()
        assert self.process.stdout is not None
        if self.application:
            wait_until(lambda: self.process.poll() is not None or self._responds())
            has_started = self.process.poll() is None
        else:
            self.greeting = self.process.stdout.readline()
            has_started = "AgentIdP runs at" in self.greeting
        if not has_started:
            self.__exit__()
            raise AssertionError(f"the server did not start: {''.join(self._lines)[-3000:]}")
        return self

    def logs(self) -> str:
        """Return the standard error of the server until now."""
        return "".join(self._lines)

    def _responds(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.get("/healthz"))
        return False

    def main_process(self) -> int:
        """Return the process ID of gunicorn's main process."""
        if self.application:
            return self.process.pid
        [gunicorn] = children(self.process.pid, "gunicorn")
        return gunicorn

    def workers(self) -> list[int]:
        """Return the process IDs of gunicorn's workers."""
        return children(self.main_process(), "gunicorn")

    def kill(self) -> None:
        """Kill all processes of the server, and wait until none of them accepts connections."""
        for process in (self.process.pid, self.main_process(), *self.workers()):
            os.kill(process, signal.SIGKILL)
        self.process.wait(PATIENCE)
        # The kernel closes the sockets of a killed process later. Until then it accepts connections, and resets them.
        wait_until(lambda: not self._listens())

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        """Return the body of the response to a GET."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers or {})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            body: bytes = response.read()
            return body

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert self.process.stderr is not None
        self.process.stderr.close()


class ServerWithoutLauncher(Server):
    """gunicorn without the launcher, which takes more than a second of processor time to start. The database has the
    schema and a signing key.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment, application="agentidp:create_app()")


def children(parent: int, name: str) -> list[int]:
    """Return the process IDs of the children of *parent* whose command line contains *name*, sorted.

    The first need not be the oldest, because after the highest process ID the kernel begins again at the lowest. The
    kernel deletes the command line of a process that ends before it closes the sockets of that process, so such a
    process is included until it is a zombie without other threads.
    """
    processes = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            try:
                status = (directory / "stat").read_text().rpartition(")")[2].split()
                command = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            state, threads = status[0], int(status[17])
            is_ending = not command and (state != "Z" or threads > 1)
            if int(status[1]) == parent and (name.encode() in command or is_ending):
                processes.append(int(directory.name))
    return sorted(processes)


PATIENCE = 60.0
"""Maximum seconds for which a test waits. A slow machine needs less."""


WAITING = """
    select pid from pg_locks join pg_database on pg_database.oid = database
    where locktype = 'advisory' and not granted and datname = current_database()
"""
"""Statement that returns the process IDs of connections that wait for an advisory lock in this database."""


def wait_until(condition: Any, timeout: float = PATIENCE) -> None:
    """Wait until *condition* is true, or fail."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
