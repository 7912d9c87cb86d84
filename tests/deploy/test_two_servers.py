"""Two servers behind nginx: what one has begun, the other one ends, also if the first is killed meanwhile."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import requests

from agentidp import create_app
from agentidp.clock import utc_now
from agentidp.outbound.networks import LOOPBACK
from tests.authorization.conftest import VERIFIER, editor_of
from tests.authorization.test_mcp_sdk import REDIRECT_URI, Running
from tests.conftest import settings_for
from tests.dashboard.company import CLIENT_ID, CLIENT_SECRET, Company
from tests.dashboard.conftest import running_provider
from tests.deploy.deployment import Nginx
from tests.factories import (
    PATIENCE,
    SECRET_KEY,
    Server,
    ServerWithoutLauncher,
    free_port,
    make_agent,
    make_organization,
    wait_until,
)
from tests.oauth.test_mcp_client import McpServer

__all__ = ["running_provider"]


def has_answered_consent(server: Server) -> bool:
    """Return whether the server has logged the request by which a person has allowed something."""
    lines = [json.loads(line) for line in server.logs().splitlines() if line.startswith("{")]
    return any((line.get("method"), line.get("path")) == ("POST", "/authorize") for line in lines)


def test_a_code_of_a_killed_server_is_redeemed_at_the_other(
    database_url: str, running_provider: Company, tmp_path: Path
) -> None:
    ports = free_port(), free_port()
    nginx = Nginx(tmp_path, *ports)
    url = f"http://localhost:{nginx.port}"
    environment = {
        "AGENTIDP_DATABASE_URL": database_url,
        "AGENTIDP_SECRET_KEY": SECRET_KEY,
        "AGENTIDP_ISSUER": url,
        "AGENTIDP_TRUSTED_PROXIES": "1",
        "AGENTIDP_OIDC_ISSUER": running_provider.issuer,
        "AGENTIDP_OIDC_CLIENT_ID": CLIENT_ID,
        "AGENTIDP_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "AGENTIDP_OIDC_ORGANIZATION_CLAIM": "organization",
        "AGENTIDP_OIDC_VIEWERS": "*",
        "WEB_CONCURRENCY": "1",
    }
    settings = settings_for(database_url, issuer=url, oidc=running_provider.settings(), issuer_networks=LOOPBACK)
    app = create_app(settings, clock=utc_now)
    servers = [ServerWithoutLauncher(environment | {"PORT": str(port)}) for port in ports]
    with closing(app.extensions["agentidp"]) as services, servers[0], servers[1], nginx:
        editor = editor_of(app.test_client(), running_provider, make_agent(services, make_organization(services)))
        now = int(time.time())
        running_provider.claims |= {"iat": now, "exp": now + 3600}
        person = Running(url, running_provider, editor.agent, McpServer("", None))

        def send(**form: str) -> requests.Response:
            form["client_id"] = editor.agent.client_id
            return requests.post(f"{url}/api/v1/token", data=form, timeout=PATIENCE)

        def redeem(code: str) -> requests.Response:
            return send(grant_type="authorization_code", code=code, code_verifier=VERIFIER)

        code = person.consent(f"{url}/authorize?{editor.query(redirect_uri=REDIRECT_URI)}")["code"]
        # A thread reads the logs, perhaps after the response.
        wait_until(lambda: any(has_answered_consent(server) for server in servers))
        [consented] = [server for server in servers if has_answered_consent(server)]
        consented.kill()
        token = redeem(code).json()["refresh_token"]
        assert send(grant_type="refresh_token", refresh_token=token).status_code == 200
        assert redeem(code).status_code == 400
        assert {count for name, count in editor.admin.sums().items() if "tokens" in name} == {2}
