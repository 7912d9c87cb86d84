"""``agentidp token`` and ``agentidp dashboard``."""

from __future__ import annotations

import click

from agentidp.cli.context import open_services
from agentidp.cli.lookup import find_agent_or_operator
from agentidp.cli.options import name_option
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.dashboard import link
from agentidp.demo import OPERATOR
from agentidp.http.resource_identifier import is_resource_identifier
from agentidp.oauth.token import read_scopes
from agentidp.registry import operator_token


@click.command("token")
@name_option("--agent", f"Agent that the token is for. Default: {OPERATOR.name} of the demo organization.")
@click.option("--scope", help="Scopes of the token, separated by spaces. Default: all scopes of the agent.")
@click.option("--resource", metavar="URI", help="Resource server that the token is for. Default: AgentIdP's own API.")
def print_token(agent: str | None, scope: str | None, resource: str | None) -> None:
    """Issue an access token and print only the token. The token is counted like any other token."""
    with open_services() as services:
        if resource == services.settings.resource:
            resource = None
        if resource is not None and not is_resource_identifier(resource):
            raise ConfigurationError("the resource must be an absolute URI without fragment")
        organization_id, agent_id = find_agent_or_operator(services, agent)
        scopes = read_scopes({"scope": scope} if scope else {})
        access_token = operator_token.issue_counted_token(
            services, organization_id, agent_id, scope=scopes, resource=resource, at=utc_now()
        )
    click.echo(access_token)


@click.command("dashboard")
@name_option("--agent", f"Agent that the link signs in as. Default: {OPERATOR.name} of the demo organization.")
def print_sign_in_link(agent: str | None) -> None:
    """Print a link that signs in to the dashboard once. The link expires after a few minutes."""
    with open_services() as services:
        sign_in_link = link.create_link(services, *find_agent_or_operator(services, agent), utc_now())
    click.echo(sign_in_link)
