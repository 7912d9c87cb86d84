"""A resource identifier belongs to one organization of the instance, which alone gets tokens for it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from flask.testing import FlaskClient
from psycopg import pq
from werkzeug.test import TestResponse

from agentidp.db.database import SERVICE_ROLE
from agentidp.registry import resource_identifiers, resource_servers
from agentidp.registry.resource_identifiers import MAX_CLAIMS
from agentidp.services import Services
from tests.citus import REFUSED_BY_CITUS, someone_waits
from tests.conftest import Cast
from tests.db.test_migrations import query
from tests.factories import NOON, PATIENCE, Agent, usage_sums, wait_until
from tests.oauth.test_introspection import INACTIVE, introspect

TAKEN = {"code": "CONFLICT", "message": "The resource is registered already.", "details": {"resource": ["is taken"]}}
INVALID_TARGET = {
    "error": "invalid_target",
    "error_description": "resource is not a resource server whose identifier the organization holds",
}
SCOPE = "invoices:read"


@pytest.fixture
def resource() -> str:
    """An identifier of the test's own, as the application is shared."""
    return f"https://billing.example/{uuid.uuid4()}"


def register(client: FlaskClient, agent: Agent, resource: str) -> TestResponse:
    """Register a resource server."""
    body = {"resource": resource, "name": "billing", "scopes": [SCOPE]}
    return client.post("/api/v1/resource-servers", json=body, headers=agent.bearer())


def get_token(client: FlaskClient, agent: Agent, resource: str) -> TestResponse:
    """Ask for a token for a resource server; the agent gets its scope first, from whatever server has it."""
    path = f"/api/v1/agents/{agent.agent_id}"
    scopes = {"scopes": ["analytics:read", "agents:read", "agents:write", SCOPE]}
    assert client.patch(path, json=scopes, headers=agent.bearer()).status_code == 200
    form = {
        "grant_type": "client_credentials",
        "client_id": agent.client_id,
        "client_secret": agent.client_secret,
        "resource": resource,
    }
    return client.post("/api/v1/token", data=form)


def held(database_url: str, agent: Agent) -> list[object]:
    """What the organization of an agent holds, read as the operator."""
    identifiers = resource_identifiers.resource_identifiers(database_url)
    return [one.resource for one in identifiers if one.organization_id == agent.organization_id]


def leave_duplicate(database_url: str, cast: Cast, resource: str) -> None:
    """What a release of the identifier leaves: two organizations that have registered it, and nobody's claim."""
    for agent in (cast.acme, cast.outsider):
        query(
            database_url,
            f"insert into resource_servers values ('{agent.organization_id}', '{uuid.uuid4()}', '{resource}', "
            f"'billing', '{{{SCOPE}}}', now())",
        )


def test_another_organization_cannot_register_it_and_gets_no_token_for_it(
    client: FlaskClient, cast: Cast, resource: str
) -> None:
    assert register(client, cast.acme, resource).status_code == 201
    refused = register(client, cast.outsider, resource)
    assert (refused.status_code, refused.json) == (409, TAKEN)
    assert cast.acme.organization_id not in refused.text
    # The outsider's agent has a scope of the same name from a resource server of its own.
    assert register(client, cast.outsider, f"{resource}/own").status_code == 201
    answers = [get_token(client, agent, resource) for agent in (cast.acme, cast.outsider)]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].json == INVALID_TARGET


@pytest.mark.parametrize(
    "resource",
    [
        "http://localhost:3000/api/v1",
        "http://localhost:3000/dashboard",
        "http://localhost:3000/dashboard/sign-in",
        "http://localhost:3000/dashboard/",
        "http://LOCALHOST:3000/API/v1//",
        "HTTP://localhost:3000/Dashboard/Sign-in",
    ],
)
def test_nobody_can_register_what_this_servers_own_tokens_are_for(
    client: FlaskClient, cast: Cast, resource: str
) -> None:
    refused = register(client, cast.acme, resource)
    assert refused.status_code == 400
    assert refused.json["details"] == {"resource": ["must not be this server's own API or dashboard"]}


def test_an_organization_that_registers_its_own_again_gets_the_same_response(
    client: FlaskClient, cast: Cast, resource: str
) -> None:
    assert register(client, cast.acme, resource).status_code == 201
    refused = register(client, cast.acme, resource)
    assert (refused.status_code, refused.json) == (409, TAKEN)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://{}.example/v2", "https://{}.example/v2/"),
        ("https://{}.example", "https://{}.example/"),
        ("https://{}.example/v2", "HTTPS://{}.EXAMPLE/v2"),
        ("https://{}.example:443/v2", "https://{}.example/v2"),
        ("http://{}.example:080", "http://{}.example"),
        ("urn:example:{}", "URN:Example:{}"),
    ],
)
def test_a_spelling_that_may_be_taken_for_it_belongs_to_the_same_organization(
    client: FlaskClient, cast: Cast, first: str, second: str
) -> None:
    name = uuid.uuid4().hex
    for one, other, agent, loser in (
        (first.format(name), second.format(name), cast.acme, cast.outsider),
        (second.format(f"{name}b"), first.format(f"{name}b"), cast.outsider, cast.acme),
    ):
        assert register(client, agent, one).status_code == 201
        assert register(client, loser, other).json == TAKEN
        assert register(client, agent, other).status_code == 201
        assert [get_token(client, agent, spelling).status_code for spelling in (one, other)] == [200, 200]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://{}.example", "http://{}.example"),
        ("https://{}.example/v2", "https://{}.example/v3"),
        ("https://{}.example", "https://{}.example:8443"),
        ("https://{}.example", "https://{}.example:80"),
        ("https://{}.example:4430", "https://{}.example"),
    ],
)
def test_another_identifier_can_belong_to_another_organization(
    client: FlaskClient, cast: Cast, first: str, second: str
) -> None:
    name = uuid.uuid4().hex
    assert register(client, cast.acme, first.format(name)).status_code == 201
    assert register(client, cast.outsider, second.format(name)).status_code == 201


def test_it_stays_with_the_organization_when_the_resource_server_is_deleted(
    client: FlaskClient, cast: Cast, resource: str
) -> None:
    address = register(client, cast.acme, resource).headers["Location"]
    assert client.delete(address, headers=cast.acme.bearer()).status_code == 204
    assert register(client, cast.outsider, resource).json == TAKEN
    assert register(client, cast.acme, resource).status_code == 201


def test_a_registration_that_is_refused_claims_nothing(
    client: FlaskClient, cast: Cast, database_url: str, resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_servers, "MAX_RESOURCE_SERVERS", 0)
    refused = register(client, cast.acme, resource)
    assert refused.json["details"] == {"resource": ["at most 0 at a time"]}
    assert held(database_url, cast.acme) == []
    monkeypatch.undo()
    assert register(client, cast.outsider, resource).status_code == 201


def test_an_organization_cannot_claim_without_end(
    client: FlaskClient, cast: Cast, database_url: str, resource: str
) -> None:
    address = register(client, cast.acme, resource).headers["Location"]
    query(
        database_url,
        f"insert into resource_identifiers select '{resource}/' || n, '{cast.acme.organization_id}', now() "
        f"from generate_series(1, {MAX_CLAIMS - 2}) n",
    )
    last = register(client, cast.acme, f"{resource}/last")
    assert last.status_code == 201
    assert client.delete(last.headers["Location"], headers=cast.acme.bearer()).status_code == 204
    for beyond in (f"{resource}/beyond", f"https://outsiders.example/{uuid.uuid4()}"):
        refused = register(client, cast.acme, beyond)
        assert (refused.status_code, refused.json) == (
            409,
            {
                "code": "CONFLICT",
                "message": f"The organization holds {MAX_CLAIMS} resource identifiers; "
                "only an operator can release one.",
                "details": {"resource": [f"at most {MAX_CLAIMS} for an organization"]},
            },
        )
    assert client.delete(address, headers=cast.acme.bearer()).status_code == 204
    assert register(client, cast.acme, resource).status_code == 201, "what it holds it can register again"
    assert register(client, cast.outsider, f"https://outsiders.example/{uuid.uuid4()}").status_code == 201


def test_a_duplicate_is_refused_until_the_operator_assigns_it(
    client: FlaskClient, cast: Cast, services: Services, database_url: str, resource: str
) -> None:
    leave_duplicate(database_url, cast, resource)
    agents = {"acme": cast.acme, "outsider": cast.outsider}
    for name, agent in agents.items():
        # Holding another identifier is no claim to this one.
        assert register(client, agent, f"https://{name}.example/{uuid.uuid4()}").status_code == 201
    tokens = {name: agent.token(audience=resource, scope=SCOPE) for name, agent in agents.items()}

    def seen() -> dict[str, tuple[int, bool]]:
        return {
            name: (
                get_token(client, agent, resource).status_code,
                introspect(client, agent, tokens[name]).json["active"],
            )
            for name, agent in agents.items()
        }

    before = usage_sums(database_url, cast.acme.organization_id)["tokens"]
    assert seen() == {"acme": (400, False), "outsider": (400, False)}
    assert get_token(client, cast.acme, resource).json == INVALID_TARGET
    assert usage_sums(database_url, cast.acme.organization_id)["tokens"] == before

    assert resource_identifiers.assign(services.settings, resource, cast.acme.organization_id, NOON) is None
    assert seen() == {"acme": (200, True), "outsider": (400, False)}
    assert introspect(client, cast.outsider, tokens["outsider"]).json == INACTIVE

    previous = resource_identifiers.assign(services.settings, resource, cast.outsider.organization_id, NOON)
    assert previous == cast.acme.organization_id
    assert seen() == {"acme": (400, False), "outsider": (200, True)}

    assert resource_identifiers.release(database_url, resource, NOON) == cast.outsider.organization_id
    assert seen() == {"acme": (400, False), "outsider": (400, False)}


def test_of_two_organizations_that_register_at_the_same_moment_one_gets_it(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    agents = (cast.acme, cast.outsider)
    barrier = threading.Barrier(2)

    def at_once(agent: Agent, resource: str) -> TestResponse:
        barrier.wait(PATIENCE)
        return register(client.application.test_client(), agent, resource)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            resource = f"https://{uuid.uuid4()}.example"
            answers = list(threads.map(at_once, agents, [resource] * 2))
            assert sorted(answer.status_code for answer in answers) == [201, 409]
            [loser] = [answer for answer in answers if answer.status_code == 409]
            assert loser.json == TAKEN
            [winner] = [agent for agent, answer in zip(agents, answers, strict=True) if answer.status_code == 201]
            assert resource in held(database_url, winner)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_who_comes_second_waits_for_the_first_and_gets_what_that_gives_up(
    client: FlaskClient, cast: Cast, database_url: str, resource: str, ending: str
) -> None:
    answers: list[TestResponse] = []
    with psycopg.connect(database_url) as first:
        first.execute("insert into resource_identifiers values (%s, %s, now())", [resource, cast.acme.organization_id])
        thread = threading.Thread(target=lambda: answers.append(register(client, cast.outsider, resource)))
        thread.start()
        wait_until(lambda: someone_waits(database_url))
        getattr(first, ending)()
    thread.join(PATIENCE)
    assert [answer.status_code for answer in answers] == [409 if ending == "commit" else 201]


@pytest.fixture
def service(database_url: str, cast: Cast) -> Iterator[psycopg.Connection]:
    """A connection of the service's role that sees Acme; each organization holds an identifier."""
    with psycopg.connect(database_url) as connection:
        for agent in (cast.acme, cast.outsider):
            name = f"https://{agent.organization_id}.example"
            connection.execute("insert into resource_identifiers values (%s, %s, now())", [name, agent.organization_id])
        connection.execute(f"set role {SERVICE_ROLE}")
        connection.execute("select set_config('agentidp.organization_id', %s, true)", [cast.acme.organization_id])
        yield connection
        connection.rollback()


def test_an_organization_sees_its_own_claims_only(service: psycopg.Connection, cast: Cast) -> None:
    seen = service.execute("select organization_id from resource_identifiers").fetchall()
    assert seen == [(cast.acme.organization_id,)]
    service.execute("select set_config('agentidp.organization_id', '', true)")
    assert service.execute("select * from resource_identifiers").fetchall() == []


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        pytest.param(
            "insert into resource_identifiers values ('https://new.example', %s, now())",
            "row-level security",
            marks=REFUSED_BY_CITUS,  # The fixture writes as another role in the same transaction.
        ),
        ("update resource_identifiers set organization_id = %s", "permission denied"),
        ("delete from resource_identifiers where organization_id <> %s", "permission denied"),
    ],
)
def test_the_service_claims_for_its_organization_and_does_nothing_else(
    service: psycopg.Connection, cast: Cast, statement: str, rule: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=rule):
        service.execute(statement.encode(), [cast.outsider.organization_id])
    assert service.info.transaction_status == pq.TransactionStatus.INERROR


class TestOperator:
    """What ``agentidp resource-server`` does."""

    def test_lists_who_holds_and_who_has_registered_each(
        self, client: FlaskClient, cast: Cast, services: Services, database_url: str, resource: str
    ) -> None:
        duplicate, reserved = f"{resource}/duplicate", f"{resource}/reserved"
        acme, outsider = cast.acme.organization_id, cast.outsider.organization_id
        register(client, cast.acme, resource.upper())
        leave_duplicate(database_url, cast, duplicate)
        resource_identifiers.assign(services.settings, f"{reserved}/", outsider, NOON)
        listed = [
            one for one in resource_identifiers.resource_identifiers(database_url) if one.resource.startswith(resource)
        ]
        assert listed == [
            (resource, acme, (acme,)),
            (duplicate, None, (acme, outsider)),
            (reserved, outsider, ()),
        ]
        conflicts = resource_identifiers.resource_identifiers(database_url, conflicts=True)
        assert [one.resource for one in conflicts if one.resource.startswith(resource)] == [duplicate]

    def test_a_released_identifier_goes_to_the_next_that_registers_it(
        self, client: FlaskClient, cast: Cast, database_url: str, resource: str
    ) -> None:
        register(client, cast.acme, resource)
        resource_identifiers.release(database_url, resource, NOON)
        assert register(client, cast.outsider, resource).status_code == 201
        assert held(database_url, cast.outsider) == [resource]
