"""The file that describes a fleet: its content, and the messages for mistakes."""

from __future__ import annotations

import uuid

import marshmallow as ma
import pytest

from agentidp.config import ConfigurationError
from agentidp.declarative.document import MAX_PROBLEMS, MAX_REPEATED, read_document, write_document
from agentidp.declarative.schemas import normalize_instants
from agentidp.http.schemas import Instant
from tests.machine import within


def read(text: str) -> list[dict[str, object]]:
    return [organization.content for organization in read_document(text.encode(), "agents.yaml")]


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        read_document(text.encode() if isinstance(text, str) else text, "agents.yaml")
    return str(refused.value).splitlines()


def aliases(depth: int, width: int) -> str:
    """Return a short document whose aliases repeat *width* to the power of *depth* scopes."""
    lines = ["a0: &a0 [" + ", ".join(["x"] * width) + "]"]
    for n in range(1, depth):
        lines.append(f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * width) + "]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        aliases(9, 9),
        # One list of 300 agents, repeated 1,200 times.
        "a: &a [" + ", ".join(["{name: x}"] * 300) + "]\norganizations: [" + ", ".join(["{agents: *a}"] * 1200) + "]",
        # The same, with merge keys.
        "a: &a {" + ", ".join(f"k{n}: 1" for n in range(300)) + "}\norganizations: ["
        + ", ".join(["{<<: *a}"] * 1200) + "]",
    ],
    ids=["nested", "repeated", "merged"],
)  # fmt: skip
def test_what_aliases_stand_for_is_bounded(text: str) -> None:
    assert len(text) < 25_000
    with within(10):
        assert problems(text) == ["agents.yaml, line 1: aliases repeat more than 50,000 values: write them once"]


def test_aliases_may_repeat_up_to_the_bound() -> None:
    half = MAX_REPEATED // 2 - 1
    at_most = "b: &b x\na: &a [" + "x, " * half + "]\norganizations: [*a, *a]"
    assert "write them once" not in str(problems(at_most))
    assert "write them once" in str(problems(at_most.replace("*a, *a", "*a, *a, *b")))


def test_reads_the_organizations_of_several_documents() -> None:
    text = """
organizations:
  - name: Acme
    monthlyTokenBudget: 1000
    agents:
      - name: builder
        description: |-
          Builds.
          Größe ✓
        scopes: &scopes [analytics:read]
        dpopBoundAccessTokens: true
      - {name: tester, scopes: *scopes}
---
---
organizations:
  - name: Other
    organizationId: org-x
"""
    assert read(text) == [
        {
            "name": "Acme",
            "monthlyTokenBudget": 1000,
            "agents": [
                {
                    "name": "builder",
                    "description": "Builds.\nGröße ✓",
                    "scopes": ["analytics:read"],
                    "dpopBoundAccessTokens": True,
                },
                {"name": "tester", "scopes": ["analytics:read"]},
            ],
        },
        {"name": "Other", "organizationId": "org-x"},
    ]


ACME = "organizations:\n- name: Acme\n"
AGENTS = ACME + "  agents:\n  - name: a\n"
SERVERS = ACME + "  resourceServers:\n  - {resource: 'https://a.example', name: a}\n"
NO_URI = "must be an absolute URI of at most 500 characters without fragment"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "agents.yaml: names no organization"),
        ("organizations: []", "agents.yaml: names no organization"),
        ("[]", "line 1: must be a mapping"),
        ("{}", "line 1: organizations: is missing"),
        ("\norganizations: Acme", "line 2: organizations: must be a list"),
        ("organizations:\n- Acme", "line 2: organizations[0]: must be a mapping"),
        ("organizations: [{}]", "line 1: organizations[0].name: is missing"),
        (AGENTS + "    scopes: [a, a]", "line 5: organizations[0].agents[0].scopes: must not name a scope twice"),
        (AGENTS + "    clientSecret: x", "line 5: organizations[0].agents[0].clientSecret: is not known here"),
        # Only the server creates ids.
        (AGENTS + f"    agentId: {uuid.UUID(int=1)}", "line 5: organizations[0].agents[0].agentId: is not known here"),
        ("organizations: [{name: yes}]", "line 1: organizations[0].name: must be a string"),
        (SERVERS.replace("https:", "x"), f"line 4: organizations[0].resourceServers[0].resource: {NO_URI}"),
        (ACME + "  name: Other", "line 3: the key 'name' is there twice"),
        (ACME + "---\n" + ACME, "line 5: organizations[0].name: another organization in the file has this name"),
        (
            "organizations:\n- {name: A, organizationId: org-x}\n- {name: B, organizationId: org-x}",
            "line 3: organizations[1].organizationId: another organization in the file has this id",
        ),
        (
            AGENTS + "  - name: a",
            "line 5: organizations[0].agents[1].name: another agent of the organization has this name",
        ),
        (
            SERVERS + "  - {resource: 'https://a.example', name: b}",
            "line 5: organizations[0].resourceServers[1].resource: "
            "another resource server of the organization has this resource",
        ),
        ("organizations:\n- [", "line 3: did not find expected node content"),
        ("a: !!python/name:os.system x", "line 1: could not determine a constructor for the tag"),
        (AGENTS + "    scopes: !!set {c}", "line 5: !!set is not known here"),
        ("organizations: [{name: !!binary YQ==}]", "line 1: !!binary is not known here"),
        (ACME + "  organizationId: ''", "line 3: organizations[0].organizationId: must not be empty"),
        ("organizations: *none", "line 1: found undefined alias"),
        ("a: !!timestamp 2026-13-45", "agents.yaml: is no YAML: month must be in 1..12"),
        (b"a: \xff", "agents.yaml: is no YAML: "),
        ("[" * 900 + "]" * 900, "agents.yaml: is nested too deeply"),
        ("organizations: &a [*a]", "line 1: the value contains itself"),
    ],
)
def test_names_file_line_path_and_rule(text: str | bytes, expected: str) -> None:
    [messages] = problems(text)
    messages = messages.removeprefix("agents.yaml, ")
    assert messages == expected or (messages.startswith(expected) and not expected.endswith("here"))


def test_a_key_of_a_mapping_overrides_what_is_merged() -> None:
    merged = "organizations:\n- name: Acme\n  agents:\n  - &a {name: a, scopes: []}\n  - {<<: *a, name: b}"
    assert read(merged)[0]["agents"] == [{"name": "a", "scopes": []}, {"name": "b", "scopes": []}]
    wrong = merged.replace("name: b", "name: 7")
    assert problems(wrong) == ["agents.yaml, line 5: organizations[0].agents[1].name: must be a string"]


def test_two_organizations_may_have_one_name_if_both_have_an_id() -> None:
    both = "organizations: [{name: A, organizationId: org-x}, {name: A, organizationId: org-y}]"
    assert len(read(both)) == 2
    assert "has this name" in problems(both.replace(", organizationId: org-y", ""))[0]
    assert "has this name" in problems(both.replace(", organizationId: org-x", ""))[0]


def test_lists_every_mistake_up_to_a_number() -> None:
    text = "organizations:\n" + "- {}\n" * (MAX_PROBLEMS + 5)
    messages = problems(text)
    assert messages[MAX_PROBLEMS - 1 :] == [
        f"agents.yaml, line {MAX_PROBLEMS + 1}: organizations[{MAX_PROBLEMS - 1}].name: is missing",
        "and 5 more",
    ]


@pytest.mark.parametrize(
    "text", ["yes", "2026-01-01", "1", "null", "~", "a: b", "# no comment", "line\n\n  two\ttab", "'\"\\", "Größe ✓ 😀"]
)
def test_text_that_looks_like_something_else_is_written_so_that_it_stays_text(text: str) -> None:
    content = {"name": "Acme", "agents": [{"name": "a", "description": text, "scopes": []}]}
    assert read(write_document([content])) == [content]


class _Thing(ma.Schema):
    endsAt = Instant(allow_none=True)


class _Things(ma.Schema):
    name = ma.fields.String()
    things = ma.fields.List(ma.fields.Nested(_Thing))


def test_an_instant_is_written_without_quotes_and_compared_as_the_api_writes_it() -> None:
    [declared] = read_document(b"organizations: [{name: 2026-05-01T00:00:00Z}]", "f")
    assert declared.content["name"] == "2026-05-01T00:00:00Z"
    content = {"name": "2026-05-01", "things": [{"endsAt": "2026-05-01T02:00:00+02:00"}, {"endsAt": None}, {}]}
    ends_at = {"endsAt": "2026-05-01T00:00:00.000000Z"}
    assert normalize_instants(_Things().fields, content) == content | {"things": [ends_at, {"endsAt": None}, {}]}
