"""A resource identifier belongs to one organization of the instance. Only its agents get tokens for it."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from agentidp.db.database import SERVICE_ROLE
from agentidp.registry import resource_identifiers, resource_servers
from agentidp.services import Services
from tests.citus import someone_waits
from tests.conftest import Cast
from tests.factories import NOON, PATIENCE, Api, execute, usage_sums, wait_until
from tests.helpers.introspection import INACTIVE, introspect

TAKEN = {"code": "CONFLICT", "message": "The resource is registered already.", "details": {"resource": ["is taken"]}}
INVALID_TARGET = {
    "error": "invalid_target",
    "error_description": "the organization has no resource server for resource, or does not own its identifier",
}
SCOPE = "invoices:read"


@pytest.fixture
def resource() -> str:
    """A new identifier, because the tests share the application."""
    return f"https://billing.example/{uuid.uuid4()}"


def register(api: Api, resource: str) -> Any:
    return api.post("resource-servers", {"resource": resource, "name": "billing", "scopes": [SCOPE]})


def get_token(api: Api, resource: str) -> Any:
    """Give an agent the scope of a resource server, and request a token for the server."""
    scopes = {"scopes": ["analytics:read", "agents:read", "agents:write", SCOPE]}
    assert api.patch(f"agents/{api.agent.agent_id}", scopes).status_code == 200
    return api.token(resource=resource)


def held(database_url: str, api: Api) -> list[object]:
    """Return the identifiers that an agent's organization holds, read as the operator."""
    identifiers = resource_identifiers.list_resource_identifiers(database_url)
    return [
        identifier.resource for identifier in identifiers if identifier.organization_id == api.agent.organization_id
    ]


def leave_duplicate(database_url: str, cast: Cast, resource: str) -> None:
    """An identifier after its release: two organizations have registered it, and no organization holds it."""
    for agent in (cast.acme, cast.outsider):
        execute(
            database_url,
            f"insert into resource_servers values ('{agent.organization_id}', '{uuid.uuid4()}', '{resource}', "
            f"'billing', '{{{SCOPE}}}', now())",
        )


def test_nobody_else_can_register_it_or_gets_a_token_for_it(acme: Api, outsider: Api, resource: str) -> None:
    address = register(acme, resource).headers["Location"]
    for again in (acme, outsider):
        refused = register(again, resource)
        assert (refused.status_code, refused.json) == (409, TAKEN)
        assert acme.agent.organization_id not in refused.text
    # The outsider's own resource server has a scope of the same name.
    assert register(outsider, f"{resource}/own").status_code == 201
    assert get_token(acme, resource).status_code == 200
    refused = get_token(outsider, resource)
    assert (refused.status_code, refused.json) == (400, INVALID_TARGET)
    # Other spellings are the same identifier.
    assert register(outsider, f"{resource}/").json == TAKEN
    assert register(acme, f"{resource}/").status_code == 201
    assert get_token(acme, f"{resource}/").status_code == 200
    # The organization keeps the identifier after the resource server is deleted.
    assert acme.delete(address).status_code == 204
    assert register(outsider, resource).json == TAKEN
    assert register(acme, resource).status_code == 201


@pytest.mark.parametrize(
    "resource",
    ["http://localhost:3000/api/v1", "http://localhost:3000/dashboard/sign-in", "HTTP://LOCALHOST:3000/dashboard//"],
)
def test_nobody_can_register_what_this_servers_own_tokens_are_for(acme: Api, resource: str) -> None:
    refused = register(acme, resource)
    assert refused.status_code == 400
    assert refused.json["details"] == {"resource": ["must not be this server's own API or dashboard"]}


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("https://x.example/v2", "https://x.example/v2/", True),
        ("https://x.example", "https://x.example//", True),
        ("https://x.example/v2", "HTTPS://X.EXAMPLE/V2", True),
        ("https://x.example:443/v2", "https://x.example/v2", True),
        ("http://x.example:080", "http://x.example", True),
        ("urn:example:x", "URN:Example:x", True),
        ("https://x.example", "http://x.example", False),
        ("https://x.example/v2", "https://x.example/v3", False),
        ("https://x.example", "https://x.example:8443", False),
        ("https://x.example", "https://x.example:80", False),
        ("https://x.example:4430", "https://x.example", False),
    ],
)
def test_which_spellings_may_be_taken_for_the_same(database_url: str, first: str, second: str, is_same: bool) -> None:
    assert execute(database_url, "select resource_key(%s) = resource_key(%s)", first, second) == [(is_same,)]


def test_a_registration_that_is_refused_claims_nothing(
    acme: Api, outsider: Api, database_url: str, resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_servers, "MAX_RESOURCE_SERVERS", 0)
    refused = register(acme, resource)
    assert refused.json["details"] == {"resource": ["at most 0 at a time"]}
    assert held(database_url, acme) == []
    monkeypatch.undo()
    assert register(outsider, resource).status_code == 201


def test_an_organization_cannot_claim_without_end(
    acme: Api, outsider: Api, resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_identifiers, "MAX_CLAIMS", 2)
    for address in [register(acme, f"{resource}/{number}").headers["Location"] for number in range(2)]:
        assert acme.delete(address).status_code == 204
    refused = register(acme, f"{resource}/beyond")
    assert (refused.status_code, refused.json) == (
        409,
        {
            "code": "CONFLICT",
            "message": "The organization owns 2 resource identifiers; only an operator can release one.",
            "details": {"resource": ["at most 2 for an organization"]},
        },
    )
    assert register(acme, f"{resource}/0").status_code == 201, "what it holds it can register again"
    assert register(outsider, f"{resource}/beyond").status_code == 201


def test_a_duplicate_is_refused_until_the_operator_assigns_it(
    acme: Api, outsider: Api, cast: Cast, services: Services, database_url: str, resource: str
) -> None:
    leave_duplicate(database_url, cast, resource)
    agents = {"acme": acme, "outsider": outsider}
    for name, api in agents.items():
        # An organization that holds another identifier does not hold this one.
        assert register(api, f"https://{name}.example/{uuid.uuid4()}").status_code == 201
    tokens = {name: api.agent.token(audience=resource, scope=SCOPE) for name, api in agents.items()}

    def statuses() -> dict[str, tuple[int, bool]]:
        return {
            name: (get_token(api, resource).status_code, introspect(api.client, api.agent, tokens[name]).json["active"])
            for name, api in agents.items()
        }

    issued = usage_sums(database_url, cast.acme.organization_id)["tokens"]
    assert statuses() == {"acme": (400, False), "outsider": (400, False)}
    assert get_token(acme, resource).json == INVALID_TARGET
    assert usage_sums(database_url, cast.acme.organization_id)["tokens"] == issued

    assert resource_identifiers.assign_identifier(services.settings, resource, cast.acme.organization_id, NOON) is None
    assert statuses() == {"acme": (200, True), "outsider": (400, False)}
    assert introspect(outsider.client, cast.outsider, tokens["outsider"]).json == INACTIVE

    previous = resource_identifiers.assign_identifier(services.settings, resource, cast.outsider.organization_id, NOON)
    assert previous == cast.acme.organization_id
    # The trail of the organization that has lost the identifier says so.
    event = acme.last_event()
    assert (event["action"], event["subject"]) == ("resource.released", resource)
    assert event["before"] == {"organizationId": cast.acme.organization_id}
    assert statuses() == {"acme": (400, False), "outsider": (200, True)}

    assert resource_identifiers.release_identifier(database_url, resource, NOON) == cast.outsider.organization_id
    assert statuses() == {"acme": (400, False), "outsider": (400, False)}


def test_of_two_organizations_that_register_at_the_same_moment_one_gets_it(
    acme: Api, outsider: Api, database_url: str
) -> None:
    agents = (acme, outsider)
    barrier = threading.Barrier(2)

    def at_once(api: Api, resource: str) -> Any:
        barrier.wait(PATIENCE)
        return register(Api(api.client.application.test_client(), api.agent), resource)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            resource = f"https://{uuid.uuid4()}.example"
            answers = list(threads.map(at_once, agents, [resource] * 2))
            assert sorted(answer.status_code for answer in answers) == [201, 409]
            [loser] = [answer for answer in answers if answer.status_code == 409]
            assert loser.json == TAKEN
            [winner] = [api for api, answer in zip(agents, answers, strict=True) if answer.status_code == 201]
            assert resource in held(database_url, winner)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_who_comes_second_waits_for_the_first_and_gets_what_that_gives_up(
    outsider: Api, cast: Cast, database_url: str, resource: str, ending: str
) -> None:
    answers: list[Any] = []
    with psycopg.connect(database_url) as first:
        first.execute("insert into resource_identifiers values (%s, %s, now())", [resource, cast.acme.organization_id])
        thread = threading.Thread(target=lambda: answers.append(register(outsider, resource)))
        thread.start()
        wait_until(lambda: someone_waits(database_url))
        getattr(first, ending)()
    thread.join(PATIENCE)
    assert [answer.status_code for answer in answers] == [409 if ending == "commit" else 201]


def test_the_service_can_neither_transfer_nor_release(database_url: str) -> None:
    may = "select has_table_privilege(%s, 'resource_identifiers', 'update, delete, truncate')"
    assert execute(database_url, may, SERVICE_ROLE) == [(False,)]


class TestOperator:
    """The operator's functions behind ``agentidp resource-server``."""

    def test_lists_who_holds_and_who_has_registered_each(
        self, acme: Api, cast: Cast, services: Services, database_url: str, resource: str
    ) -> None:
        duplicate, reserved = f"{resource}/duplicate", f"{resource}/reserved"
        register(acme, resource.upper())
        leave_duplicate(database_url, cast, duplicate)
        ids = cast.acme.organization_id, cast.outsider.organization_id
        resource_identifiers.assign_identifier(services.settings, f"{reserved}/", ids[1], NOON)
        listed = [
            identifier
            for identifier in resource_identifiers.list_resource_identifiers(database_url)
            if identifier.resource.startswith(resource)
        ]
        assert listed == [(resource, ids[0], ids[:1]), (duplicate, None, ids), (reserved, ids[1], ())]
        conflicts = resource_identifiers.list_resource_identifiers(database_url, only_unowned=True)
        assert [identifier.resource for identifier in conflicts if identifier.resource.startswith(resource)] == [
            duplicate
        ]

    def test_a_released_identifier_goes_to_the_next_that_registers_it(
        self, acme: Api, outsider: Api, database_url: str, resource: str
    ) -> None:
        register(acme, resource)
        resource_identifiers.release_identifier(database_url, resource, NOON)
        event = acme.last_event()
        assert (event["action"], event["subject"]) == ("resource.released", resource)
        assert event["before"] == {"organizationId": acme.agent.organization_id}
        assert register(outsider, resource).status_code == 201
        assert held(database_url, outsider) == [resource]
