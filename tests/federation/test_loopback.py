"""The recipe of docs/workloads.md that tries a rule of trust on one machine."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

import pytest

from agentidp.clock import utc_now
from tests.factories import PATIENCE, ROOT, Api, make_agent, make_organization, wait_until
from tests.oauth.clients import process

GUIDE = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
PROGRAM = GUIDE.partition("\n## Try it on one machine\n")[2].partition("<<'END'\n")[2].partition("\nEND\n")[0]


@pytest.mark.parametrize("allowed", ["127.0.0.1/32", None])
def test_an_issuer_on_this_machine_may_be_http_if_the_operator_names_its_loopback(
    database_url: str, tmp_path: Path, allowed: str | None
) -> None:
    networks = None if allowed is None else (ip_network(allowed),)
    serve = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "issuer")
    with (
        process(database_url, utc_now, issuer_networks=networks) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), serve) as server,
    ):
        services = client.application.extensions["agentidp"]
        agent = make_agent(services, make_organization(services), "job")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        issuer = f"http://127.0.0.1:{server.server_port}"
        audience = f"{services.settings.issuer}/{agent.organization_id}"
        program = re.sub(r"http://127\.0\.0\.1:\d+", issuer, PROGRAM)
        run = [sys.executable, "-c", program, audience]
        token = subprocess.run(run, cwd=tmp_path, capture_output=True, check=True, timeout=PATIENCE).stdout.decode()
        rule = {"type": "federated", "issuer": issuer, "subject": "my-job", "audience": audience}
        made = Api(client, agent).post(f"agents/{agent.agent_id}/credentials", rule)
        if allowed is None:
            assert made.json["details"] == {"issuer": ["must be an https URL without credentials and fragment"]}
        else:
            wait_until(lambda: client.post("/api/v1/token", data=_form(token)).status_code == 200)
        server.shutdown()


def _form(token: str) -> dict[str, str]:
    jwt_bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return {"grant_type": "client_credentials", "client_assertion": token, "client_assertion_type": jwt_bearer}
