"""The rules that presets make, and the answers that they refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from agentidp.federation.platforms import GITHUB, GITLAB
from agentidp.federation.presets import (
    GITHUB_ACTIONS,
    GITLAB_CI,
    KUBERNETES,
    SPIFFE_WORKLOAD,
    AnswersRefused,
    Preset,
    build_rule,
)
from agentidp.federation.rule_checks import check_provisioning_rule, check_rule

OWN = "https://idp.example"
ORGANIZATION = "org-0a1b2c3d-0000-4000-8000-000000000001"
EKS = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123"
BUNDLE = "https://spire.acme.example/bundle"
WEB = {"repository": "acme/web"}
SHOP = {"issuer": GITLAB, "project": "shop/web"}
BUILDER = {"issuer": EKS, "namespace": "shop", "serviceAccount": "builder"}
SVID = {"spiffeId": "spiffe://acme.example/ns/shop/sa/builder", "jwksUri": BUNDLE}

trust = partial(check_rule, own_issuer=OWN, organization_id=ORGANIZATION)
provisioning = partial(check_provisioning_rule, own_issuer=OWN, organization_id=ORGANIZATION)


def made(preset: Preset, answers: dict[str, str], check: Callable[..., dict[str, Any]] = trust) -> dict[str, Any]:
    """Return the rule for these answers, without the audience. All other answers are empty."""
    all_answers = {question.name: "" for question in preset.questions} | answers
    rule = build_rule(preset, all_answers, check)
    return {name: value for name, value in rule.items() if name != "audience"}


def github(subject: str, **claims: str) -> dict[str, Any]:
    """Return a rule for GitHub."""
    return {"issuer": GITHUB, "subject": subject} | ({"claims": claims} if claims else {})


def gitlab(subject: str, **claims: str) -> dict[str, Any]:
    """Return a rule for GitLab.com."""
    return {"issuer": GITLAB, "subject": subject} | ({"claims": claims} if claims else {})


MADE: list[tuple[Preset, dict[str, str], dict[str, Any]]] = [
    (KUBERNETES, BUILDER, {"issuer": EKS, "subject": "system:serviceaccount:shop:builder"}),
    (KUBERNETES, BUILDER | {"serviceAccount": "*"}, {"issuer": EKS, "subject": "system:serviceaccount:shop:*"}),
    (GITHUB_ACTIONS, WEB, github("repo:acme/web:*")),
    (GITHUB_ACTIONS, WEB | {"branch": "main"}, github("repo:acme/web:ref:refs/heads/main")),
    (GITHUB_ACTIONS, WEB | {"branch": "release/*"}, github("repo:acme/web:ref:refs/heads/release/*")),
    (GITHUB_ACTIONS, WEB | {"environment": "EU: live"}, github("repo:acme/web:environment:EU%3A live")),
    (
        GITHUB_ACTIONS,
        WEB | {"branch": "main", "environment": "live", "id": "456789"},
        github("repo:acme/web:environment:live", repository_id="456789", ref="refs/heads/main"),
    ),
    (
        GITHUB_ACTIONS,
        {"repository": "acme@123456/web@456789", "branch": "main"},
        github("repo:acme@123456/web@456789:ref:refs/heads/main", repository_id="456789"),
    ),
    (
        GITHUB_ACTIONS,
        {"repository": "acme/*", "branch": "main", "environment": "a:b", "id": "123456"},
        github("repo:acme/*", repository_owner_id="123456", environment="a:b", ref="refs/heads/main"),
    ),
    (
        GITHUB_ACTIONS,
        {"repository": "acme@7/*", "branch": "main"},
        github("repo:acme@7/*", repository_owner_id="7", ref="refs/heads/main"),
    ),
    (GITLAB_CI, SHOP, gitlab("project_path:shop/web:*")),
    (
        GITLAB_CI,
        SHOP | {"project": "shop/sub/web", "branch": "main", "id": "20"},
        gitlab("project_path:shop/sub/web:ref_type:branch:ref:main", project_id="20"),
    ),
    (
        GITLAB_CI,
        SHOP | {"project": "shop/*", "branch": "main", "id": "72"},
        gitlab("project_path:shop/*", namespace_id="72", ref_type="branch", ref="main"),
    ),
    (
        GITLAB_CI,
        SHOP | {"issuer": "https://gitlab.example.com"},
        {"issuer": "https://gitlab.example.com", "subject": "project_path:shop/web:*"},
    ),
    (SPIFFE_WORKLOAD, SVID, {"issuer": "spiffe://acme.example", "subject": SVID["spiffeId"], "jwksUri": BUNDLE}),
    (
        SPIFFE_WORKLOAD,
        SVID | {"spiffeId": "spiffe://acme.example/ns/*"},
        {"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example/ns/*", "jwksUri": BUNDLE},
    ),
]


@pytest.mark.parametrize(("preset", "answers", "rule"), MADE, ids=lambda value: str(value)[:60])
def test_makes_the_rule_of_the_answers(preset: Preset, answers: dict[str, str], rule: dict[str, Any]) -> None:
    assert made(preset, answers) == rule


REPOSITORY = "The repository must be owner/name, or owner/* for all repositories of the owner."
REFUSED: list[tuple[Preset, dict[str, str], dict[str, str]]] = [
    *((GITHUB_ACTIONS, {"repository": name}, {"repository": REPOSITORY}) for name in ("", "web", "*/web", "acme/w*")),
    *((GITHUB_ACTIONS, {"repository": name}, {"repository": REPOSITORY}) for name in ("acme/web:ref", "a/b/c", "*")),
    (GITHUB_ACTIONS, WEB | {"id": "x"}, {"id": "The ID must be a number."}),
    (
        GITHUB_ACTIONS,
        WEB | {"branch": "rel*", "environment": "*"},
        {
            "branch": "The branch must be the name of a branch, which may end in /*.",
            "environment": "The environment must be the name of an environment, without *.",
        },
    ),
    (
        KUBERNETES,
        BUILDER | {"issuer": "http://k8s", "serviceAccount": "*"},
        {"issuer": "The issuer of the cluster must be an https URL without credentials and fragment."},
    ),
    (
        KUBERNETES,
        {"namespace": "*"},
        {
            "issuer": "The issuer of the cluster must be there.",
            "namespace": "The namespace must be the name of a namespace: small letters, digits and -.",
            "serviceAccount": "The service account must be the name of a service account (small letters, digits, - "
            "and .), or *.",
        },
    ),
    (
        KUBERNETES,
        BUILDER | {"serviceAccount": "default"},
        {
            "serviceAccount": "The subject must not be the default service account, which pods share by "
            "default: give the workload its own account."
        },
    ),
    (
        GITLAB_CI,
        SHOP | {"project": "*/web"},
        {"project": "The project must be the path of a project, or of a group and /*."},
    ),
    (
        SPIFFE_WORKLOAD,
        SVID | {"spiffeId": "spiffe://Acme/a"},
        {"spiffeId": "The issuer must be spiffe:// and the name of a trust domain, without a path."},
    ),
    (
        SPIFFE_WORKLOAD,
        {"spiffeId": "spiffe://acme.example"},
        {
            "spiffeId": "The SPIFFE ID must be spiffe://, the trust domain and a path.",
            "jwksUri": "The address of the trust bundle must be there.",
        },
    ),
]


@pytest.mark.parametrize(("preset", "answers", "errors"), REFUSED, ids=lambda value: str(value)[:60])
def test_names_the_answer_that_makes_no_rule(preset: Preset, answers: dict[str, str], errors: dict[str, str]) -> None:
    with pytest.raises(AnswersRefused) as refused:
        made(preset, answers)
    assert refused.value.errors == errors


@pytest.mark.parametrize(
    ("preset", "answers", "question"),
    [
        (GITHUB_ACTIONS, {"repository": "acme/*"}, "id"),
        (GITLAB_CI, SHOP | {"project": "shop/*"}, "id"),
        (SPIFFE_WORKLOAD, SVID | {"spiffeId": "spiffe://acme.example/*"}, "spiffeId"),
    ],
)
def test_the_rule_that_creates_agents_must_also_say_whose_they_are(
    preset: Preset, answers: dict[str, str], question: str
) -> None:
    assert made(preset, answers)
    with pytest.raises(AnswersRefused) as refused:
        made(preset, answers, provisioning)
    assert [*refused.value.errors] == [question]
    assert refused.value.errors[question].startswith("The claims must ")
