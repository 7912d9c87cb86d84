"""The options that say which tokens of another issuer are trusted, of commands that make such rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from agentidp.cli.options import option_name
from agentidp.federation.rule_checks import RuleRefused
from agentidp.federation.rule_text import claims_of, jwk_set_of
from agentidp.http.schemas import Member
from agentidp.registry.credentials import RuleSchema

_MEMBERS = {name: field for name, field in RuleSchema().fields.items() if isinstance(field, Member)}

_TYPED: dict[str, dict[str, Any]] = {
    "issuer": {"required": True},
    "claims": {"multiple": True, "metavar": "NAME=VALUE"},
    "jwksUri": {"metavar": "URL"},
    "jwks": {"type": click.File(), "metavar": "FILE"},
}
"""Member -> what its option has beside a name and help."""


def rule_options(*, default_audience: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options, which the command gets as keyword arguments.

    :param default_audience: what the audience is by default, for the help.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, field in reversed(_MEMBERS.items()):
            audience = f"What aud must be. Default: {default_audience}" if name == "audience" else None
            about = audience or field.typed_as or field.description
            command = click.option(option_name(field), name, help=f"{about}.", **_TYPED.get(name, {}))(command)
        return command

    return decorate


def rule_body(options: dict[str, Any]) -> dict[str, Any]:
    """What the options say, as the API has it. They are taken out of *options*.

    :raises click.BadParameter: a claim or the keys are not written as they must be.
    """
    given = {name: options.pop(name) for name in _MEMBERS}
    try:
        given["claims"] = claims_of(given["claims"]) or None
        given["jwks"] = None if given["jwks"] is None else jwk_set_of(given["jwks"].read())
    except RuleRefused as refused:
        hint = option_name(_MEMBERS[refused.member])
        raise click.BadParameter(str(refused), param_hint=hint) from None
    return {name: value for name, value in given.items() if value is not None}
