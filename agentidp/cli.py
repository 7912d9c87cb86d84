"""The ``agentidp`` command."""

from __future__ import annotations

import contextlib
import json
import logging.config
import os
import re
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import marshmallow as ma
import psycopg

from agentidp import demo as demo_data
from agentidp import findings as analytics_findings
from agentidp import utc_now
from agentidp.config import ConfigurationError, Settings
from agentidp.dashboard import link, session
from agentidp.db.database import Call, Rows, connect
from agentidp.db.distribution import distribute
from agentidp.db.migrations import migrate
from agentidp.db.sql import load_sql
from agentidp.findings.finding import Look
from agentidp.http.errors import ApiError, NotFound, OAuthError
from agentidp.http.logs import logging_config
from agentidp.http.schemas import Text, is_resource_identifier, timestamp
from agentidp.jose import key_rotation
from agentidp.oauth import issuance
from agentidp.oauth.client_secret import hash_secret
from agentidp.oauth.token import requested_scope
from agentidp.registry import agents, credentials, organizations, resource_identifiers
from agentidp.scopes import SCOPES
from agentidp.server.runtime import Runtime, prepared
from agentidp.server.serve import serve as run_server
from agentidp.server.welcome import welcome
from agentidp.services import Services

ORGANIZATION_ID = re.compile(r"org-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ORGANIZATION_NAME = Text(1, 100)

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
organization_option = click.option(
    "--organization", "organization_id", required=True, metavar="ID", help="The organization's id (org-…)."
)
agent_option = click.option(
    "--agent", "agent_id", required=True, type=click.UUID, metavar="ID", help="The agent's id, its client_id."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agentidp")
def cli() -> None:
    """An identity provider for AI agents that counts every token it issues, exactly.

    Without AGENTIDP_DATABASE_URL every command uses AgentIdP's own PostgreSQL below AGENTIDP_DATA_DIR.
    """


def main() -> None:
    """The console script: a refusal is one sentence on standard error and exit code 1."""
    with contextlib.suppress(BrokenPipeError):
        cli()


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn the errors that a person can mend into one sentence and exit code 1."""
    try:
        yield
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    except (ApiError, OAuthError) as error:
        raise click.ClickException(_sentence(error)) from None
    except ma.ValidationError as error:
        raise click.ClickException(f"the name {error.messages[0]}") from None
    except psycopg.Error as error:
        raise click.ClickException(f"the database refuses: {error.diag.message_primary or error}") from None


def _sentence(error: ApiError | OAuthError) -> str:
    if isinstance(error, OAuthError):
        return error.description
    if isinstance(error, NotFound):
        return "there is no such agent"
    rules = "; ".join(f"{field} {', '.join(map(str, found))}" for field, found in error.details.items())
    return f"{error.message} ({rules})" if rules else error.message


@contextlib.contextmanager
def opened() -> Iterator[Services]:
    """The services of a command: a database that is ready, and the keys."""
    with refusals():
        settings = Settings.from_environment()
        logging.config.dictConfig(logging_config("WARNING", settings.log_format))
        with prepared(settings) as runtime:
            services = Services.of(runtime.settings, utc_now)
            try:
                yield services
            finally:
                services.close()


def show(rows: list[dict[str, Any]], as_json: bool, *, one: bool = False) -> None:
    """Print rows as JSON, or as lines of tab-separated values."""
    if as_json:
        click.echo(json.dumps(rows[0] if one else rows, ensure_ascii=False))
        return
    for row in rows:
        click.echo("\t".join(_cell(value) for value in row.values()))


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return "-" if value is None else str(value)


@cli.command()
@click.option("--bind", metavar="ADDRESS", help="address:port or unix:path; 127.0.0.1 and PORT when left out.")
@click.option("--demo", is_flag=True, help="Make the demo organization first.")
def serve(bind: str | None, demo: bool) -> None:
    """Run the service until Ctrl-C or SIGTERM."""

    def before(runtime: Runtime) -> None:
        if demo:
            services = Services.of(runtime.settings, utc_now)
            try:
                demo_data.create_demo(str(runtime.settings.database_url), services.database, utc_now())
            finally:
                services.close()

    def ready(runtime: Runtime) -> None:
        click.echo(f"AgentIdP answers at {runtime.settings.issuer}")
        if demo:
            # A link is a secret, and what is no terminal may be a log.
            signs_in = _demo_link(runtime) if sys.stdout.isatty() else None
            click.echo(welcome(runtime.settings, link=signs_in, program=_program(), environ=os.environ))

    with refusals():
        settings = Settings.from_environment()
        logging.config.dictConfig(logging_config("WARNING", settings.log_format))
        raise SystemExit(run_server(settings, bind=bind, before=before, ready=ready))


def _program() -> str:
    """How this command was called: with its path if it was found by that, as ``make run`` does."""
    return sys.argv[0] if Path(sys.argv[0]).name == "agentidp" else "agentidp"


def _demo_link(runtime: Runtime) -> str | None:
    """A link that signs in as the demo's operator; ``None`` if somebody has suspended that."""
    services = Services.of(runtime.settings, utc_now)
    try:
        return _dashboard_link(services, demo_data.OPERATOR_ID)
    except (ConfigurationError, ApiError, OAuthError):
        return None
    finally:
        services.close()


@cli.group()
def db() -> None:
    """The database's schema."""


@db.command("migrate")
def db_migrate() -> None:
    """Bring the schema up to date; safe to run at any time and from several places at once."""
    with refusals():
        settings = Settings.from_environment()
        logging.config.dictConfig(logging_config("WARNING", settings.log_format))
        if settings.database_url is None:
            with prepared(settings):
                applied: list[str] = []
        else:
            applied = migrate(settings.database_url)
    click.echo("\n".join(applied) if applied else "The schema is up to date.")


@db.command("distribute")
def db_distribute() -> None:
    """Distribute the tables by organization over the nodes of a Citus cluster. Run again, it goes on where it ended.

    Prints each table and function as it is done. AGENTIDP_DATABASE_URL must name a superuser of the coordinator.

    This was tested against stand-ins for Citus's functions and against its rules for schemas, not against a Citus
    cluster: try it on a copy first.
    """
    with refusals():
        settings = Settings.from_environment()
        if settings.database_url is None:
            raise ConfigurationError("AGENTIDP_DATABASE_URL must name Citus's coordinator, as a superuser")
        is_done = True
        for name, is_now in distribute(settings.database_url):
            click.echo(f"{name}\t{is_now}")
            is_done = False
    if is_done:
        click.echo("Everything is distributed.")


@cli.group()
def organization() -> None:
    """Organizations: they own agents."""


@organization.command("create")
@click.argument("name")
@as_json_option
def organization_create(name: str, as_json: bool) -> None:
    """Create the organization NAME and print its id."""
    with opened() as services:
        organization_id = f"org-{uuid.uuid4()}"
        add_organization(services.settings, organization_id, ORGANIZATION_NAME.deserialize(name), utc_now())
    show([{"organizationId": organization_id, **({"name": name} if as_json else {})}], as_json, one=True)


def add_organization(settings: Settings, organization_id: str, name: str, at: datetime) -> None:
    """Create an organization, as the operator."""
    with connect(str(settings.database_url)) as connection:
        connection.execute(
            load_sql("organizations/add_organization"),
            {"organization_id": organization_id, "name": name, "at": at},
        )


@organization.command("list")
@as_json_option
def organization_list(as_json: bool) -> None:
    """List the organizations, oldest first: id, name, monthly budget of tokens, when created."""
    with opened() as services, connect(str(services.settings.database_url)) as connection:
        rows = connection.execute(load_sql("organizations/all_organizations")).fetchall()
    show([organizations.represent(row) for row in rows], as_json)


@organization.command("budget")
@click.argument("organization_id", metavar="ID")
@click.argument(
    "tokens",
    type=click.IntRange(organizations.LEAST_BUDGET, organizations.MOST_BUDGET),
    required=False,
    metavar="[TOKENS]",
)
@click.option("--none", "is_removed", is_flag=True, help="Remove the budget.")
def organization_budget(organization_id: str, tokens: int | None, is_removed: bool) -> None:
    """Print what the organization ID means to spend in a calendar month; first set it to TOKENS, or remove it.

    Nothing is refused beyond it: the findings say when it is near.
    """
    if is_removed and tokens is not None:
        raise click.UsageError("give TOKENS or --none, not both")
    with opened() as services:
        _must_exist(services, organization_id)
        with services.database.transaction(organization_id) as transaction:
            if is_removed or tokens is not None:
                transaction.fetch(
                    "organizations/set_budget", organization_id=organization_id, monthly_token_budget=tokens
                )
            [row] = transaction.fetch("organizations/get_organization", organization_id=organization_id)
    click.echo(_cell(row.monthly_token_budget))


def _must_exist(services: Services, organization_id: str) -> None:
    known: list[Any] = []
    if ORGANIZATION_ID.fullmatch(organization_id):
        with services.database.transaction(organization_id) as transaction:
            known = transaction.fetch("organizations/get_organization", organization_id=organization_id)
    if not known:
        raise ConfigurationError(f"there is no organization {organization_id!r}")


@cli.group()
def agent() -> None:
    """Agents: an agent's id is its client_id."""


@agent.command("create")
@click.argument("name")
@organization_option
@click.option("--description", default="", help="For people.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(list(SCOPES)),
    help="May be given several times; analytics:read and agents:read when left out.",
)
@as_json_option
def agent_create(name: str, organization_id: str, description: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Register the agent NAME and print its id."""
    with opened() as services:
        _must_exist(services, organization_id)
        new = {"name": name, "description": description, **({"scopes": list(scopes)} if scopes else {})}
        try:
            loaded = agents.NewAgentSchema().load(new)
        except ma.ValidationError as error:
            messages: dict[str, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]
            field, rules = next(iter(messages.items()))
            raise ConfigurationError(f"{field} {rules[0] if isinstance(rules, list) else rules}") from None
        with services.database.transaction(organization_id) as transaction:
            row = agents.add_agent(transaction, organization_id, at=utc_now(), **loaded)
    body = agents.represent(row)
    show([body if as_json else {"agentId": body["agentId"]}], as_json, one=True)


@agent.command("list")
@organization_option
@as_json_option
def agent_list(organization_id: str, as_json: bool) -> None:
    """List the agents of an organization, oldest first: id, name, description, scopes, status, times."""
    with opened() as services:
        _must_exist(services, organization_id)
        with services.database.transaction(organization_id) as transaction:
            rows = transaction.fetch(
                "agents/list_agents",
                organization_id=organization_id,
                after_at=None,
                after_id=None,
                limit=None,
            )
    show([agents.represent(row) for row in rows], as_json)


def _organization_of(services: Services, agent_id: UUID) -> str:
    organization_id = services.directory.organization_of(agent_id)
    if organization_id is None:
        raise ConfigurationError(f"there is no agent {agent_id}")
    return organization_id


@cli.group()
def credential() -> None:
    """Credentials: the secrets with which an agent gets tokens."""


@credential.command("create")
@agent_option
@click.option("--expires-in", type=click.IntRange(1, 36_500), metavar="DAYS", help="Never, when left out.")
@as_json_option
def credential_create(agent_id: UUID, expires_in: int | None, as_json: bool) -> None:
    """Make a credential; its secret is printed now and never again: credential id, client_id, client_secret."""
    at = utc_now()
    with opened() as services:
        organization_id = _organization_of(services, agent_id)
        with services.database.transaction(organization_id) as transaction:
            row, client_secret = credentials.add_credential(
                transaction,
                organization_id,
                agent_id,
                expires_at=at + timedelta(days=expires_in) if expires_in else None,
                at=at,
            )
    body = credentials.represent(row)
    shown = {"credentialId": body["credentialId"], "clientId": str(agent_id), "clientSecret": client_secret}
    show([body | shown if as_json else shown], as_json, one=True)


@credential.command("revoke")
@click.argument("credential_id", type=click.UUID)
@agent_option
def credential_revoke(credential_id: UUID, agent_id: UUID) -> None:
    """Revoke a credential: it gets no further token."""
    with opened() as services:
        organization_id = _organization_of(services, agent_id)
        with services.database.transaction(organization_id) as transaction:
            revoked = transaction.fetch(
                "agents/revoke_credential",
                organization_id=organization_id,
                agent_id=agent_id,
                credential_id=credential_id,
                at=utc_now(),
            )
        if not revoked:
            raise ConfigurationError(f"the agent has no credential {credential_id}")


@cli.command()
@click.option(
    "--agent", "agent_id", type=click.UUID, metavar="ID", help="For this agent; the demo's operator when left out."
)
@click.option("--scope", help="Space-separated; all that the agent has when left out.")
@click.option("--resource", metavar="URI", help="For this resource server; our own API when left out.")
def token(agent_id: UUID | None, scope: str | None, resource: str | None) -> None:
    """Issue an access token, counted like any other, and print it and nothing else."""
    at = datetime.now(UTC)
    with opened() as services:
        if resource == services.settings.resource:
            resource = None
        if resource is not None and not is_resource_identifier(resource):
            raise ConfigurationError("the resource must be an absolute URI without fragment")
        scopes = requested_scope({"scope": scope} if scope else {})
        signing_key = services.keys.current().signing
        client, granted = _issue(services, agent_id or demo_data.OPERATOR_ID, scopes, resource, at)
        body = issuance.token_response(services, signing_key, client, granted, resource=resource, at=at)
    click.echo(body["access_token"])


@cli.command("dashboard")
@click.option(
    "--agent", "agent_id", type=click.UUID, metavar="ID", help="As this agent; as the demo's operator when left out."
)
def dashboard_link(agent_id: UUID | None) -> None:
    """Print a link that signs in to the dashboard once, within 5 minutes; it counts as a token issued."""
    with opened() as services:
        signs_in = _dashboard_link(services, agent_id or demo_data.OPERATOR_ID)
    click.echo(signs_in)


def _dashboard_link(services: Services, agent_id: UUID) -> str:
    at = utc_now()
    signing_key = services.keys.current().signing
    client, _ = _issue(services, agent_id, [session.SCOPE], None, at)
    return link.address(services, signing_key, client, at)


def _issue(
    services: Services, agent_id: UUID, scope: list[str] | None, resource: str | None, at: datetime
) -> tuple[issuance.Client, str]:
    """Grant an agent a token and count it. The operator needs no secret: one is made for this token and gone with it.

    :returns: the agent as a client, and the scope granted.
    """
    organization_id = _organization_of(services, agent_id)
    with services.database.transaction(organization_id) as transaction:
        row, client_secret = credentials.add_credential(
            transaction, organization_id, agent_id, expires_at=None, at=at, most=credentials.MAXIMUM_CREDENTIALS + 1
        )
        assert client_secret is not None  # noqa: S101 - no keys were given
        client = issuance.Client(organization_id, agent_id, secret_hash=hash_secret(client_secret))
        call = issuance.issuing(client, scope=scope, resource=resource, has_proof=False, at=at)
        granted = issuance.granted_scope(transaction.fetch(call.name, **call.parameters))
        transaction.fetch("agents/forget_credential", organization_id=organization_id, credential_id=row.credential_id)
    if granted is None:
        raise ConfigurationError(f"the agent {agent_id} is suspended")
    return client, granted


@cli.command()
@organization_option
@click.option(
    "--days",
    type=click.IntRange(1, 90),
    default=analytics_findings.DEFAULT_DAYS,
    show_default=True,
    help="How many days back, today included.",
)
@click.option(
    "--dominance-percent",
    type=click.IntRange(1, 99),
    default=analytics_findings.DEFAULT_DOMINANCE_PERCENT,
    show_default=True,
    help="The share of the month above which an agent dominates.",
)
@as_json_option
def findings(organization_id: str, days: int, dominance_percent: int, as_json: bool) -> None:
    """Say what an organization's numbers say: severity, kind, agent, window, what was seen, causes, what to look at."""
    at = utc_now()
    with opened() as services:
        _must_exist(services, organization_id)

        def run(*calls: Call) -> list[Rows]:
            own = {"organization_id": organization_id, "at": at}
            return services.database.run(organization_id, *(Call(name, own | more) for name, more in calls))

        look = Look(at=at, days=days, token_ttl=services.settings.token_ttl, dominance_percent=dominance_percent)
        found = [finding.represent() for finding in analytics_findings.findings(run, look)]
    if as_json:
        show(found, as_json)
        return
    for one in found:
        window = f"{one['window']['from'][:16]}Z/{one['window']['to'][:16]}Z"
        cells = (one["severity"], one["kind"], one["agentName"], window, one["summary"], one["causes"], one["next"])
        click.echo("\t".join(_cell(cell) for cell in cells))


@cli.group("resource-server")
def resource_server() -> None:
    """Resource identifiers: each belongs to one organization, which alone gets tokens for it."""


@resource_server.command("list")
@click.option("--conflicts", is_flag=True, help="Only those that are registered and that nobody holds.")
@as_json_option
def resource_server_list(conflicts: bool, as_json: bool) -> None:
    """List resource identifiers: the identifier, the organization that holds it, those that have registered it."""
    with opened() as services:
        found = resource_identifiers.resource_identifiers(str(services.settings.database_url), conflicts=conflicts)
    names = ("resource", "organizationId", "registeredBy")
    show([dict(zip(names, (*one[:2], list(one.registered_by)), strict=True)) for one in found], as_json)


@resource_server.command("assign")
@click.argument("resource")
@organization_option
@click.option(
    "--verify", is_flag=True, help="First check that the resource server's metadata (RFC 9728) names the organization."
)
@as_json_option
def resource_server_assign(resource: str, organization_id: str, verify: bool, as_json: bool) -> None:
    """Give the identifier RESOURCE to an organization. Prints both, and the organization that held it before."""
    with opened() as services:
        _must_exist(services, organization_id)
        previous = resource_identifiers.assign(services.settings, resource, organization_id, utc_now(), verify=verify)
    show([{"resource": resource, "organizationId": organization_id, "previously": previous}], as_json, one=True)


@resource_server.command("release")
@click.argument("resource")
@as_json_option
def resource_server_release(resource: str, as_json: bool) -> None:
    """Take the identifier RESOURCE from the organization that holds it; the next that registers it gets it."""
    with opened() as services:
        previous = resource_identifiers.release(str(services.settings.database_url), resource)
    show([{"resource": resource, "organizationId": None, "previously": previous}], as_json, one=True)


@cli.group()
def keys() -> None:
    """The keys that sign tokens."""


@keys.command("rotate")
@as_json_option
def keys_rotate(as_json: bool) -> None:
    """Publish a new key; it signs once no client can still hold an older JWKS. Prints its kid."""
    with opened() as services:
        kid = key_rotation.rotate(services.settings, at=utc_now())
        [new] = [key for key in key_rotation.describe(services.settings, at=utc_now()) if key["kid"] == kid]
    _show_keys([new], as_json, one=True)


@keys.command("revoke")
@click.argument("kid")
@as_json_option
def keys_revoke(kid: str, as_json: bool) -> None:
    """Revoke the key KID for good: within seconds it is in no JWKS, and no token that it signed is accepted.

    Prints the key; and if it was the one that signs tokens, first the new key that signs them from now on.
    """
    with opened() as services:
        new = key_rotation.revoke(services.settings, kid, at=utc_now())
        shown = [key for key in key_rotation.describe(services.settings, at=utc_now()) if key["kid"] in (kid, new)]
    _show_keys(shown, as_json)
    if new is not None:
        click.echo(
            f"Warning: the new key {new} signs at once. A client that caches the JWKS refuses its tokens until it "
            "fetches the JWKS again.",
            err=True,
        )


@keys.command("reencrypt")
def keys_reencrypt() -> None:
    """Encrypt the keys under AGENTIDP_SECRET_KEY that are encrypted under AGENTIDP_SECRET_KEY_PREVIOUS."""
    with opened() as services:
        count, of = key_rotation.reencrypt(services.settings)
    click.echo(f"Encrypted {count} of {of} signing keys anew.")


@keys.command("list")
@as_json_option
def keys_list(as_json: bool) -> None:
    """List the keys, newest first: kid, alg, when made, when it signs first, status."""
    with opened() as services:
        _show_keys(key_rotation.describe(services.settings, at=utc_now()), as_json)


def _show_keys(found: list[dict[str, Any]], as_json: bool, *, one: bool = False) -> None:
    rows = [{k: timestamp(v) if isinstance(v, datetime) else v for k, v in key.items()} for key in found]
    show(rows, as_json, one=one)


@cli.command()
def demo() -> None:
    """Make the demo organization: 24 agents and 90 days of traffic. Once made, it stays as it is."""
    with opened() as services:
        made = demo_data.create_demo(str(services.settings.database_url), services.database, utc_now())
    click.echo(f"{'Made' if made else 'There already is'} the demo organization {demo_data.ORGANIZATION_ID}.")
