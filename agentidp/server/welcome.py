"""The text that ``agentidp serve`` prints when it is ready: the next steps, as commands for another terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from agentidp.config import Settings
from agentidp.dashboard.link import LIFETIME
from agentidp.demo import ORGANIZATION_ID

INSTANCE_VARIABLES = (
    "PORT",
    "AGENTIDP_ISSUER",
    "AGENTIDP_INSECURE_HTTP",
    "AGENTIDP_DATA_DIR",
    "XDG_DATA_HOME",
    "AGENTIDP_SECRET_KEY_FILE",
)
"""Environment variables that select the instance and contain no secret. Printed commands set these variables."""

SECRET_VARIABLES = ("AGENTIDP_DATABASE_URL", "AGENTIDP_SECRET_KEY")
"""Environment variables that select the instance and contain secrets. Their values are not printed."""

_ONCE = f"once, within {LIFETIME // 60} minutes"

_WITH_LINK = f"""\
Its dashboard, signed in, {_ONCE}; `{{command}} dashboard` prints another link:

{{link}}
"""

_WITHOUT_LINK = f"""\
Its dashboard is at {{dashboard}}

This command prints a link that signs you in, {_ONCE}:

{{command}} dashboard
"""

_DEMO = f"""
There is a demo organization with 20 agents and 90 days of traffic: demo data, made up by AgentIdP.
{{sign_in_text}}
In a second terminal, in this directory, get a token and send requests:
{{secrets}}
export TOKEN=$({{command}} token)

curl -s "{{issuer}}/api/v1/analytics/tokens?days=30" \\
-H "Authorization: Bearer $TOKEN" | jq .

curl -s "{{issuer}}/api/v1/analytics/agents/activity" \\
-H "Authorization: Bearer $TOKEN" | jq .

curl -s "{{issuer}}/api/v1/analytics/agents" \\
-H "Authorization: Bearer $TOKEN" | jq .

Ctrl-C stops AgentIdP; the data stays. The organization's id is {ORGANIZATION_ID}.
"""

_WITHOUT_DEMO = """
There is no organization yet. In a second terminal, in this directory, create one:
{secrets}
{command} organization create "My organization" --with-administrator

Or start with `{command} serve --demo`, which also creates an organization with 90 days of demo data.
"""


def format_demo_welcome(settings: Settings, *, link: str | None, program: str, environ: Mapping[str, str]) -> str:
    """Return a text that shows how to use the demo organization.

    :param link: the link that signs in to the dashboard as the demo's operator; None if the text goes to a log.
    :param program: the path with which this command was called, for example ``.venv/bin/agentidp``.
    """
    demo_command = _format_command(program, environ)
    sign_in_text = (_WITHOUT_LINK if link is None else _WITH_LINK).format(
        link=link, dashboard=settings.dashboard, command=demo_command
    )
    return _DEMO.format(
        sign_in_text=sign_in_text, command=demo_command, issuer=settings.issuer, secrets=_describe_secrets(environ)
    )


def format_empty_welcome(*, program: str, environ: Mapping[str, str]) -> str:
    """Return a text that shows how to create the first organization. See :func:`format_demo_welcome`."""
    return _WITHOUT_DEMO.format(command=_format_command(program, environ), secrets=_describe_secrets(environ))


def _format_command(program: str, environ: Mapping[str, str]) -> str:
    assignments = "".join(f"{name}={shlex.quote(environ[name])} " for name in INSTANCE_VARIABLES if environ.get(name))
    return f"{assignments}{shlex.quote(program)}"


def _describe_secrets(environ: Mapping[str, str]) -> str:
    variable_names = [variable_name for variable_name in SECRET_VARIABLES if environ.get(variable_name)]
    return f"(First set {' and '.join(variable_names)} there too.)\n" if variable_names else ""
