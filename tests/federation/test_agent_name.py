"""Names of agents are made from claims, which can have any value."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentidp.federation.agent_name import MAX_NAME, add_subject_suffix, build_agent_name
from agentidp.registry.agents import NewAgentSchema

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
TEXT = st.text(st.characters(), max_size=300)


@example(template="{sub}", sub="a" * 300, a=None)
@given(template=st.sampled_from(["{sub}", "ci {sub}", "{a} {sub}", "{/a/b}-{sub}", "x"]), sub=TEXT, a=ANYTHING)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_name_is_one_that_an_agent_may_have(template: str, sub: str, a: object) -> None:
    name = build_agent_name(template, {"sub": sub, "a": a})
    if name is not None:
        for one in (name, add_subject_suffix(name, "https://issuer.example", sub.encode("utf-8", "replace").decode())):
            assert NewAgentSchema().load({"name": one})["name"] == one
    elif template == "x":
        raise AssertionError("a name without claims is always one")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{sub}", "repo:acme/web"),
        ("ci {repo} {/k/ns} {n}", "ci web shop 7"),
        ("{missing}", None),
        ("{k}", None),
        ("{flag}", None),
        ("{blank}", None),
        ("{long}", "a" * MAX_NAME),
        ("{hostile}", "<b>x</b> evil gpj"),
        ("{sub", "{sub"),
        ("{injected}", "{sub}"),
    ],
)
def test_what_a_template_makes_of_claims(template: str, name: str | None) -> None:
    claims = {
        "sub": "repo:acme/web",
        "repo": "web",
        "k": {"ns": "shop"},
        "n": 7,
        "flag": True,
        "blank": " \t\u200b",
        "long": "a" * 5000,
        "hostile": "<b>x</b>\u202e\x00evil\u200b gpj\n",
        "injected": "{sub}",
    }
    assert build_agent_name(template, claims) == name


def test_the_other_name_is_that_of_issuer_and_subject_alone() -> None:
    first = add_subject_suffix("a" * MAX_NAME, "https://issuer.example", "job")
    assert first == add_subject_suffix("a" * MAX_NAME, "https://issuer.example", "job")
    assert len(first) == MAX_NAME
    others = {
        add_subject_suffix("a", *one) for one in (("https://b", "job"), ("https://c", "job"), ("https://b", "work"))
    }
    assert len(others) == 3
