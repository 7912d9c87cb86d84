"""The gateways of docs/oauth.md, as they stand there, take a token of their organization for their resource only."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from agentidp.registry.resource_identifiers import assign_identifier
from tests.factories import ROOT, Agent, make_agent, make_organization
from tests.oauth.conftest import Provider, play

RESOURCE = "https://billing.example/v2"
ORGANIZATION = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
"""The organization and the resource in the guide."""

GUIDE = (ROOT / "docs" / "oauth.md").read_text(encoding="utf-8")
SCOPE = "invoices:read"
CHALLENGE = 'Bearer error="invalid_token"'

# What nginx's JavaScript module gives to the handler of a request.
REQUEST = """
import { readFileSync } from 'node:fs'
import gateway from './gateway.mjs'

const given = JSON.parse(readFileSync(0, 'utf8'))
const seen = { status: null, headers: {}, asked: null }
await gateway.authorize({
  headersIn: given.authorization === null ? {} : { Authorization: given.authorization },
  headersOut: seen.headers,
  variables: { required_scope: given.required_scope },
  return: (status) => { seen.status = status },
  subrequest: async (address, { method, body }) => {
    seen.asked = address
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded', Authorization: given.client }
    const reply = await fetch(given.introspection, { method, body, headers })
    return { status: reply.status, responseText: await reply.text() }
  },
})
console.log(JSON.stringify(seen))
"""


def sample(heading: str, language: str) -> str:
    """Return the first block in a language below a heading of the guide."""
    section = GUIDE.split(f"### {heading}\n")[1].split("\n## ")[0]
    match = re.search(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert match is not None
    return match[1]


@dataclass
class Story:
    """Two organizations that have registered the gateway's identifier; the operator has assigned it to the first."""

    provider: Provider
    acme: Agent
    outsider: Agent

    def assign(self, agent: Agent) -> None:
        """Give the identifier to the organization of an agent."""
        assign_identifier(agent.services.settings, RESOURCE, agent.organization_id, agent.services.clock())


@pytest.fixture(scope="module")
def story(provider: Provider) -> Iterator[Story]:
    """The story on a running provider."""
    services = provider.operator.services
    acme = make_agent(services, make_organization(services, "Acme", ORGANIZATION))
    outsider = make_agent(services, make_organization(services, "Outsider"))
    story = Story(provider, acme, outsider)
    for agent in (outsider, acme):
        story.assign(agent)
        registrar = Provider(provider.url, agent)
        registrar.call("POST", "/api/v1/resource-servers", resource=RESOURCE, name="billing", scopes=[SCOPE])
    yield story


Gateway = Callable[..., tuple[int, dict[str, str]]]
"""The type of functions that return the status and headers for an Authorization header, or for ``None``."""


@pytest.fixture(scope="module")
def nginx(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A function that runs gateway.js in Node, like nginx's module."""
    directory = tmp_path_factory.mktemp("gateway")
    (directory / "gateway.mjs").write_text(sample("nginx, by introspection", "javascript"))
    (directory / "request.mjs").write_text(REQUEST)

    def authorize(authorization: str | None, asker: Agent = story.acme) -> tuple[int, dict[str, str]]:
        pair = base64.b64encode(f"{asker.client_id}:{asker.client_secret}".encode()).decode()
        given = {
            "authorization": authorization,
            "required_scope": SCOPE,
            "client": f"Basic {pair}",
            "introspection": f"{story.provider.url}/api/v1/token/introspect",
        }
        seen = play(directory, "request.mjs", given)
        assert seen["asked"] == (None if authorization is None else "/_introspect")
        return seen["status"], seen["headers"]

    return authorize


@pytest.fixture(scope="module")
def published_keys(story: Story) -> Gateway:
    """The WSGI application that verifies by the published keys."""
    names: dict[str, Any] = {"ISSUER": story.provider.url, "ORGANIZATION": ORGANIZATION}
    exec(compile(sample("By the published keys", "python"), "docs/oauth.md", "exec"), names)  # noqa: S102 - the guide's own sample

    def authorize(authorization: str | None) -> tuple[int, dict[str, str]]:
        answers: list[tuple[int, dict[str, str]]] = []
        environ = {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}
        body = names["application"](environ, lambda status, headers: answers.append((int(status[:3]), dict(headers))))
        assert body == []
        [answer] = answers
        return answer

    return authorize


@pytest.fixture(params=[pytest.param("nginx", marks=pytest.mark.node), "published_keys"])
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Each of the gateways."""
    gateway_fixture: Gateway = request.getfixturevalue(request.param)
    return gateway_fixture


def bearer(agent: Agent, **changes: Any) -> str:
    """Return a header with a token for the gateway."""
    return agent.bearer(**{"audience": RESOURCE, "scope": f"{SCOPE} other:scope"} | changes)["Authorization"]


def test_takes_a_token_of_its_organization_and_of_no_other(story: Story, gateway: Gateway) -> None:
    assert gateway(bearer(story.acme)) == (204, {"X-Agent": story.acme.client_id})
    assert gateway(bearer(story.outsider)) == (401, {"WWW-Authenticate": CHALLENGE})


@pytest.mark.node
def test_nginx_refuses_it_also_if_the_identifier_and_its_own_credential_are_the_other_organizations(
    story: Story, nginx: Gateway
) -> None:
    story.assign(story.outsider)
    try:
        assert nginx(bearer(story.outsider), asker=story.outsider) == (401, {"WWW-Authenticate": CHALLENGE})
    finally:
        story.assign(story.acme)


def test_refuses_what_is_not_for_it(story: Story, gateway: Gateway) -> None:
    acme = story.acme
    for authorization in (
        None,
        bearer(acme, audience=f"{story.provider.url}/api/v1"),
        bearer(acme, audience=f"{RESOURCE}/"),
        bearer(acme, jkt="a-thumbprint"),
        bearer(acme, issuer="https://another.example"),
        bearer(acme)[:-4] + "AAAA",
    ):
        assert gateway(authorization) == (401, {"WWW-Authenticate": CHALLENGE}), authorization
    assert gateway(bearer(acme, scope="invoices:write"))[0] == 403
