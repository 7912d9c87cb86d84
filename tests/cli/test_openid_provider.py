"""``agentidp openid-provider``."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import Command
from tests.factories import execute

OF = ("--organization", "Acme")
ISSUER = "https://login.example"


def test_adds_changes_and_deletes_the_provider(run: Command, acme: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    new = ("--issuer", ISSUER, "--client-id", "agentidp", "--client-secret-file", str(secret), "--viewer", "*")
    provider_id = run("openid-provider", "create", *OF, *new)
    assert "has an OpenID provider" in run.refused("openid-provider", "create", *OF, *new)
    [provider] = run.json("openid-provider", "list", *OF)
    assert provider | {"openidProviderId": provider_id, "issuer": ISSUER, "viewers": ["*"]} == provider
    assert (provider["hasClientSecret"], provider["scopes"]) == (True, ["profile", "email"])
    # A server that reads the secret decrypts exactly what the file has.
    signed_out = f"The people who have signed in at {ISSUER} are signed out."
    assert run.asked("openid-provider", "update", *OF, "--no-viewer").startswith(signed_out)
    changed = run.json("openid-provider", "update", *OF, "--yes", "--no-viewer", "--role-claim", "roles")
    assert (changed["viewers"], changed["roleClaim"], changed["hasClientSecret"]) == ([], "roles", True)
    execute(
        run.database_url,
        "insert into grants (organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, "
        "subject_encrypted, resource, scopes, token_digest, days, created_at, last_used_at, expires_at) values "
        "(%s, gen_random_uuid(), %s, gen_random_uuid(), %s, 'x', '', 'https://a.example', '{read}', sha256(''), 30, "
        "now(), now(), '2999-01-01')",
        *(acme, run("agent", "create", "editor", *OF), ISSUER),
    )
    assert "1 grant of people gives no more tokens." in run.asked("openid-provider", "delete", *OF)
    run("openid-provider", "delete", *OF, "--yes")
    assert run("openid-provider", "list", *OF) == ""
    assert execute(run.database_url, "select from grants") == []
    assert "has no OpenID provider" in run.refused("openid-provider", "delete", *OF, "--yes")
