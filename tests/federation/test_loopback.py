"""An issuer without TLS on this machine, for a trial."""

from __future__ import annotations

import functools
import json
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.clock import utc_now
from tests.factories import Api, make_agent, make_organization, wait_until
from tests.oauth.clients import process


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
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        issuer = f"http://127.0.0.1:{server.server_port}"
        audience = f"{services.settings.issuer}/{agent.organization_id}"
        token = _publish_issuer(tmp_path / "issuer", issuer, audience)
        rule = {"type": "federated", "issuer": issuer, "subject": "my-job", "audience": audience}
        made = Api(client, agent).post(f"agents/{agent.agent_id}/credentials", rule)
        if allowed is None:
            assert made.json["details"] == {"issuer": ["must be an https URL without credentials and fragment"]}
        else:
            wait_until(lambda: client.post("/api/v1/token", data=_form(token)).status_code == 200)
        server.shutdown()


def _publish_issuer(directory: Path, issuer: str, audience: str) -> str:
    """Write an issuer's documents into *directory*, and return a token of this issuer for *audience*."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "1", "alg": "ES256", "use": "sig"}
    files = directory / ".well-known"
    files.mkdir(parents=True)
    metadata = {"issuer": issuer, "jwks_uri": f"{issuer}/.well-known/jwks"}
    (files / "openid-configuration").write_text(json.dumps(metadata), encoding="utf-8")
    (files / "jwks").write_text(json.dumps({"keys": [jwk]}), encoding="utf-8")
    claims = {"iss": issuer, "sub": "my-job", "aud": audience, "iat": int(time.time()), "exp": int(time.time()) + 3600}
    return jwt.encode(claims, key, "ES256", {"kid": "1"})


def _form(token: str) -> dict[str, str]:
    jwt_bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return {"grant_type": "client_credentials", "client_assertion": token, "client_assertion_type": jwt_bearer}
