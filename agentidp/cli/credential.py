"""``agentidp credential``."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, TextIO

import click

from agentidp.analytics import impact
from agentidp.cli.confirmation import asks_first, confirm, dry_run_option
from agentidp.cli.context import opened
from agentidp.cli.named import Candidate, agent_named, one_of, organization_named
from agentidp.cli.options import WholeNumber, agent_option, as_json_option, given, member_options, moment
from agentidp.cli.output import is_terminal, say, show, warn
from agentidp.clock import utc_now
from agentidp.oauth import rule_results
from agentidp.registry import credentials

MAX_LIFETIME_DAYS = 36_500
"""Maximum lifetime in days, about 100 years. More could exceed the range of Python's dates."""

SHOWN = ("credentialId", "label", "type", "createdAt", "expiresAt", "lastUsedAt", "issuer", "subject")
"""The fields in a list of credentials, except with --json."""

_LABEL, _RULE = credentials.NewCredentialSchema(only=["label"]), credentials.RuleSchema()


@click.group("credential")
def commands() -> None:
    """Credentials: secrets or keys with which agents get tokens."""


@commands.command("create")
@agent_option
@member_options(_LABEL)
@click.option(
    "--expires-in",
    type=WholeNumber(1, MAX_LIFETIME_DAYS),
    metavar="DAYS",
    help="Days until it expires. Default: never.",
)
@as_json_option
def create(agent: str, expires_in: int | None, as_json: bool, **options: Any) -> None:
    """Create a credential. Its secret is printed now and never again.

    Prints: credential id, client_id, client_secret.
    """
    at = utc_now()
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
        new = credentials.NewCredentialSchema().load(given(_LABEL, options))
        with services.database.of(organization_id, at).transaction() as transaction:
            row, client_secret = credentials.add_credential(
                transaction,
                agent_id,
                label=new["label"],
                expires_at=at + timedelta(days=expires_in) if expires_in else None,
            )
    body = credentials.represent(row)
    shown = {"credentialId": body["credentialId"], "clientId": str(agent_id), "clientSecret": client_secret}
    show([body | shown if as_json else shown], as_json, one=True, only_now=["clientSecret"])


@commands.command("trust")
@agent_option
@member_options(_RULE)
@member_options(_LABEL)
@as_json_option
def trust(agent: str, as_json: bool, **options: Any) -> None:
    """Let an agent authenticate with tokens of another issuer.

    The agent then needs no secret.

    Prints: credential id, issuer, subject, claims, audience. Warns if the rule trusts more than one workload.
    """
    body = {"type": "federated"} | given(_RULE, options) | given(_LABEL, options)
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
        new = credentials.NewCredentialSchema().load(body)
        rule = credentials.trusted(new["rule"], services.settings, organization_id)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row, _ = credentials.add_credential(transaction, agent_id, label=new["label"], rule=rule, expires_at=None)
    made = credentials.represent(row)
    warn(made["warnings"])
    if not as_json:
        claims_shown = json.dumps(made.get("claims", {}), ensure_ascii=False)
        made = {name: made.get(name) for name in ("credentialId", "issuer", "subject", "claims", "audience")}
        made["claims"] = claims_shown
    show([made], as_json, one=True)


@commands.command("test")
@click.option("--token", type=click.File(), required=True, metavar="FILE", help="Has the platform's token. - is stdin.")
@click.option("--agent", metavar="ID|NAME", help="Compare with the rules of this agent only.")
@click.option("--organization", metavar="ID|NAME", help="Compare with all its rules.")
@click.option("--at", type=moment, metavar="TIME", help="Judge the times of the token for then. Default: now.")
@as_json_option
def test(token: TextIO, agent: str | None, organization: str | None, at: datetime | None, as_json: bool) -> None:
    """Show which rule accepts a platform's token.

    For each other rule, the command shows why it does not accept the token, claim by claim. Nothing is issued or
    counted. The exit code is 1 if no rule accepts the token. A terminal gets the verdict first. Notes are printed to
    standard error.

    Prints: credential id, agent id, compared claim, result, expected value, actual value. For a provisioning or
    delegation rule, its name is printed instead of the ids.
    """
    if (agent is None) == (organization is None):
        raise click.UsageError("Name either --agent or --organization.")
    with opened() as services:
        agent_id = None
        if agent is not None:
            organization_id, agent_id = agent_named(services, agent)
        else:
            organization_id = organization_named(services, str(organization)).organization_id
        database = services.database.of(organization_id, utc_now())
        found = rule_results.compare_token(services, database, token.read(), agent_id=agent_id, at=at or database.at)
    is_accepted = bool(found) and found[0].is_accepted
    if (is_terminal() and not as_json) or not is_accepted or found[0].note:
        say(_verdict(found), err=as_json or not is_terminal())
    if as_json:
        show([rule_results.describe_result(one) for one in found], as_json)
    elif is_terminal():
        for one in found:
            say(f"{one.rule[:1].upper()}{one.rule[1:]}:")
            for line in _lines(one):
                comparison = "" if line["result"] == "met" else f", found {line['found'] or 'nothing'}"
                say(f"  {line['result']:<8} {line['compared']}: {line['expected']}{comparison}")
    else:
        show([line for one in found for line in _lines(one)], as_json)
    if not is_accepted:
        raise SystemExit(1)


def _verdict(found: list[rule_results.RuleResult]) -> str:
    """Return a sentence about the rule that accepts the token, or about the rule that comes closest."""
    if not found:
        return "No rule accepts the token: there is none."
    best = found[0]
    if best.is_accepted:
        return f"Accepted by {best.rule}." + (f" {best.note}" if best.note else "")
    return f"No rule accepts the token. The nearest is {best.rule}: {best.met} of {len(best.comparisons)} are met."


def _lines(result: rule_results.RuleResult) -> list[dict[str, Any]]:
    return [
        {
            "credentialId": None if result.credential_id is None else str(result.credential_id),
            "agentId": None if result.agent_id is None else str(result.agent_id),
            "compared": one.name,
            "result": "met" if one.is_met else "not met",
            "expected": one.expected if isinstance(one.expected, str) else json.dumps(one.expected),
            "found": one.found if isinstance(one.found, str) else json.dumps(one.found) if one.is_there else None,
            "rule": result.provisioning_rule or result.delegation_rule,
        }
        for one in result.comparisons
    ]


@commands.command("list")
@agent_option
@as_json_option
def list_(agent: str, as_json: bool) -> None:
    """List an agent's credentials that are not revoked, oldest first.

    Prints: id, label, type, time of creation, time of expiry, time of the last use (truncated to the minute), and for a
    trust rule, the issuer and the subject.
    """
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
        database = services.database.of(organization_id, utc_now())
        rows = credentials.present(database.fetch("agents/list_credentials", agent_id=agent_id))
    found = [credentials.represent(row) for row in rows]
    if not as_json:
        found = [{name: credential.get(name) for name in SHOWN} for credential in found]
    show(found, as_json)


@commands.command("revoke")
@asks_first
@click.argument("credential", metavar="ID|LABEL")
@agent_option
@dry_run_option
def revoke(credential: str, agent: str, is_dry_run: bool) -> None:
    """Revoke a credential. The agent gets no further token with the credential."""
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
        database = services.database.of(organization_id, utc_now())
        rows = credentials.present(database.fetch("agents/list_credentials", agent_id=agent_id))
        known = [Candidate(str(row.credential_id), [row.label] if row.label else [], row) for row in rows]
        found = one_of(credential, known, kind="credential", owner="the agent")

        def consequences() -> str:
            name = f"{found.credential_id} ({found.label})" if found.label else found.credential_id
            ttl = services.settings.token_ttl
            broken = impact.of_credential(database.run, agent_id, found.credential_id, database.at, ttl)
            lines = [f"This revokes the credential {name}. This cannot be undone.", *impact.sentences(broken)]
            return "\n".join(lines)

        confirm(consequences, is_dry_run=is_dry_run)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            credentials.end_credential(transaction, agent_id, found.credential_id)
