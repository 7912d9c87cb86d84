"""Common functions of the pages for rules of trust.

The answers to a preset's questions are sent by GET. The next page shows the rule that follows from the answers, with a
field per member, before it is saved. The browser sends this form by POST to the same address, which keeps the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from agentidp.caller import Caller
from agentidp.config import ConfigurationError
from agentidp.dashboard import forms, pages
from agentidp.dashboard.form_key import new_form_key
from agentidp.dashboard.forms import Form
from agentidp.federation.presets import AnswersRefused, Preset, build_rule
from agentidp.federation.rule_checks import RuleRefused, list_warnings
from agentidp.http.errors import ValidationError
from agentidp.jose.assertion import MAX_LENGTH
from agentidp.oauth import rule_results
from agentidp.registry.credentials import RuleSchema, check_trust
from agentidp.services import services

MEMBERS = forms.members(RuleSchema())
"""The fields of the form for a rule of trust."""

Check = Callable[..., dict[str, Any]]
"""The type of :func:`agentidp.federation.rule_checks.check_rule` and of other checks with the same parameters."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule of trust that is being written in the form.

    :param answers: the answers to the questions of the preset, with their errors.
    :param query: the query of the page with these answers.
    :param rule: the rule that follows from the answers, or the typed rule, in the stored form. It is empty if the
        preset has no questions or the typed rule is refused, and ``None`` while the page shows questions.
    """

    presets: tuple[Preset, ...]
    preset: Preset
    answers: Form
    query: str
    rule: dict[str, Any] | None

    @property
    def warnings(self) -> list[str]:
        """The warnings that the rule matches other subjects, or relies on names that can change their owner."""
        return list_warnings(self.rule) if self.rule else []


def build_own_audience(caller: Caller) -> str:
    """Return the audience by which a token names the organization, so that no ``client_id`` is needed."""
    return f"{caller.settings.issuer}/{caller.organization_id}"


def read_draft(presets: tuple[Preset, ...], caller: Caller, check: Check, form: Form | None) -> Draft:
    """Return the draft with the rule from *form* or, if *form* is ``None``, from the answers to the preset's questions.

    :raises ValidationError: the preset is unknown.
    """
    preset_name = request.args.get("preset", presets[0].name)
    preset = next((preset for preset in presets if preset.name == preset_name), None)
    if preset is None:
        allowed_presets_text = f"must be one of {', '.join(preset.name for preset in presets)}"
        raise ValidationError(f"The preset {allowed_presets_text}.", details={"preset": [allowed_presets_text]})
    answers = {
        question.name: request.args.get(question.name, question.proposed).strip() for question in preset.questions
    }
    url_query = urlencode({"preset": preset.name} | answers)
    answer_errors: Mapping[str, str] = {}
    rule: dict[str, Any] | None = None if preset.questions else {}
    if form is not None:
        try:
            rule = _check(caller, check, _build_typed_rule(form.values))
        except (RuleRefused, ValidationError):
            rule = {}
    elif preset.questions and "show" in request.args:
        try:
            audience_member = {"audience": build_own_audience(caller)}
            rule = build_rule(preset, answers, lambda members: _check(caller, check, audience_member | members))
        except AnswersRefused as error:
            answer_errors = error.errors
    return Draft(presets, preset, Form(answers, answer_errors), url_query, rule)


def render_form(
    template: str, caller: Caller, draft: Draft, form: Form | None, field_values: dict[str, Any], **context: Any
) -> Response:
    """Return the page with the form for a rule of trust. A new form has *field_values* in its other fields."""
    if form is None:
        rule = draft.rule or {"audience": build_own_audience(caller)}
        field_values = forms.format_values(MEMBERS, rule) | field_values
        form = Form(field_values, form_key=new_form_key(caller.at), status=400 if draft.answers.errors else 200)
    return pages.page(template, form.status, draft=draft, form=form, trust=MEMBERS, **context)


def read_rule(caller: Caller, check: Check, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the typed rule of trust, or raise :exc:`ValidationError`, whose details name the wrong field."""
    rule = _build_typed_rule(values)
    check_trust(rule, caller.settings, caller.organization_id, check=check)
    return rule


def confirm_deletion(kind: str, name: str, message: str) -> Response:
    """Return the page that asks whether to delete a rule. *kind* is ``delegation`` or ``provisioning``."""
    return pages.page("confirm_rule.html", here=kind, kind=kind, name=name, message=message)


def test_token(caller: Caller, agent: Any = None) -> Response:
    """Return the page that compares a token, claim by claim, with the rules of *agent* (``None``: with all rules)."""
    form, comparisons = Form({}), None
    if request.method == "POST":
        database = services().database.of(caller.organization_id, caller.at)
        token, agent_id = forms.read_texts("token")["token"], agent.agent_id if agent else None
        try:
            comparisons = rule_results.compare_token(services(), database, token, agent_id=agent_id, at=caller.at)
        except ConfigurationError as error:
            form = Form({}, {"token": f"{error}."}, status=400)
    section = "agents" if agent else "provisioning"
    return pages.page(
        "token_test.html", form.status, here=section, agent=agent, form=form, results=comparisons, max_length=MAX_LENGTH
    )


def _build_typed_rule(values: Mapping[str, Any]) -> dict[str, Any]:
    return {field_name: value for field_name, value in forms.build_body(MEMBERS, values).items() if value}


def _check(caller: Caller, check: Check, rule: dict[str, Any]) -> dict[str, Any]:
    return check(
        rule,
        own_issuer=caller.settings.issuer,
        organization_id=caller.organization_id,
        allows_loopback=caller.settings.allows_loopback_issuers,
    )
