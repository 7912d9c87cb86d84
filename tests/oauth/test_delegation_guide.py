"""The examples of docs/delegation.md run unchanged."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import jwt
import pytest

from tests.factories import ROOT
from tests.federation.issuer import Issuer
from tests.oauth.conftest import Provider

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs" / "delegation.md").read_text(encoding="utf-8")
_, _, EXAMPLES = GUIDE.partition("\n## Examples\n")
FUNCTIONS, ACT, DECIDE, CHAIN, MCP = re.findall(r"```python\n(.*?)\n```", EXAMPLES, re.DOTALL)


def run(sample: str, names: dict[str, Any]) -> None:
    exec(compile(sample, "docs/delegation.md", "exec"), names)  # noqa: S102 - the guide's own sample


@pytest.fixture
def names(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the guide's code defines, with their values."""
    monkeypatch.setenv("ISSUER", provider.url)
    monkeypatch.setenv("ORGANIZATION", provider.operator.organization_id)
    names: dict[str, Any] = {}
    run(FUNCTIONS, names)
    return names


def server(provider: Provider, name: str, *scopes: str, run_by: str | None = None) -> None:
    body = {"resource": f"https://{name}.acme.example", "name": name, "scopes": list(scopes), "agentId": run_by}
    provider.call("POST", "/api/v1/resource-servers", **body)


def test_a_person_acts_by_an_agent_at_an_api(
    provider: Provider, names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server(provider, "tickets", "tickets:read", "tickets:write")
    desk, login = provider.register(["tickets:write"]), Issuer.with_curve("https://login.acme.example")
    rule = {
        "name": "support staff",
        "trust": {"issuer": login.url, "claims": {"groups": "support"}, "jwks": login.jwks()},
        "agentIds": [desk["client_id"]],
        "resources": [{"resource": "https://tickets.acme.example", "scopes": ["tickets:read", "tickets:write"]}],
    }
    provider.call("POST", "/api/v1/delegation-rules", **rule)
    names["DESK"] = desk["client_id"], desk["client_secret"]
    names["id_token"] = login.token(desk["client_id"], int(time.time()), sub="ann", groups="support")
    run(ACT, names)
    run(DECIDE, names)
    assert capsys.readouterr().out == f"('https://login.acme.example', 'ann') by ['{desk['client_id']}']\n"
    with pytest.raises(jwt.PyJWTError):
        names["verified"](names["access_token"], "https://other.acme.example")


def test_agents_act_for_a_planner_at_an_mcp_server(provider: Provider, names: dict[str, Any]) -> None:
    agents = "PLANNER", "RESEARCHER", "LIBRARIAN", "ARCHIVIST"
    server(provider, "mcp", "books:read")
    made = {name: provider.register(["books:read"]) for name in agents}
    for name in agents[1:]:
        server(provider, name.lower(), "books:read", run_by=made[name]["client_id"])
    names |= {name: (who["client_id"], who["client_secret"]) for name, who in made.items()}
    run(CHAIN, names)
    run(MCP, names)
    verified_token = asyncio.run(names["Verifier"]().verify_token(names["for_mcp"]))
    assert (verified_token.subject, verified_token.client_id, verified_token.scopes) == (
        made["PLANNER"]["client_id"],
        made["ARCHIVIST"]["client_id"],
        ["books:read"],
    )
    assert names["actors"](verified_token.claims) == [made[name]["client_id"] for name in reversed(agents[1:])]
    assert asyncio.run(names["Verifier"]().verify_token(names["for_archivist"])) is None
