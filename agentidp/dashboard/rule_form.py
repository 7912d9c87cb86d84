"""What the forms of rules of trust have in common: they begin with a preset, and show the rule before it is saved.

A preset's questions are asked by GET, so that the address has the answers and nothing is changed. The page that
follows shows the rule that comes of them, and has its members as fields that may still be changed; it is sent by POST
to the same address, which so keeps the way back to the answers. The preset that asks nothing has the fields at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import request

from agentidp.caller import Caller
from agentidp.dashboard import forms
from agentidp.dashboard.forms import Form
from agentidp.federation.presets import AnswersRefused, Preset, preset_named, rule_of
from agentidp.federation.rule_checks import RuleRefused, warnings
from agentidp.http.errors import ValidationError
from agentidp.registry.credentials import RuleSchema

MEMBERS = forms.members(RuleSchema())
"""The fields of a rule."""

LABELS = forms.labels(MEMBERS)

SHOW = "show"
"""The parameter with which the answers are sent."""

Check = Callable[..., dict[str, Any]]
""":func:`agentidp.federation.rule_checks.checked`, or what has its parameters."""


@dataclass(frozen=True, slots=True)
class Way:
    """How far somebody is on the way to a rule.

    :param answers: to the preset's questions, with what is wrong with them.
    :param query: the address of the page with these answers.
    :param rule: that comes of them, or was sent, as it would be stored; empty if there is none yet, because the preset
        asks nothing or what was sent is wrong; ``None`` if the preset still asks.
    """

    presets: tuple[Preset, ...]
    preset: Preset
    answers: Form
    query: str
    rule: dict[str, Any] | None

    @property
    def is_asking(self) -> bool:
        """Whether the page has the questions, and not yet the rule."""
        return self.rule is None

    @property
    def status(self) -> int:
        """Of a page with nothing else wrong."""
        return 400 if self.answers.errors else 200

    @property
    def warnings(self) -> list[str]:
        """Whom the rule trusts beside one workload, and by what names."""
        return warnings(self.rule) if self.rule else []

    def proposed(self, caller: Caller) -> dict[str, Any]:
        """What is in the fields of the rule."""
        rule = self.rule or {"audience": own_audience(caller)}
        return forms.typed(MEMBERS, rule)


def own_audience(caller: Caller) -> str:
    """The audience that says by itself which organization is meant."""
    return f"{caller.settings.issuer}/{caller.organization_id}"


def way(presets: tuple[Preset, ...], caller: Caller, check: Check, sent: Mapping[str, Any] | None = None) -> Way:
    """How far the request is on the way to a rule.

    :param sent: the fields of the rule as they were typed, if they were.
    :raises ValidationError: it names no preset.
    """
    preset = preset_named(presets, request.args.get("preset", presets[0].name))
    if preset is None:
        names = ", ".join(preset.name for preset in presets)
        raise ValidationError(f"The preset must be one of {names}.", details={"preset": [f"must be one of {names}"]})
    given = {one.name: request.args.get(one.name, one.proposed).strip() for one in preset.questions}
    query = urlencode({"preset": preset.name} | given)
    errors: Mapping[str, str] = {}
    rule: dict[str, Any] | None = None if preset.questions else {}
    if sent is not None:
        try:
            rule = _checked(caller, check, _body(sent))
        except (RuleRefused, ValidationError):
            rule = {}
    elif preset.questions and SHOW in request.args:
        try:
            audience = {"audience": own_audience(caller)}
            rule = rule_of(preset, given, lambda new: _checked(caller, check, audience | new))
        except AnswersRefused as refused:
            errors = refused.errors
    return Way(presets, preset, Form(given, errors), query, rule)


def sent_rule(caller: Caller, check: Check, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the typed rule, as the API takes it. Members that it lacks get their defaults there.

    :param sent: the fields of :data:`MEMBERS` as they were typed.
    :raises ValidationError: naming the field that is wrong.
    """
    rule = _body(sent)
    try:
        _checked(caller, check, rule)
    except RuleRefused as refused:
        raise ValidationError(details={refused.member: [str(refused)]}) from None
    return rule


def _body(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of the rule that were typed, which nothing has checked.

    :raises ValidationError: the claims or the keys cannot be read.
    """
    return {name: value for name, value in forms.body(MEMBERS, sent).items() if value}


def _checked(caller: Caller, check: Check, new: dict[str, Any]) -> dict[str, Any]:
    return check(
        new,
        own_issuer=caller.settings.issuer,
        organization_id=caller.organization_id,
        allows_loopback=caller.settings.allows_loopback_issuers,
    )
