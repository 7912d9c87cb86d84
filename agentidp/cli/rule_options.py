"""The options that say which tokens of another issuer are trusted, of commands that make such rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from agentidp.federation.rule_checks import RuleRefused
from agentidp.federation.rule_text import claims_of, jwk_set_of

_OPTIONS = (
    click.option("--issuer", required=True, help="What iss must be: an https URL, or spiffe:// and a trust domain."),
    click.option("--subject", help="What sub must be. It may end in * behind a : or /."),
    click.option(
        "--claim",
        "claims",
        multiple=True,
        metavar="NAME=VALUE",
        help="What another claim must be. A name that comes again has one more accepted value. NAME:=true, NAME:=false "
        "and NAME:=7 are a boolean and a number; any other value is a string.",
    ),
    click.option("--jwks", type=click.File(), metavar="FILE", help="The issuer's keys: a JWK Set, or a SPIFFE bundle."),
    click.option(
        "--jwks-uri", "jwksUri", metavar="URL", help="Where the issuer's keys are. Default: as its metadata says."
    ),
)


def rule_options(*, default_audience: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options, which the command gets as keyword arguments.

    :param default_audience: what the audience is by default, for the help.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        audience = click.option("--audience", help=f"What aud must be. Default: {default_audience}.")
        for option in reversed((*_OPTIONS[:3], audience, *_OPTIONS[3:])):
            command = option(command)
        return command

    return decorate


def rule_body(options: dict[str, Any]) -> dict[str, Any]:
    """What the options say, as the API has it. They are taken out of *options*.

    :raises click.BadParameter: a claim or the keys are not written as they must be.
    """
    given = {name: options.pop(name) for name in ("issuer", "subject", "claims", "audience", "jwks", "jwksUri")}
    try:
        given["claims"] = claims_of(given["claims"]) or None
        given["jwks"] = None if given["jwks"] is None else jwk_set_of(given["jwks"].read())
    except RuleRefused as refused:
        raise click.BadParameter(str(refused), param_hint="--jwks" if refused.member == "jwks" else "--claim") from None
    return {name: value for name, value in given.items() if value is not None}
