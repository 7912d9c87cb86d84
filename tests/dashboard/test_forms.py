"""The forms take what the API takes, and say what is wrong."""

from __future__ import annotations

import json
from typing import Any

import marshmallow as ma
import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.alerts.addresses import MAX_URL_LENGTH
from agentidp.audit.reading import MAX_ID
from agentidp.dashboard import forms
from agentidp.findings.actions import MAX_NOTE
from agentidp.http.resource_identifier import MAX_AUDIENCE_LENGTH, MAX_RESOURCE_LENGTH
from agentidp.http.schemas import MAX_NAME, MAX_OWNER, Choice, Flag, Instant, Items, Number, Text
from agentidp.registry.agents import MAX_DESCRIPTION
from agentidp.registry.credentials import MAX_LABEL
from agentidp.registry.organizations import MAX_DORMANCY, MIN_DORMANCY
from agentidp.registry.quotas import MAX_TOKENS, MIN_TOKENS
from tests.conftest import Cast
from tests.dashboard.conftest import Page, post, unchanged, with_session
from tests.factories import IDS, NOON, Agent, a_finding, make_finding, make_openid_provider, make_quotas
from tests.routes import NOWHERE

GITHUB = "https://token.actions.githubusercontent.com"
TRUST = {"issuer": GITHUB, "subject": "repo:acme/web:*", "claims": "repository_id=7\r\nattempt:=1"}
AGENT: dict[str, Any] = {
    "name": "typed <name>",
    "description": "Reads invoices.\r\nTwice.",
    "owner": "Payments",
    "expectedReplicas": "3",
    "scopes": ["analytics:read"],
    "dpopBoundAccessTokens": ["1"],
}
NO_REPLICAS = (400, {"expectedReplicas": "many"}, "The expected replicas must be a whole number from 1 to 10000.")
SERVER = {"name": "Files", "scopes": "files:read\r\nfiles:write", "subject": "agent", "tokenPerCall": ["1"]}
NO_LIFETIME = (400, {"tokenTtl": "1e3"}, "The lifetime in seconds must be a whole number from 60 to 86400.")
OPENID_PROVIDER = {
    "clientId": "x",
    "scopes": "profile",
    "roleClaim": "roles",
    "administrators": "a\r\nb",
    "viewers": "c",
}
QUOTA = {"tokens": "5", "enforce": ["1"]}
NO_TOKENS = f"The number of tokens must be a whole number from {MIN_TOKENS} to {MAX_TOKENS}."
NO_DORMANCY = f"The number of days must be a whole number from {MIN_DORMANCY} to {MAX_DORMANCY}."
NO_DAY, NO_FUTURE = (
    "The day until which it is muted must be a day (2026-04-15), or",
    "must be in the future, by at most 366 days.",
)

Refused = tuple[int, dict[str, Any], str]

FORMS: dict[str, tuple[dict[str, Any], list[Refused]]] = {
    "/markers/new": (
        {"kind": "holiday", "startsAt": "2026-04-14", "time": "", "endsAt": "", "note": "Easter"},
        [(400, {"time": "25:00"}, "The time must be a time such as 09:30.")],
    ),
    "/agents/new": (
        AGENT,
        [
            (409, {"name": "builder"}, "Another agent has this name."),
            (400, {"scopes": ["files:paint"]}, "The scopes must be among analytics:read,"),
            NO_REPLICAS,
        ],
    ),
    "/agents/{agent_id}/edit": (AGENT, [NO_REPLICAS]),
    "/agents/{agent_id}/rotate": (
        {"label": "laptop", "expiresAt": "2026-05-01"},
        [
            (400, {"label": "x" * (MAX_LABEL + 1)}, f"The label must have 1 to {MAX_LABEL} characters."),
            (400, {"expiresAt": "2026-04-15"}, "The day on which it expires must be in the future."),
            (400, {"expiresAt": "tomorrow"}, "The day on which it expires must be a day (2026-04-15), or "),
        ],
    ),
    "/agents/{agent_id}/trust": (
        TRUST | {"label": "CI"},
        [
            (
                400,
                {"claims": "<ref>"},
                "The claims must be name=value, or name:=true, false or a whole number, not <ref>.",
            ),
            (400, {"claims": "x:=yes"}, "The claims x:= must be followed by true, false or a whole number."),
            (400, {"claims": "x:=1.5"}, "The claims x:= must be followed by true, false or a whole number."),
            (400, {"jwks": "{"}, "The keys of the issuer must be a JWK Set."),
            (400, {"issuer": "http://x.example"}, "The issuer must be an https URL"),
        ],
    ),
    "/agents/dormancy": (
        {},
        [(400, {"suspendDormantAfterDays": days}, NO_DORMANCY) for days in (f"{MIN_DORMANCY - 1}", "9" * 5000)],
    ),
    "/alert-targets/new": (
        {
            "name": "on-call",
            "type": "webhook",
            "url": "https://hooks.example/x",
            "minimumSeverity": "warning",
            "kinds": ["spike"],
            "owners": "Ada\r\nGrace",
        },
        [
            (400, {"url": "https://10.0.0.1/x"}, "The address is refused: "),
            (400, {"minimumSeverity": ""}, "The minimum severity must be one of info, warning, critical."),
        ],
    ),
    "/budget": ({}, [(400, {"monthlyTokenBudget": "many"}, "The monthly token budget must be a whole number")]),
    "/delegation-rules/new": (
        TRUST | {"name": "staff", "agentIds": "AGENT", "resources": ["https://AGENT.example AGENT"], "grantDays": "30"},
        [
            (400, {"agentIds": "nobody\a"}, "The agents must exist in the organization by name or ID"),
            (400, {"agentIds": "\n".join([NOWHERE] * 101)}, "The agents must not name more than 100 agents."),
            (400, {"agentIds": ""}, "The agents must name at least one, unless the rule names hosts of apps."),
            (400, {"resources": []}, "What they may reach must name 1 to 100 resource servers."),
            (400, {"resources": ["https://a.example read"]}, "What they may reach must be resource servers of"),
            (400, {"subject": "*"}, "The subject may contain * only at its end"),
        ],
    ),
    "/findings/{finding_id}/mute": (
        {"until": "2026-04-20", "note": "on it", "every": ["on"]},
        [
            (400, {"until": ""}, NO_DAY),
            (400, {"until": "2026-02-30"}, NO_DAY),
            (400, {"until": "2026-04-15"}, f"The day until which it is muted {NO_FUTURE}"),
            (400, {"note": "x" * (MAX_NOTE + 1)}, f"The note must have 1 to {MAX_NOTE} characters."),
        ],
    ),
    "/openid-provider/edit": (
        OPENID_PROVIDER,
        [
            (400, {"clientId": "a b"}, "The client ID must have 1 to 500 printable ASCII characters"),
            (400, {"viewers": "a\r\na"}, "The viewers must not name a value twice."),
        ],
    ),
    "/provisioning-rules/new": (
        TRUST
        | {"name": "shop", "agentName": "ci {sub}", "owner": "team", "scopes": ["analytics:read"]}
        | {"day": "5", "expiresAfterDays": "7", "maxAgents": "3"},
        [
            (400, {"scopes": ["none:such"]}, "What agents get scopes "),
            (400, {"scopes": ["agents:write"]}, "The scopes must not contain agents:write"),
            (400, {"maxAgents": "many"}, "The maximum of agents must be a whole number from 1 to 10000."),
            (400, {"day": "0"}, "The tokens per day must be "),
            (400, {"agentName": "x" * 201}, "The name of an agent must have 1 to 200 characters."),
            (400, {"subject": "*"}, "The subject may contain * only at its end"),
        ],
    ),
    "/quotas/day/edit": (QUOTA, [(400, {"tokens": ""}, NO_TOKENS), (400, {"tokens": "1_0"}, NO_TOKENS)]),
    "/agents/{agent_id}/quotas/day/edit": (QUOTA, [(400, {"tokens": f"{MAX_TOKENS + 1}"}, NO_TOKENS)]),
    "/resource-servers/new": (
        SERVER | {"resource": "https://AGENT.example/typed", "audience": "sts.example"},
        [
            (400, {"resource": "http://localhost:3000/api/v1"}, "The identifier must not be this server's own API"),
            NO_LIFETIME,
        ],
    ),
    "/resource-servers/{resource_server_id}/edit": (
        SERVER,
        [NO_LIFETIME, (400, {"agentId": "nobody\a"}, "The agent must exist in the organization")],
    ),
}
"""Address -> what is sent, and of what is wrong instead the status and the sentence. The first one of a form that
creates something is found in the transaction, if it can be. ``AGENT`` is the id of an agent.
"""


def filled_in(form: dict[str, Any], agent_id: str) -> dict[str, Any]:
    """Return the form with *agent_id* in place of ``AGENT``, also in names from :data:`tests.factories.IDS`."""
    filled: dict[str, Any] = json.loads(json.dumps(form).replace("AGENT", agent_id))
    return filled


@pytest.fixture(scope="module")
def ids(shared_app: Flask, shared_cast: Cast) -> dict[str, str]:
    """The ids of objects of Acme, which no test of this module changes."""
    acme = shared_cast.acme
    make_quotas(acme)
    make_openid_provider(shared_app.test_client(), acme)
    finding = a_finding(NOON, agent_id=acme.agent_id, agent_name="builder")
    return {
        "agent_id": acme.client_id,
        "finding_id": str(make_finding(acme.services, acme.organization_id, finding)),
        "resource_server_id": str(IDS["resource_server_id"](shared_app.test_client(), acme)),
    }


@pytest.mark.parametrize(
    ("path", "status", "wrong", "sentence"),
    [pytest.param(path, *one, id=f"{path} {one[1]}"[:80]) for path, (_, refused) in FORMS.items() for one in refused],
)
def test_a_wrong_field_is_named_what_was_typed_is_kept_and_nothing_is_changed(
    client: FlaskClient, shared_cast: Cast, ids: dict[str, str], path: str, status: int, wrong: Any, sentence: str
) -> None:
    acme, sent = shared_cast.acme, filled_in(FORMS[path][0], ids["agent_id"]) | wrong
    with unchanged(acme):
        response = post(with_session(client, acme), f"/dashboard{path.format(**ids)}", **sent)
    page, [field] = Page(response), wrong
    assert (response.status_code, page.notice[: len(sentence)]) == (status, sentence)
    # The form of a finding has its sentence beside it, and scopes that do not exist are about all that agents get.
    anchor = "agentTemplate" if sentence.startswith("What agents get") else field
    if "/findings/" not in path:
        assert f"#{anchor}" in page.links
        assert f' id="{anchor}"' in response.text
    # There is no box for what cannot be chosen, and an empty day is proposed again.
    typed = {name: [] if name in wrong and isinstance(value, list) else value for name, value in sent.items()}
    typed |= {"until": "2026-04-22"} if wrong == {"until": ""} else {}
    kept = {name: page.typed[name] for name in sent}
    assert kept == {
        name: value.replace("\r\n", "\n") if isinstance(value, str) else value for name, value in typed.items()
    }


def test_a_wrong_field_is_described_by_its_hint_and_its_error(client: FlaskClient, acme: Agent) -> None:
    refused = post(with_session(client, acme), f"/dashboard/agents/{acme.agent_id}/rotate", label="a\tb")
    page = Page(refused)
    [notice] = [notice for notice in page.all("p") if notice.get("role") == "alert"]
    # The focus is on the error after the page has loaded, and the title, which a screen reader says first, names it.
    assert ("autofocus" in notice, notice["tabindex"]) == (True, "-1")
    assert page.words.startswith("Error: ")
    [field] = [field for field in page.all("input") if field.get("name") == "label"]
    assert (field["aria-invalid"], field["aria-describedby"]) == ("true", "label-hint label-error")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/agents", {"search": MAX_NAME}),
        ("/agents/new", {"name": MAX_NAME, "description": MAX_DESCRIPTION, "owner": MAX_OWNER}),
        ("/agents/{agent_id}/rotate", {"label": MAX_LABEL}),
        (
            "/resource-servers/new",
            {"name": MAX_NAME, "resource": MAX_RESOURCE_LENGTH, "audience": MAX_AUDIENCE_LENGTH, "agentId": MAX_NAME},
        ),
        ("/alert-targets/new", {"name": MAX_NAME, "url": MAX_URL_LENGTH}),
        ("/audit", {"subject": MAX_ID, "actor": MAX_ID}),
        ("/findings/{finding_id}", {"note": MAX_NOTE}),
    ],
    ids=str,
)
def test_a_field_takes_as_many_characters_as_the_api(
    client: FlaskClient, shared_cast: Cast, ids: dict[str, str], path: str, expected: dict[str, int]
) -> None:
    page = Page(with_session(client, shared_cast.acme).get(f"/dashboard{path.format(**ids)}"))
    # But for the search in the header, which is the first field of every page.
    shown = [*page.all("input")[1:], *page.all("textarea")]
    fields = {field["name"]: field["maxlength"] for field in shown if "maxlength" in field}
    assert fields | {name: str(length) for name, length in expected.items()} == fields


class Things(ma.Schema):
    """A thing with a member of each type."""

    name = Text(1, 9, required=True)
    audience = Text(0, 9, allow_none=True, load_default=None)
    copies = Number(0, 9, allow_none=True, load_default=3)
    colour = Choice(["red", "blue"], load_default="blue")
    isBound = Flag(load_default=False)
    kinds = Items(Choice(["a", "b"]), allow_none=True, load_default=None)
    scopes = Items(Text(1, 9), load_default=list)
    endsAt = Instant(allow_none=True, load_default=None)


@pytest.mark.parametrize(
    ("sent", "members"),
    [
        ({}, {"name": "", "audience": None, "copies": None, "isBound": False, "kinds": None, "scopes": []}),
        ({}, {"endsAt": None}),
        ({"endsAt": "2026-05-01"}, {"endsAt": "2026-05-01T00:00:00.000000Z"}),
        ({"name": " x ", "audience": "y"}, {"name": "x", "audience": "y"}),
        ({"copies": "0"}, {"copies": 0}),
        # A schema refuses what is no number.
        ({"copies": "1_0"}, {"copies": "1_0"}),
        ({"isBound": "1", "kinds": ["b", "a"]}, {"isBound": True, "kinds": ["b", "a"]}),
        ({"scopes": "x\r\n\r\n y \r\n"}, {"scopes": ["x", "y"]}),
    ],
    ids=str,
)
def test_what_was_typed_is_the_body_of_the_api(app: Flask, sent: dict[str, Any], members: dict[str, Any]) -> None:
    fields = forms.members(Things())
    with app.test_request_context(method="POST", data=sent):
        body = forms.build_body(fields, forms.read_fields(fields))
    assert body | members == body


def test_a_form_has_what_the_thing_is_or_its_defaults() -> None:
    fields = forms.members(Things(exclude=["name"]))
    body = {"audience": None, "copies": 0, "colour": "red", "isBound": True, "kinds": ["a"], "scopes": ["x", "y"]}
    assert forms.format_values(fields, body) == body | {"audience": "", "scopes": "x\ny", "endsAt": ""}
    proposed = {
        "audience": "",
        "copies": 3,
        "colour": "blue",
        "isBound": False,
        "kinds": "",
        "scopes": "",
        "endsAt": "",
    }
    assert forms.default_values(fields) == proposed
