"""What ``agentidp serve --demo`` prints when it answers: the way to the dashboard, and commands to begin with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from agentidp.config import Settings
from agentidp.dashboard.link import LIFETIME
from agentidp.demo import ORGANIZATION_ID

CARRIED = ("PORT", "AGENTIDP_ISSUER", "AGENTIDP_INSECURE_HTTP", "AGENTIDP_DATA_DIR", "XDG_DATA_HOME")
"""The variables that say which instance a command of another terminal is for. None is a secret."""

_ONCE = f"once, within {LIFETIME // 60} minutes"

_WITH_LINK = f"""\
Its dashboard, signed in, {_ONCE}; `{{command}}` prints another link:

{{link}}
"""

_WITHOUT_LINK = f"""\
Its dashboard is at {{dashboard}}

This command prints a link that signs you in, {_ONCE}:

{{command}}
"""

_WELCOME = f"""
There is a demo organization with 24 agents and 90 days of traffic: demo data, made up by AgentIdP.
{{way_in}}
In a second terminal, in this directory, get a token of it and ask:

export TOKEN=$({{carried}}make -s token)

curl -s "{{issuer}}/api/v1/analytics/tokens?days=30" \\
-H "Authorization: Bearer $TOKEN" | jq .

curl -s "{{issuer}}/api/v1/analytics/agents/activity" \\
-H "Authorization: Bearer $TOKEN" | jq .

curl -s "{{issuer}}/api/v1/analytics/agents" \\
-H "Authorization: Bearer $TOKEN" | jq .

Ctrl-C stops AgentIdP; the data stays. The organization's id is {ORGANIZATION_ID}.
"""


def welcome(settings: Settings, *, link: str | None, program: str, environ: Mapping[str, str]) -> str:
    """The text, whose commands work in another terminal for this instance.

    :param link: signs in to the dashboard as the demo's operator. Leave it out if the text goes to a log.
    :param program: how this command was called, for example ``.venv/bin/agentidp``.
    :param environ: the variables of this process; what :data:`CARRIED` names of them is put in front of each command.
    """
    carried = "".join(f"{name}={shlex.quote(environ[name])} " for name in CARRIED if environ.get(name))
    command = f"{carried}{shlex.quote(program)} dashboard"
    way_in = (_WITHOUT_LINK if link is None else _WITH_LINK).format(
        link=link, dashboard=settings.dashboard, command=command
    )
    return _WELCOME.format(way_in=way_in, carried=carried, issuer=settings.issuer)
