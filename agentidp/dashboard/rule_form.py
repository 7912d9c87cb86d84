"""Common functions of the forms for rules of trust, which begin with a preset and show the rule before it is saved.

The answers to a preset's questions are sent by GET, so they are in the address and nothing is changed. The next page
shows the rule that follows from the answers, with a field per member. The browser sends this form by POST to the same
address, which keeps the answers. A preset without questions shows the fields immediately.
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
from agentidp.federation.presets import AnswersRefused, Preset, build_rule, find_preset
from agentidp.federation.rule_checks import RuleRefused, warnings
from agentidp.http.errors import ValidationError
from agentidp.registry.credentials import RuleSchema, trusted

MEMBERS = forms.members(RuleSchema())
"""The fields of a rule."""

LABELS = forms.labels(MEMBERS)

SHOW = "show"
"""Name of the parameter that is sent with the answers."""

Check = Callable[..., dict[str, Any]]
""":func:`agentidp.federation.rule_checks.check_rule`, or another check with the same parameters."""


@dataclass(frozen=True, slots=True)
class Way:
    """The state of a form of a rule.

    :param answers: the answers to the questions of the preset, with their errors.
    :param query: the query of the page with these answers.
    :param rule: the rule that follows from the answers, or the typed rule, as it would be stored. It is empty if the
        preset has no questions or the typed rule is refused, and ``None`` while the page shows questions.
    """

    presets: tuple[Preset, ...]
    preset: Preset
    answers: Form
    query: str
    rule: dict[str, Any] | None

    @property
    def is_asking(self) -> bool:
        """Whether the page shows the questions instead of the rule."""
        return self.rule is None

    @property
    def status(self) -> int:
        """The status of a page without other errors."""
        return 400 if self.answers.errors else 200

    @property
    def warnings(self) -> list[str]:
        """The warnings about other subjects that the rule matches, and about names that can change hands."""
        return warnings(self.rule) if self.rule else []

    def proposed(self, caller: Caller) -> dict[str, Any]:
        """Return the content of the fields of the rule."""
        rule = self.rule or {"audience": own_audience(caller)}
        return forms.format_values(MEMBERS, rule)


def own_audience(caller: Caller) -> str:
    """Return the audience that identifies the organization without a ``client_id``."""
    return f"{caller.settings.issuer}/{caller.organization_id}"


def way(presets: tuple[Preset, ...], caller: Caller, check: Check, sent: Mapping[str, Any] | None = None) -> Way:
    """Return the state of the form for a request.

    :param sent: the typed fields of the rule; ``None`` before they are sent.
    :raises ValidationError: the request names an unknown preset.
    """
    preset = find_preset(presets, request.args.get("preset", presets[0].name))
    if preset is None:
        names = ", ".join(preset.name for preset in presets)
        raise ValidationError(f"The preset must be one of {names}.", details={"preset": [f"must be one of {names}"]})
    answers = {
        question.name: request.args.get(question.name, question.proposed).strip() for question in preset.questions
    }
    query = urlencode({"preset": preset.name} | answers)
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
            rule = build_rule(preset, answers, lambda new: _checked(caller, check, audience | new))
        except AnswersRefused as refused:
            errors = refused.errors
    return Way(presets, preset, Form(answers, errors), query, rule)


def sent_rule(caller: Caller, check: Check, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the typed rule as a body for the API, which adds the defaults of missing members.

    :param sent: the fields of :data:`MEMBERS` as they were typed.
    :raises ValidationError: a field is wrong; the details name the field.
    """
    rule = _body(sent)
    trusted(rule, caller.settings, caller.organization_id, check=check)
    return rule


def _body(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the typed members of the rule, without checking them.

    :raises ValidationError: the claims or the keys cannot be converted.
    """
    return {name: value for name, value in forms.build_body(MEMBERS, sent).items() if value}


def _checked(caller: Caller, check: Check, new: dict[str, Any]) -> dict[str, Any]:
    return check(
        new,
        own_issuer=caller.settings.issuer,
        organization_id=caller.organization_id,
        allows_loopback=caller.settings.allows_loopback_issuers,
    )
