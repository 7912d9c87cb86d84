"""The text that ``agentidp serve --demo`` prints. Its commands work in another terminal, for the same instance."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from agentidp.config import Settings
from agentidp.server.welcome import format_demo_welcome, format_empty_welcome

SETTINGS = Settings(data_dir=Path("/nonexistent"), issuer="http://localhost:4000")
LINK = "http://localhost:4000/dashboard/sign-in?token=a.b.c"


def printed(link: str | None = LINK, **environ: str) -> str:
    return format_demo_welcome(SETTINGS, link=link, program=".venv/bin/agentidp", environ=environ)


def test_has_the_curls_of_the_guide_for_the_address_of_the_service() -> None:
    # Variables that are not set or empty are omitted.
    text = printed(PORT="")
    assert "export TOKEN=$(.venv/bin/agentidp token)\n" in text
    assert re.findall(r'curl -s "(.+)" \\\n-H "Authorization: Bearer \$TOKEN" \| jq \.\n', text) == [
        "http://localhost:4000/api/v1/analytics/tokens?days=30",
        "http://localhost:4000/api/v1/analytics/agents/activity",
        "http://localhost:4000/api/v1/analytics/agents",
    ]
    assert "demo data" in text


def test_gives_a_link_or_names_the_dashboard_and_the_command() -> None:
    again = "`.venv/bin/agentidp dashboard` prints another link"
    assert f"signed in, once, within 5 minutes; {again}:\n\n{LINK}\n\n" in printed()
    without = printed(None)
    assert "Its dashboard is at http://localhost:4000/dashboard\n" in without
    assert "signs you in, once, within 5 minutes:\n\n.venv/bin/agentidp dashboard\n\n" in without
    assert "token=" not in without


@pytest.mark.parametrize("link", [LINK, None])
def test_its_commands_name_the_instance_as_it_was_named_here(link: str | None) -> None:
    names = {
        "PORT": "3411",
        "AGENTIDP_ISSUER": "http://idp.internal:3411",
        "AGENTIDP_INSECURE_HTTP": "allow",
        "AGENTIDP_DATA_DIR": "my data; rm -r $HOME's",
        "XDG_DATA_HOME": "/srv/{data}",
        "AGENTIDP_SECRET_KEY_FILE": "/etc/secret",
    }
    others = {"HOME": "/root", "AGENTIDP_SECRET_KEY": "hush", "AGENTIDP_DATABASE_URL": "postgresql://hush"}
    text = printed(link, **names, **others)
    [token] = re.findall(r"^export TOKEN=\$\((.+)\)$", text, re.MULTILINE)
    [dashboard] = re.findall(r"PORT=3411 [^`\n]* dashboard", text)
    assert shlex.split(token) == [*(f"{name}={value}" for name, value in names.items()), ".venv/bin/agentidp", "token"]
    assert shlex.split(dashboard)[:7] == shlex.split(token)[:7]
    assert "hush" not in text
    assert "HOME=/root" not in text
    assert "\n(First set AGENTIDP_DATABASE_URL and AGENTIDP_SECRET_KEY there too.)\n" in text


def test_without_the_demo_it_names_the_command_that_creates_the_first_organization() -> None:
    environ = {"PORT": "3411", "AGENTIDP_DATABASE_URL": "postgresql://hush"}
    text = format_empty_welcome(program="/opt/agent idp/agentidp", environ=environ)
    assert (
        "\nPORT=3411 '/opt/agent idp/agentidp' organization create \"My organization\" --with-administrator\n" in text
    )
    assert "(First set AGENTIDP_DATABASE_URL there too.)\n" in text
    assert "hush" not in text
