"""``agentidp credential``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TextIO
from uuid import UUID

import click

from agentidp.analytics import impact
from agentidp.cli.confirmation import confirm, dry_run_option, require_confirmation
from agentidp.cli.lookup import begin_transaction, find_and_open_agent, find_row, open_agent_or_organization
from agentidp.cli.options import (
    WholeNumber,
    add_member_options,
    agent_option,
    as_json_option,
    flag_option,
    name_option,
    parse_time,
    read_options,
)
from agentidp.cli.output import is_terminal, print_text, show, show_object, warn
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Rows
from agentidp.oauth import rule_results
from agentidp.registry import agents, credentials

MAX_LIFETIME_DAYS = 36_500
"""Maximum lifetime of a credential in days, about 100 years."""

LISTED_FIELDS = ("credentialId", "label", "type", "createdAt", "expiresAt", "lastUsedAt", "issuer", "subject")
"""Fields of a credential that ``agentidp credential list`` prints, except with ``--json``."""

_LABEL, _RULE = credentials.NewCredentialSchema(only=["label"]), credentials.RuleSchema()

_organization_option = name_option(
    "--organization", "The agent's organization. Required if agents of several organizations have the name."
)

commands = click.Group(
    "credential", help="Credentials: secrets, keys or tokens of other issuers with which agents authenticate."
)


@commands.command("create")
@agent_option
@_organization_option
@add_member_options(_LABEL)
@click.option(
    "--expires-in",
    type=WholeNumber(1, MAX_LIFETIME_DAYS),
    metavar="DAYS",
    help="Number of days until the credential expires. Default: it never expires.",
)
@flag_option(
    "--public", "is_public", "Create a credential without a secret, for an application that runs on people's computers."
)
@as_json_option
def create_credential(
    agent: str, organization: str | None, expires_in: int | None, is_public: bool, as_json: bool, **options: Any
) -> None:
    """Create a credential. Its secret is printed now and never again.

    Prints: credential id, client_id, client_secret.
    """
    request_body = read_options(_LABEL, options) | ({"type": "public"} if is_public else {})
    new_credential = credentials.NewCredentialSchema().load(request_body)
    with find_and_open_agent(agent, organization) as (_, database, agent_id):
        expires_at = database.at + timedelta(days=expires_in) if expires_in else None
        with database.transaction() as transaction:
            credential_row, client_secret = credentials.add_credential(
                transaction, agent_id, label=new_credential["label"], jwks=new_credential["jwks"], expires_at=expires_at
            )
    credential_body = credentials.represent(credential_row) | {"clientId": str(agent_id), "clientSecret": client_secret}
    printed_names = ("credentialId", "clientId", "clientSecret")
    show_object(credential_body, as_json, members=printed_names, shown_once="clientSecret")


@commands.command("trust")
@agent_option
@_organization_option
@add_member_options(_RULE)
@add_member_options(_LABEL)
@as_json_option
def trust_issuer(agent: str, organization: str | None, as_json: bool, **options: Any) -> None:
    """Let an agent authenticate with tokens of another issuer.

    The agent then needs no secret.

    Prints: credential id, issuer, subject, claims, audience. Warns if more than one workload can authenticate.
    """
    request_body = {"type": "federated"} | read_options(_RULE, options) | read_options(_LABEL, options)
    with find_and_open_agent(agent, organization) as (services, database, agent_id):
        new_credential = credentials.NewCredentialSchema().load(request_body)
        trust_rule = credentials.check_trust(new_credential["rule"], services.settings, database.organization_id)
        with database.transaction() as transaction:
            credential_row, _ = credentials.add_credential(
                transaction, agent_id, label=new_credential["label"], rule=trust_rule, expires_at=None
            )
    credential_body = credentials.represent(credential_row)
    warn(credential_body["warnings"])
    printed_names = ("credentialId", "issuer", "subject", "claims", "audience")
    show_object(credential_body if as_json else {"claims": {}} | credential_body, as_json, members=printed_names)


@commands.command("test")
@click.option(
    "--token",
    type=click.File(),
    required=True,
    metavar="FILE",
    help="File that contains the platform's token, or - for standard input.",
)
@name_option("--agent", "Agent whose trust rules are compared with the token.")
@name_option("--organization", "Organization whose rules are compared with the token.")
@click.option(
    "--at",
    type=parse_time,
    metavar="TIME",
    help="Time at which the token is checked, for example for expiry. Default: now.",
)
@as_json_option
def test_token(token: TextIO, agent: str | None, organization: str | None, at: datetime | None, as_json: bool) -> None:
    """Show which rule accepts a platform's token.

    For each rule that does not accept the token, the command shows which claims differ. No token is issued or counted.
    The exit code is 1 if no rule accepts the token. On a terminal, the verdict comes first. Notes are printed to
    standard error.

    Prints: credential id, agent id, compared claim, result, expected value, actual value. For a provisioning or
    delegation rule, the rule's name is printed instead of the two ids.

    A token of this server is not compared with rules. Instead, the command shows, for each resource for which --agent
    has a scope, whether the agent can exchange the token for a token for the resource. It prints the resource in place
    of the rule.
    """
    if agent is not None and organization is not None:
        raise click.UsageError("give --agent or --organization, not both")
    with open_agent_or_organization(agent, organization) as (services, database, agent_id):
        results = rule_results.compare_token(services, database, token.read(), agent_id=agent_id, at=at or database.at)
    is_accepted = bool(results) and results[0].is_accepted
    if (is_terminal() and not as_json) or not is_accepted or results[0].note:
        print_text(_describe_verdict(results), err=as_json or not is_terminal())
    if as_json:
        show([rule_results.describe_result(rule_result) for rule_result in results], as_json)
    elif is_terminal():
        for rule_result in results:
            _print_comparisons(rule_result)
    else:
        show(
            [comparison_row for rule_result in results for comparison_row in _describe_comparisons(rule_result)],
            as_json,
        )
    if not is_accepted:
        raise SystemExit(1)


def _print_comparisons(rule_result: rule_results.RuleResult) -> None:
    print_text(f"{rule_result.rule[:1].upper()}{rule_result.rule[1:]}:")
    for comparison_row in _describe_comparisons(rule_result):
        verdict, actual_value = comparison_row["result"], comparison_row["found"] or "nothing"
        difference = "" if verdict == "met" else f", found {actual_value}"
        print_text(f"  {verdict:<8} {comparison_row['compared']}: {comparison_row['expected']}{difference}")


def _describe_verdict(results: list[rule_results.RuleResult]) -> str:
    """Return a sentence that names the rule that accepts a token, or the best match if no rule accepts the token."""
    if not results:
        return "No rule accepts the token, because there is no rule to compare with it."
    best_result = results[0]
    if best_result.is_accepted:
        return f"Accepted by {best_result.rule}." + (f" {best_result.note}" if best_result.note else "")
    return (
        f"No rule accepts the token. The best match is {best_result.rule}: the token meets {best_result.met_count} of "
        f"{len(best_result.comparisons)} conditions."
    )


def _describe_comparisons(result: rule_results.RuleResult) -> list[dict[str, Any]]:
    return [
        {
            "credentialId": None if result.credential_id is None else str(result.credential_id),
            "agentId": None if result.agent_id is None else str(result.agent_id),
            "compared": comparison.name,
            "result": "met" if comparison.is_met else "not met",
            "expected": comparison.texts[0],
            "found": comparison.texts[1] if comparison.is_there else None,
            "rule": result.provisioning_rule or result.delegation_rule or result.resource,
        }
        for comparison in result.comparisons
    ]


@commands.command("list")
@agent_option
@_organization_option
@as_json_option
def list_credentials(agent: str, organization: str | None, as_json: bool) -> None:
    """List an agent's credentials that are not revoked, oldest first.

    Prints: id, label, type, time of creation, time of expiry, time of the last use (truncated to the minute), issuer,
    subject. Only credentials that trust another issuer have an issuer and a subject.
    """
    with find_and_open_agent(agent, organization) as (_, database, agent_id):
        credential_rows = _fetch_credentials(database, agent_id)
    show([credentials.represent(credential_row) for credential_row in credential_rows], as_json, members=LISTED_FIELDS)


def _fetch_credentials(database: OrganizationDatabase, agent_id: UUID) -> Rows:
    return credentials.select_credentials(database.fetch("agents/list_credentials", agent_id=agent_id))


@commands.command("revoke")
@require_confirmation
@click.argument("credential", metavar="ID|LABEL")
@agent_option
@_organization_option
@flag_option("--end-tokens", "ends_tokens", "Also end all tokens that were issued to the agent before now.")
@dry_run_option
def revoke_credential(
    credential: str, agent: str, organization: str | None, ends_tokens: bool, is_dry_run: bool
) -> None:
    """Revoke a credential. The agent gets no further token with the credential."""
    with find_and_open_agent(agent, organization) as (services, database, agent_id):
        credential_rows = _fetch_credentials(database, agent_id)
        credential_row = find_row(
            credential, credential_rows, "credential_id", "label", kind="credential", owner="the agent"
        )

        def describe_consequences() -> str:
            impact_summary = impact.read_credential_impact(
                database.run, agent_id, credential_row.credential_id, database.at, services.settings.token_ttl
            ).summary
            return "\n".join([_describe_revocation(credential_row, ends_tokens), *impact_summary])

        confirm(describe_consequences, is_dry_run=is_dry_run)
        with begin_transaction(services, database) as transaction:
            if ends_tokens:
                agents.end_tokens(transaction, agent_id, services.clock)
            credentials.end_credential(transaction, agent_id, credential_row.credential_id)


def _describe_revocation(credential_row: Any, ends_tokens: bool) -> str:
    label_suffix = f" ({credential_row.label})" if credential_row.label else ""
    token_sentence = " All tokens of the agent that were issued before now stop working at once." if ends_tokens else ""
    return (
        f"This revokes the credential {credential_row.credential_id}{label_suffix}. A revocation cannot be undone."
        f"{token_sentence}"
    )
