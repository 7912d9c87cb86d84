"""Test the messages about state changes. ``test_delivery.py`` tests the body of a webhook, with its signature."""

# ruff: noqa: RUF001 - full-width forms are what is tested.
from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest

from agentidp.alerts import messages
from agentidp.alerts.messages import Message
from agentidp.alerts.state_change import StateChange, build_test_change
from tests.alerts.conftest import change
from tests.factories import NOON

DASHBOARD = "https://idp.example/dashboard"


def message_of(change: StateChange, owner: str | None = None, name: str = "Acme") -> Message:
    return Message(message_id=UUID(int=1), organization_id="org-1", organization_name=name, change=change, owner=owner)


def test_an_alert_leads_to_the_page_of_its_finding_and_a_test_to_the_dashboard() -> None:
    for state_change, page in (
        (opened := change(), f"{DASHBOARD}/findings/{opened.finding_id}"),
        (build_test_change("on-call", NOON), DASHBOARD),
    ):
        [alert] = json.loads(messages.build_alertmanager_body(message_of(state_change, "Ada"), DASHBOARD))
        assert (alert["generatorURL"], alert["annotations"]["url"], alert["annotations"]["owner"]) == (
            page,
            page,
            "Ada",
        )
        message = message_of(state_change, "Ada")
        assert json.loads(messages.build_webhook_body(message, DASHBOARD))["data"]["url"] == page
        assert f"\n\nOwner of {state_change.subject}: Ada\n\n" in messages.build_text(message, DASHBOARD)
        without_owner = messages.build_text(message_of(state_change), DASHBOARD)
        assert without_owner == f"{state_change.description}\n\n{page}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("shop: @channel [sign in](https://evil.example)", "shop: ＠channel ［sign in］(https：//evil．example)"),
        ("<!here> <@U1> <at>x</at>", "＜!here＞ ＜＠U1＞ ＜at＞x＜/at＞"),
        ("www.evil.example #general", "www．evil．example ＃general"),
        ("**b** _c_ a__b `d` ~e~ ||f|| \\[g]", "＊＊b＊＊ ＿c＿ a＿＿b ｀d｀ ～e～ ｜｜f｜｜ ＼［g］"),
        ("&lt;b&gt; &#64;all", "＆lt;b＆gt; ＆＃64;all"),
        ("[[a](//b.c)](d://e) mailto:f", "［［a］(//b．c)］(d：//e) mailto：f"),
        ("a\u202eb", "a＼u202eb"),
        # Figures, sentences and usual names stay.
        ("nightly_report-2: 1,200.5 tokens at 12:00. R&D", "nightly_report-2: 1,200.5 tokens at 12:00. R&D"),
    ],
)
def test_text_of_an_organization_is_no_mention_link_or_markup(text: str, shown: str) -> None:
    assert messages.disarm(text) == shown
    attack = change(subject=text, title=text, description=text)
    message = message_of(attack, text, text)
    assert messages.build_title(message) == f"[critical] {shown}: {shown}"
    page = messages.build_finding_url(attack, DASHBOARD)
    assert messages.build_text(message, DASHBOARD) == f"{shown}\n\nOwner of {shown}: {shown}\n\n{page}"
    [alert] = json.loads(messages.build_alertmanager_body(message, DASHBOARD))
    assert alert["annotations"] == {
        **dict.fromkeys(("summary", "description", "subject", "organization", "owner"), shown),
        "kind": "spike",
        "url": page,
    }
    # Programs compare the names in a webhook.
    data = json.loads(messages.build_webhook_body(message, DASHBOARD))["data"]
    assert {data[name] for name in ("organizationName", "subject", "owner", "title", "description")} == {text}


def test_the_end_of_an_alert_is_far_away_until_it_is_resolved() -> None:
    """Otherwise Alertmanager would resolve it after five minutes."""
    [alert] = json.loads(messages.build_alertmanager_body(message_of(change()), DASHBOARD))
    assert (alert["startsAt"], alert["endsAt"]) == ("2026-04-15T12:00:00.000000Z", "2026-05-15T12:00:00.000000Z")
    ended = change(NOON + timedelta(hours=1), opened_at=NOON, change="resolved")
    alerts = json.loads(messages.build_alertmanager_body(message_of(ended), DASHBOARD))
    assert [alert["labels"]["severity"] for alert in alerts] == ["info", "warning", "critical"]
    for alert in alerts:
        assert (alert["startsAt"], alert["endsAt"]) == ("2026-04-15T12:00:00.000000Z", "2026-04-15T13:00:00.000000Z")
