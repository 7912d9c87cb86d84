"""docs/federation.md: what stands there is run against token services that check what the clouds document, with the
libraries of Google and Microsoft.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from uuid import UUID

import google.auth
import jwt
import msal
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import exceptions, external_account, pluggable
from google.auth.transport.requests import Request

from agentidp.clock import utc_now
from agentidp.jose import key_rotation
from agentidp.jose.access_token import SUBJECT_FORMS, SigningKey, sign_access_token
from agentidp.services import Services
from tests.conftest import _fresh_database, settings_for
from tests.factories import (
    PATIENCE,
    ROOT,
    SECRET_KEY,
    Agent,
    Clock,
    ServerWithoutLauncher,
    make_agent,
    make_organization,
)
from tests.federation.cloud import WORKLOAD_POOL, Cloud, running_cloud
from tests.oauth.conftest import Provider

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs" / "federation.md").read_text(encoding="utf-8")
RESOURCE = {name: f"https://{name}.acme.example" for name in ("aws", "gcp", "azure", "vault")}
JWT = "urn:ietf:params:oauth:token-type:jwt"


def samples(section: str, language: str) -> list[str]:
    """Return the code blocks of a language in a section of the guide."""
    _, _, text = GUIDE.partition(f"\n## {section}\n")
    return re.findall(rf"```{language}\n(.*?)\n```", text.partition("\n## ")[0], re.DOTALL)


@pytest.fixture(scope="module", params=["ES256", "RS256"])
def provider(request: pytest.FixtureRequest, postgres_url: str, template: str) -> Iterator[Provider]:
    """Run gunicorn with a key of either algorithm, and the resource servers of the guide."""
    with contextlib.contextmanager(_fresh_database)(postgres_url, template) as url:
        settings = replace(settings_for(url), signing_alg=request.param)
        [signing] = [
            key["kid"] for key in key_rotation.describe_keys(settings, at=utc_now()) if key["status"] == "signing"
        ]
        key_rotation.revoke_key(settings, signing, at=utc_now())
        environment = {"AGENTIDP_DATABASE_URL": url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
        with (
            ServerWithoutLauncher(environment) as server,
            contextlib.closing(Services.of(settings_for(url, issuer=server.url), Clock(None))) as services,
        ):
            provider = Provider(server.url, make_agent(services, make_organization(services), name="operator"))
            for command in re.findall(r"^agentidp resource-server create (.*?(?:\\\n.*?)*)$", GUIDE, re.MULTILINE):
                words = re.findall(r"(--[a-z-]+) ('[^']*'|\"[^\"]*\"|\S+)", command.replace("\\\n", ""))
                options = {name: value.strip("'\"") for name, value in words}
                said = {
                    "audience": options.get("--audience"),
                    "subject": options.get("--subject", "agent"),
                    "tokenTtl": int(options["--token-ttl"]),
                }
                body = {"resource": command.split()[0], "name": options["--name"], "scopes": []} | said
                assert provider.call("POST", "/api/v1/resource-servers", **body)["tokenTtl"] == 300
            yield provider


@pytest.fixture
def agent(provider: Provider) -> Agent:
    """An agent of the organization, with no scope."""
    return provider.operator.colleague(f"agent {os.urandom(4).hex()}", [])


@pytest.fixture
def cloud(provider: Provider, agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The token services, which trust the agent by its organization, and whose certificate is trusted."""
    with running_cloud(tmp_path, provider.url) as running:
        running.subject = f"org:{agent.organization_id}:agent:{agent.client_id}"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls.crt"))
        yield running


@pytest.fixture
def names(provider: Provider, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the guide's first sample defines, for the agent."""
    monkeypatch.setenv("ISSUER", provider.url)
    monkeypatch.setenv("AGENT", agent.client_id)
    monkeypatch.setenv("SECRET", agent.client_secret)
    return run(samples("A resource server for a cloud", "python")[0], {})


def run(sample: str, names: dict[str, Any], **addresses: str) -> dict[str, Any]:
    """Run a sample of the guide.

    :param addresses: the addresses that replace those of a cloud.
    """
    for theirs, ours in addresses.items():
        assert theirs in sample
        sample = sample.replace(theirs, ours)
    exec(compile(sample, "docs/federation.md", "exec"), names)  # noqa: S102 - the guide's own sample
    return names


def test_googles_library_exchanges_the_token_of_an_agent(
    provider: Provider, agent: Agent, cloud: Cloud, names: dict[str, Any]
) -> None:
    cloud.audience = WORKLOAD_POOL
    [sample] = samples("Google Cloud", "python")
    credentials = run(sample, names, **{"https://sts.googleapis.com": cloud.url})["credentials"]
    assert isinstance(credentials, external_account.Credentials)
    credentials.refresh(Request())
    assert credentials.token == "google"
    [claims] = cloud.seen
    assert (claims["aud"], claims["exp"] - claims["iat"]) == (WORKLOAD_POOL, 300)
    assert (claims["client_id"], claims["organization_id"]) == (agent.client_id, agent.organization_id)
    # Another agent of the organization gets a token too, but the cloud refuses it.
    cloud.subject = cloud.subject.replace(agent.client_id, provider.operator.client_id)
    with pytest.raises(exceptions.OAuthError, match="subject"):
        credentials.refresh(Request())


@pytest.mark.program
@pytest.mark.usefixtures("names")
def test_googles_library_runs_the_program_of_the_guide(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.audience = WORKLOAD_POOL
    program = tmp_path / "agent-token"
    program.write_text(next(sample for sample in samples("Google Cloud", "sh") if sample.startswith("#!")) + "\n")
    program.chmod(stat.S_IRWXU)
    [configured] = samples("Google Cloud", "json")
    configured = configured.replace("https://sts.googleapis.com", cloud.url)
    (tmp_path / "google.json").write_text(configured.replace("/usr/local/bin/agent-token", str(program)))
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "google.json"))
    credentials, _ = google.auth.default(request=Request())
    assert isinstance(credentials, pluggable.Credentials)
    credentials.refresh(Request())
    assert (credentials.token, len(cloud.seen)) == ("google", 1)


def test_msal_sends_the_token_of_an_agent_which_entra_takes_with_rs256_only(
    provider: Provider, agent: Agent, cloud: Cloud, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = json.loads(samples("Azure", "json")[0])
    assert credential["audiences"] == ["api://AzureADTokenExchange"]
    cloud.subject = agent.client_id
    create = msal.ConfidentialClientApplication

    def local(client_id: str, *, authority: str, client_credential: dict[str, Any]) -> Any:
        assert authority == "https://login.microsoftonline.com/TENANT"
        return create(
            client_id,
            client_credential=client_credential,
            oidc_authority=f"{cloud.url}/tenant/v2.0",
            instance_discovery=False,
            http_client=requests.Session(),
        )

    monkeypatch.setattr(msal, "ConfidentialClientApplication", local)
    [sample] = samples("Azure", "python")
    result = run(sample, names)["result"]
    [alg] = {
        key["alg"] for key in requests.get(f"{provider.url}/.well-known/jwks.json", timeout=PATIENCE).json()["keys"]
    }
    if alg == "RS256":
        assert result["access_token"] == "entra"
        [claims] = cloud.seen
        assert (claims["sub"], claims["aud"]) == (agent.client_id, "api://AzureADTokenExchange")
    else:
        assert "ES256" in result["error_description"]
        assert cloud.seen == []


def test_aws_takes_the_token_that_the_guide_writes(
    cloud: Cloud, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.audience = "sts.amazonaws.com"
    [policy] = [json.loads(sample) for sample in samples("AWS", "json")]
    named = policy["Statement"][0]["Condition"]["StringEquals"]
    assert named["idp.example.com:aud"] == cloud.audience
    assert re.sub("[0-9a-f]{8}(-[0-9a-f]{4,12}){4}", "#", named["idp.example.com:sub"]) == "org:org-#:agent:#"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    run(samples("AWS", "python")[0], names)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": "arn:aws:iam::123456789012:role/invoice-reader",
        "RoleSessionName": "invoice-reader",
        "WebIdentityToken": (tmp_path / "token").read_text(),
    }
    response = requests.post(f"{cloud.url}/aws", data=form, timeout=PATIENCE)
    assert response.json() == {"SubjectFromWebIdentityToken": cloud.subject, "Audience": "sts.amazonaws.com"}


def test_vault_takes_the_token_of_an_agent(agent: Agent, cloud: Cloud, names: dict[str, Any]) -> None:
    cloud.subject, cloud.audience = agent.client_id, RESOURCE["vault"]
    [sample] = samples("Vault", "python")
    output = run(sample, names, **{f"{RESOURCE['vault']}/v1": f"{cloud.url}/v1"})
    assert output["vault_token"] == "vault"
    [claims] = cloud.seen
    assert (claims["client_id"], claims["organization_id"]) == (agent.client_id, agent.organization_id)


def test_the_safe_wildcards_of_the_guide_are_of_one_organization_and_the_others_are_not() -> None:
    """The other organization's id, and its agent's, begin as those of the guide."""
    key = SigningKey("kid", "ES256", ec.generate_private_key(ec.SECP256R1()))
    _, _, section = GUIDE.partition("\n## Which wildcards are safe\n")
    safe, _, unsafe = section.partition("\n## ")[0].partition("**Never use these**")
    [organization] = set(re.findall("org-[0-9a-f]{8}-[0-9a-f-]{27}", safe))

    def subject(organization_id: str, word: str) -> str:
        token = sign_access_token(
            key,
            issuer="https://idp.example.com",
            audience="sts.amazonaws.com",
            organization_id=organization_id,
            agent_id=UUID("7f9c0000-0000-4000-8000-000000000001"),
            scope="",
            jti="1",
            at=utc_now(),
            ttl=60,
            subject_form=word,
        )
        return str(jwt.decode(token, options={"verify_signature": False})["sub"])

    ours = subject(organization, "organization-agent")
    theirs = [subject("org-0a1bffff-0000-4000-8000-000000000001", word) for word in SUBJECT_FORMS]
    patterns = [*re.findall(r"`([^` ]*\*)`", safe), *(f"{one}*" for one in re.findall(r"startsWith\('(.*?)'\)", safe))]
    assert len(patterns) == 3
    for pattern in patterns:
        assert fnmatchcase(ours, pattern)
        assert not any(fnmatchcase(one, pattern) for one in theirs), pattern
    patterns = [one for one in re.findall(r"`([^` ]*\*)`", unsafe) if not one.startswith("principalSet:")]
    assert len(patterns) == 6
    for pattern in patterns:
        assert any(fnmatchcase(one, pattern) for one in theirs), pattern
