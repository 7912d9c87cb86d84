"""Presets of rules of trust: the questions for each platform, and the rule that the answers make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentidp.federation.platforms import GITHUB, GITLAB
from agentidp.federation.rule import SPIFFE
from agentidp.federation.rule_checks import MAX_URL, MAX_VALUE, RuleRefused

Answers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a preset.

    :param name: the name of the form's field. If the rule has a member with this name, the answer is its value.
    :param words: the field's name for people.
    :param pattern: the regular expression that the answer must match; empty if only the rule's checks decide.
    :param rule: the pattern in words, beginning with "must".
    :param proposed: the answer with which the field is filled at first.
    :param makes: other members of the rule that depend on the answer.
    """

    name: str
    words: str
    hint: str
    pattern: str = ""
    rule: str = "must be there"
    is_needed: bool = True
    proposed: str = ""
    makes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The field's name for people, beginning with a capital letter."""
        return self.words[:1].upper() + self.words[1:]

    @property
    def max_length(self) -> int:
        """Maximum number of characters of the answer."""
        return MAX_VALUE if self.pattern else MAX_URL

    def is_answered_by(self, answer: str) -> bool:
        """Return whether an answer matches the question's pattern. An empty answer matches an optional question."""
        if not answer:
            return not self.is_needed
        return not self.pattern or re.fullmatch(self.pattern, answer) is not None


@dataclass(frozen=True, slots=True)
class Preset:
    """The questions whose answers make a rule of trust for the tokens of a platform.

    :param rule: returns the members of the rule for valid answers.
    :param agent_name: the template that is proposed for the names of a provisioning rule's agents.
    """

    name: str
    label: str
    about: str
    questions: tuple[Question, ...] = ()
    rule: Callable[[Answers], dict[str, Any]] = lambda _: {}
    agent_name: str = "{sub}"


class AnswersRefused(Exception):
    """The answers to a preset do not make a valid rule. ``errors`` maps the name of a question to a sentence."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(errors)
        self.errors = errors


def build_rule(preset: Preset, answers: Answers, check: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Return the checked rule that the answers to a preset's questions make, or raise :exc:`AnswersRefused`."""
    wrong_questions = [question for question in preset.questions if not question.is_answered_by(answers[question.name])]
    if wrong_questions:
        raise AnswersRefused({question.name: f"The {question.words} {question.rule}." for question in wrong_questions})
    try:
        return check(preset.rule(answers))
    except RuleRefused as refusal:
        for question in preset.questions:
            if question.name == refusal.member:
                raise AnswersRefused({question.name: f"The {question.words} {refusal}."}) from None
        question_names = [question.name for question in preset.questions if refusal.member in question.makes]
        raise AnswersRefused({next(iter(question_names), ""): f"The {refusal.member} {refusal}."}) from None


def _build_kubernetes_rule(answers: Answers) -> dict[str, Any]:
    account = f"{answers['namespace']}:{answers['serviceAccount']}"
    return {"issuer": answers["issuer"], "subject": f"system:serviceaccount:{account}"}


def _build_github_rule(answers: Answers) -> dict[str, Any]:
    # GitHub's subject contains the environment (with "%3A" for ":") or, if the workflow has no environment, the branch.
    repository, branch, environment = answers["repository"], answers["branch"], answers["environment"]
    owner_name, _, repository_name = repository.partition("/")
    has_all_repositories = repository_name == "*"
    pinned_id = answers["id"] or (owner_name if has_all_repositories else repository_name).partition("@")[2]
    claims = {"repository_owner_id" if has_all_repositories else "repository_id": pinned_id} if pinned_id else {}
    subject = f"repo:{repository}"
    if has_all_repositories:
        claims |= {"environment": environment} if environment else {}
    elif environment:
        subject += f":environment:{environment.replace(':', '%3A')}"
    else:
        subject += f":ref:refs/heads/{branch}" if branch else ":*"
    if branch and (has_all_repositories or environment):
        claims["ref"] = f"refs/heads/{branch}"
    return {"issuer": GITHUB, "subject": subject, "claims": claims}


def _build_gitlab_rule(answers: Answers) -> dict[str, Any]:
    project, branch, pinned_id = answers["project"], answers["branch"], answers["id"]
    has_all_projects = project.endswith("/*")
    claims = {"namespace_id" if has_all_projects else "project_id": pinned_id} if pinned_id else {}
    subject = f"project_path:{project}"
    if has_all_projects:
        claims |= {"ref_type": "branch", "ref": branch} if branch else {}
    else:
        subject += f":ref_type:branch:ref:{branch}" if branch else ":*"
    return {"issuer": answers["issuer"], "subject": subject, "claims": claims}


def _build_spiffe_rule(answers: Answers) -> dict[str, Any]:
    subject = answers["spiffeId"]
    trust_domain = subject.removeprefix(SPIFFE).partition("/")[0]
    return {"issuer": SPIFFE + trust_domain, "subject": subject, "jwksUri": answers["jwksUri"]}


_BRANCH = Question(
    "branch",
    "branch",
    "Only jobs of this branch, which may end in `/*`",
    r"[^\s:*]+(/\*)?",
    "must be the name of a branch, which may end in /*",
    is_needed=False,
    makes=("subject",),
)


def _build_people_rule(answers: Answers) -> dict[str, Any]:
    claim_name, _, claim_value = answers["claim"].partition("=")
    claims = {claim_name: claim_value} if claim_name else {}
    return {"issuer": answers["issuer"], "claims": claims, "audience": None}


KUBERNETES = Preset(
    "kubernetes",
    "Kubernetes",
    "A pod has a token of its service account, which the cluster signs and the kubelet renews.",
    (
        Question("issuer", "issuer of the cluster", "`kubectl get --raw /.well-known/openid-configuration` shows it"),
        Question(
            "namespace",
            "namespace",
            "Where the pods run",
            "[a-z0-9-]+",
            "must be the name of a namespace: small letters, digits and -",
        ),
        Question(
            "serviceAccount",
            "service account",
            "The `serviceAccountName` of the pods; `*` for all of the namespace",
            r"[a-z0-9.-]+|\*",
            "must be the name of a service account (small letters, digits, - and .), or *",
            makes=("subject",),
        ),
    ),
    _build_kubernetes_rule,
    "{/kubernetes.io/namespace} {/kubernetes.io/serviceaccount/name}",
)
GITHUB_ACTIONS = Preset(
    "github",
    "GitHub Actions",
    "A job of a workflow can ask GitHub for a token, if the workflow has the permission `id-token: write`.",
    (
        Question(
            "repository",
            "repository",
            "`acme/web`, or `acme/*` for all repositories of acme. A newer repository has IDs in its subject: "
            "`acme@123456/web@456789`",
            r"[^\s:/*]+/([^\s:/*]+|\*)",
            "must be owner/name, or owner/* for all repositories of the owner",
            makes=("subject",),
        ),
        _BRANCH,
        Question(
            "environment",
            "environment",
            "Only jobs of this environment",
            r"[^*]+",
            "must be the name of an environment, without *",
            is_needed=False,
        ),
        Question(
            "id",
            "ID",
            "The number of the repository, or of the owner if you wrote `acme/*`. `gh api repos/acme/web --jq .id` "
            "shows it, or `.owner.id`. A name can pass to somebody else, an ID cannot",
            "[0-9]+",
            "must be a number",
            is_needed=False,
            makes=("claims",),
        ),
    ),
    _build_github_rule,
    "{repository} {ref}",
)
GITLAB_CI = Preset(
    "gitlab",
    "GitLab",
    "A CI job gets an ID token if it has the keyword `id_tokens`.",
    (
        Question(
            "issuer", "address of GitLab", "The address of your own GitLab server, if you have one", proposed=GITLAB
        ),
        Question(
            "project",
            "project",
            "Its path, such as `shop/web`; `shop/*` for all projects of the group",
            r"[^\s:/*]+(/[^\s:/*]+)*/([^\s:/*]+|\*)",
            "must be the path of a project, or of a group and /*",
            makes=("subject",),
        ),
        _BRANCH,
        Question(
            "id",
            "ID",
            "The number of the project, or of the group if you wrote `shop/*`, as its page in GitLab shows it. A path "
            "can pass to somebody else, an ID cannot",
            "[0-9]+",
            "must be a number",
            is_needed=False,
            makes=("claims",),
        ),
    ),
    _build_gitlab_rule,
    "{project_path} {ref}",
)
SPIFFE_WORKLOAD = Preset(
    "spiffe",
    "SPIFFE",
    "A workload gets a JWT-SVID from the SPIFFE Workload API, of SPIRE for example.",
    (
        Question(
            "spiffeId",
            "SPIFFE ID",
            "`spiffe://acme.example/ns/shop/sa/builder`, for example. It may end in `/*`",
            r"spiffe://[^\s/]+/\S+",
            "must be spiffe://, the trust domain and a path",
            makes=("issuer", "subject", "claims"),
        ),
        Question(
            "jwksUri", "address of the trust bundle", "An https URL. If you have the bundle as a file, choose Other"
        ),
    ),
    _build_spiffe_rule,
)
OTHER = Preset(
    "other",
    "Other",
    "Any issuer of signed tokens: an OpenID Connect provider, another AgentIdP, or an issuer whose keys you paste.",
)

WORKLOADS = (KUBERNETES, GITHUB_ACTIONS, GITLAB_CI, SPIFFE_WORKLOAD, OTHER)
"""Presets for rules that trust workloads, in the order in which a form offers them."""

OPENID_CONNECT = Preset(
    "people",
    "People of an OpenID Connect provider",
    "An application sends the agent a token that the provider has issued for a person. Let the provider issue the "
    "token for the agent, so that its `aud` is the agent's `client_id`.",
    (
        Question(
            "issuer",
            "issuer of the provider",
            "`https://login.acme.example`, for example: the `issuer` of its `/.well-known/openid-configuration`",
        ),
        Question(
            "claim",
            "claim",
            "Only people whose token has this claim, such as `groups=support` or, at Google, your domain "
            "`hd=acme.example`. Empty: everybody who can sign in there",
            "[^=]+=.+",
            "must be name=value",
            is_needed=False,
            makes=("claims", "subject"),
        ),
    ),
    _build_people_rule,
)

PEOPLE = (OPENID_CONNECT, OTHER)
"""Presets for delegation rules, by which agents act for people, in the order in which a form offers them."""
