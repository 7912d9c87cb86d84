"""``agentidp apply`` and ``agentidp organization export`` on a database; and the examples of docs/declarative.md."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from flask.testing import FlaskClient

from agentidp.cli.apply import MAX_OMITTED, _print_omissions
from agentidp.clock import utc_now
from agentidp.config import Settings
from agentidp.declarative.applying import LOCK, apply_file, export_organizations
from agentidp.declarative.document import read_document
from tests.audit.conftest import events_of
from tests.citus import WATCHES_THE_COORDINATOR, server_of, someone_waits
from tests.cli.command import ORGANIZATION, UUID, Command, ask_for_token
from tests.conftest import settings_for
from tests.factories import PATIENCE, ROOT, execute, wait_until

GUIDE = (ROOT / "docs" / "declarative.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.M | re.S)
EXAMPLE, TARGETS = [text for language, text in BLOCKS if language == "yaml"]
PLAN, REFUSAL = [text for language, text in BLOCKS if not language]


def is_plan(printed: str) -> bool:
    """Return whether a plan is that of the guide, where … means the members of a new object that the file omits."""
    pattern = "(?:    .*\n)+".join(map(re.escape, PLAN.split("    …\n")))
    return re.fullmatch(pattern, printed) is not None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example file of the guide."""
    path = tmp_path / "agents.yaml"
    path.write_text(EXAMPLE)
    return path


def applied(run: Command, text: str) -> str:
    """Apply a file, check that it then differs in nothing, and return the output."""
    done = run.invoke("apply", "-f", "-", "--yes", "--prune", input=text)
    assert done.exit_code == 0, done.stderr
    assert_same(run, text)
    return done.stdout


def assert_same(run: Command, text: str) -> None:
    """Fail unless a file describes the present objects."""
    assert run("apply", "-f", "-", "--plan", "--prune", input=text).splitlines()[0] == "Nothing differs."


def refused(run: Command, text: str) -> str:
    """Return the error message for a file that is refused."""
    result = run.invoke("apply", "-f", "-", "--yes", input=text)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return result.stderr


def organizations(run: Command) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.json("organization", "list")
    return rows


def event_count(run: Command) -> int:
    return sum(len(events_of(run.database_url, organization["organizationId"])) for organization in organizations(run))


def test_the_example_of_the_guide_has_the_plan_that_the_guide_shows(run: Command, file: Path) -> None:
    acme = run("organization", "create", "Acme")
    run("agent", "create", "fleet-monitor", "--organization", acme, "--scope", "audit:read")
    before = events_of(run.database_url, acme)
    planned = run.invoke("apply", "-f", str(file), "--plan")
    assert (planned.exit_code, is_plan(planned.stdout), planned.stderr) == (2, True, "")
    assert events_of(run.database_url, acme) == before

    applied = run.invoke("apply", "-f", str(file), "--yes")
    assert (applied.exit_code, is_plan(applied.stdout)) == (0, True)
    _, bookkeeper = run.json("agent", "list", "--organization", acme)
    assert bookkeeper["scopes"] == ["invoices:read", "invoices:write"]
    command = f'    agentidp credential create --agent {bookkeeper["agentId"]}  # "bookkeeper" of "Acme"'
    assert applied.stderr.splitlines()[1:] == [command]
    after = events_of(run.database_url, acme)
    assert [(event["action"], event["actorType"]) for event in after[len(before) :]] == [
        (action, "operator")
        for action in ("organization.changed", "resource_server.created", "agent.created", "agent.changed")
    ]

    for options in ([], ["--plan"]):
        assert run("apply", "-f", str(file), *options) == "Nothing differs."
    assert events_of(run.database_url, acme) == after


def test_from_nothing_and_prune(run: Command) -> None:
    text = EXAMPLE.replace("scopes: [analytics:read]", "status: suspended").replace("Acme", "Größe & Söhne")
    applied(run, text + "    status: suspended\n")
    [organization] = organizations(run)
    assert re.fullmatch(ORGANIZATION, organization["organizationId"])
    assert (organization["name"], organization["monthlyTokenBudget"], organization["status"]) == (
        "Größe & Söhne",
        1000000,
        "suspended",
    )
    agents = run.json("agent", "list", "--organization", organization["organizationId"])
    assert {agent["name"]: agent["status"] for agent in agents} == {
        "bookkeeper": "active",
        "fleet-monitor": "suspended",
    }

    less = "organizations: [{name: Größe & Söhne, agents: [{name: bookkeeper}], resourceServers: []}]"
    assert run("apply", "-f", "-", "--plan", input=less).splitlines() == [
        "Nothing differs.",
        "The file omits these objects and members, so they stay unchanged (--strict would change them):",
        '    organization "Größe & Söhne": monthlyTokenBudget, status',
        '    resource server "https://invoices.acme.example" of "Größe & Söhne"',
        '    agent "fleet-monitor" of "Größe & Söhne"',
        '    agent "bookkeeper" of "Größe & Söhne": description, scopes',
    ]
    assert applied(run, less).splitlines()[:-3] == [
        '- resource server "https://invoices.acme.example" of "Größe & Söhne"',
        "    No token was counted in the last 90 days.",
        '- agent "fleet-monitor" of "Größe & Söhne"',
        "    Its credentials are revoked (0), and its tokens stop working at once.",
        "    No token was counted in the last 90 days.",
        "0 to create, 0 to change, 2 to delete.",
    ]
    agents = run.json("agent", "list", "--organization", organization["organizationId"])
    assert [agent["name"] for agent in agents] == ["bookkeeper"]


@pytest.mark.parametrize(("count", "last_lines"), [(MAX_OMITTED, []), (MAX_OMITTED + 1, ["    and 1 more"])])
def test_prints_a_limited_number_of_omissions(
    capsys: pytest.CaptureFixture[str], count: int, last_lines: list[str]
) -> None:
    _print_omissions(["omission"] * count)
    assert capsys.readouterr().out.splitlines()[1:] == ["    omission"] * MAX_OMITTED + last_lines


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (
            "agents: [{name: a}]\n  resourceServers:\n  - {resource: 'https://INVOICES.acme.example/', name: x}",
            "line 6: organizations[1].resourceServers[0].resource: is taken",
        ),
        (
            "agents: [{name: a}, {name: b, scopes: [none:such]}]",
            "line 4: organizations[1].agents[1].scopes: must be among analytics:read, ",
        ),
    ],
)
def test_an_error_in_the_second_organization_undoes_the_first(run: Command, wrong: str, problem: str) -> None:
    applied(run, EXAMPLE)
    before = event_count(run)
    text = f"organizations:\n- {{name: New}}\n- name: Other\n  {wrong}"
    assert problem in refused(run, text)
    assert problem in run.invoke("apply", "-f", "-", "--plan", input=text).stderr
    assert [organization["name"] for organization in organizations(run)] == ["Acme"]
    assert event_count(run) == before


def test_what_is_exported_changes_nothing_and_makes_the_same_elsewhere(run: Command) -> None:
    applied(run, EXAMPLE)
    twins = [run.invoke("organization", "create", "Twin").stdout.strip() for _ in range(2)]
    run("organization", "suspend", "--yes", twins[1])
    agent = run("agent", "create", "orphan", "--organization", twins[0])
    run("agent", "update", agent, "--description", "yes\n\n\tno: [1]")
    new = ("urn:x:y", "--organization", twins[0], "--name", "s", "--scope", "x:read")
    server = run("resource-server", "create", *new)
    run("agent", "update", agent, "--scope", "x:read")
    # The agent keeps the scope of the deleted resource server.
    run("resource-server", "delete", "--yes", server, "--organization", twins[0])
    run("agent", "update", agent, "--expected-replicas", "12")
    exported = run("organization", "export")
    assert [exported.count(text) for text in ("expectedReplicas: 12", "organizationId", "agentId")] == [1, 2, 0]
    before = event_count(run)
    assert applied(run, exported) == "Nothing differs.\n"
    assert event_count(run) == before

    [acme] = [organization["organizationId"] for organization in organizations(run) if organization["name"] == "Acme"]
    only = run("organization", "export", acme)
    assert exported.startswith(only)
    unknown = exported.replace("expectedReplicas: 12", "expectedReplicas: null")
    assert "    expectedReplicas: 12 → null\n" in applied(run, unknown)
    assert run.json("agent", "show", agent)["expectedReplicas"] is None

    # Elsewhere, as far as the name and the identifiers are concerned.
    elsewhere = only.replace("expectedReplicas: null", "expectedReplicas: 10000", 1)
    elsewhere = elsewhere.replace("Acme", "Copy").replace("acme.example", "copy.example")
    applied(run, elsewhere)
    [copy] = [organization["organizationId"] for organization in organizations(run) if organization["name"] == "Copy"]
    assert run("organization", "export", copy) == elsewhere.removesuffix("\n")


def test_reads_standard_input_and_prints_json(run: Command) -> None:
    result = run.invoke("apply", "-f", "-", "--yes", "--json", input=EXAMPLE)
    assert result.exit_code == 0
    changes = json.loads(result.stdout)
    assert changes[0] == {
        "action": "create",
        "type": "organization",
        "organization": "Acme",
        "name": "Acme",
        "before": {},
        "after": {"monthlyTokenBudget": 1000000},
        "consequences": [],
    }
    assert [(change["type"], change["name"]) for change in changes[1:]] == [
        ("resource server", "https://invoices.acme.example"),
        ("agent", "bookkeeper"),
        ("agent", "fleet-monitor"),
    ]
    assert len(re.findall(rf"credential create --agent {UUID}", result.stderr)) == 2
    assert run.refused("apply", "-f", "-") == "standard input: names no organization"


@pytest.mark.parametrize("arguments", [(), ("-f", "/nowhere.yaml"), ("-f", "-", "--no-such-option")])
def test_wrong_usage_is_not_the_exit_code_of_a_difference(run: Command, arguments: tuple[str, ...]) -> None:
    assert run.invoke("apply", *arguments).exit_code == 1


def test_what_others_change_after_the_plan_is_named_and_nothing_is_applied(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = run("organization", "create", "Acme")
    run("agent", "create", "fleet-monitor", "--organization", acme, "--scope", "audit:read")
    left: list[Any] = []

    def change(*_: Any, **__: Any) -> None:
        other_file = b"organizations: [{name: Acme, agents: [{name: bookkeeper}, {name: fleet-monitor, scopes: []}]}]"
        apply_file(settings_for(run.database_url), read_document(other_file, "others.yaml"), utc_now())
        left.extend((export_organizations(run.database_url, [acme], utc_now()), events_of(run.database_url, acme)))

    monkeypatch.setattr("agentidp.cli.apply.confirm", change)
    stopped = run.invoke("apply", "-f", "-", input=EXAMPLE)
    assert (stopped.exit_code, is_plan(stopped.stdout), stopped.stderr) == (1, True, REFUSAL)
    assert left == [export_organizations(run.database_url, [acme], utc_now()), events_of(run.database_url, acme)]


def test_an_agent_that_is_deleted_after_everything_was_compared_is_named(
    run: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("organizations:\n- name: Acme\n  monthlyTokenBudget: 5\n  agents:\n  - {name: a, owner: x}\n")
    run("agent", "create", "a", "--organization", run("organization", "create", "Acme"))
    before = event_count(run)
    with ThreadPoolExecutor(1) as threads, psycopg.connect(run.database_url) as holder:
        delete = "update agents set deleted_at = now()"
        monkeypatch.setattr("agentidp.cli.apply.confirm", lambda *_, **__: holder.execute(delete))
        running = threads.submit(run.invoke, "apply", "-f", str(file))
        wait_until(lambda: someone_waits(run.database_url))
        holder.commit()
        stopped = running.result(PATIENCE)
    assert (stopped.exit_code, stopped.stderr.splitlines()) == (
        1,
        [
            f'Error: {file}, line 5: organizations[0].agents[0]: agent "a" of "Acme" no longer exists',
            "Run the command again: it prints the new plan first.",
        ],
    )
    assert event_count(run) == before
    [acme] = organizations(run)
    assert acme["monthlyTokenBudget"] is None


def test_two_at_a_time_wait_for_each_other(run: Command) -> None:
    """Without the lock, both commands would create the organization, because its name need not be unique."""
    settings, declared, at = settings_for(run.database_url), read_document(EXAMPLE.encode(), "agents.yaml"), utc_now()
    waiting = b"select count(*) from pg_locks where locktype = 'advisory' and not granted"
    with ThreadPoolExecutor(2) as threads, psycopg.connect(run.database_url) as holder:
        holder.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        running = [threads.submit(apply_file, settings, declared, at) for _ in range(2)]
        wait_until(lambda: holder.execute(waiting).fetchone() == (2,))
        holder.commit()
        change_counts = sorted(len(future.result(PATIENCE).changes) for future in running)
    assert change_counts == [0, 4]
    assert len(organizations(run)) == 1


def test_quotas_are_what_the_file_says(run: Command) -> None:
    def text(quotas_of_metered: str, quotas_of_builder: str) -> str:
        return f"organizations:\n- name: Metered\n{quotas_of_metered}  agents:\n  - name: builder\n{quotas_of_builder}"

    both = "    quotas: {hour: {tokens: 5, enforce: false}, month: {tokens: 70, enforce: true}}\n"
    first = applied(run, text("  quotas: {day: {tokens: 9, enforce: true}}\n", both))
    assert '    quotas: {"day": {"tokens": 9, "enforce": true}}\n' in first
    exported = run("organization", "export")
    assert_same(run, exported)
    assert "quotas:\n    day:\n      tokens: 9\n      enforce: true\n" in exported
    # An omitted member keeps the quotas, and a present one replaces all quotas of its holder.
    assert applied(run, text("", "")).startswith("Nothing differs.\n")
    assert "quotas:" in applied(run, text("", "    quotas: {month: {tokens: 80, enforce: true}}\n"))
    listed = run.json("quota", "list", "--organization", "Metered")
    assert [(quota["window"], quota["tokens"], quota["enforce"]) for quota in listed] == [
        ("day", 9, True),
        ("month", 80, True),
    ]
    applied(run, text("  quotas: {}\n", "    quotas: {}\n"))
    assert run("quota", "list", "--organization", "Metered") == ""
    applied(run, exported)
    assert run("organization", "export") == exported


def test_rules_of_trust_are_what_the_file_says(run: Command) -> None:
    def text(*rules: str) -> str:
        return f"organizations: [{{name: Acme, agents: [{{name: builder, trust: [{', '.join(rules)}]}}]}}]"

    ours = Settings.from_environment(run.environment).issuer
    first = "{issuer: https://issuer.example, subject: 'job:7'}"
    second = "{issuer: https://issuer.example, claims: {team: [a, b]}, audience: here}"
    assert '"audience": "here"' in applied(run, text(first, second))
    exported = run("organization", "export")
    assert_same(run, exported)
    [agent] = yaml.safe_load(exported)["organizations"][0]["agents"]
    assert agent["trust"] == [
        {"issuer": "https://issuer.example", "claims": {"team": ["a", "b"]}, "audience": "here"},
        {"issuer": "https://issuer.example", "subject": "job:7", "audience": ours},
    ]
    # Order and the default audience make no difference. A changed rule replaces the old rule.
    assert applied(run, text(second, first[:-1] + f", audience: '{ours}'}}")) == "Nothing differs.\n"
    applied(run, text("{issuer: https://issuer.example, subject: 'job:8'}", second))
    kept = run.json("credential", "list", "--agent", "builder")
    assert {rule.get("subject") for rule in kept} == {None, "job:8"}
    applied(run, text())
    assert run.json("credential", "list", "--agent", "builder") == []


def test_a_plan_of_quotas_stops_no_token(run: Command) -> None:
    """Only applying takes the lock of quotas, because tokens that are being issued hold it."""
    organization_id = run("organization", "create", "Metered")
    text = "organizations:\n- name: Metered\n  quotas: {day: {tokens: 9, enforce: true}}\n"
    issuing = b"select pg_advisory_xact_lock_shared(hashtext(%s), 16)"
    with psycopg.connect(server_of(run.database_url, organization_id)) as holder:
        holder.execute(issuing, [organization_id])
        planned = run.invoke("apply", "-f", "-", "--plan", input=text)
        assert (planned.exit_code, "quotas:" in planned.stdout) == (2, True), planned.stderr
        assert run.invoke("apply", "-f", "-", "--yes", input=text).exit_code == 1
    applied(run, text)


PROVISIONING = """
organizations:
  - name: Acme
    agentProvisioning: true
    provisioningRules:
      - name: shop
        trust: {issuer: "https://issuer.example", subject: "system:serviceaccount:shop:*"}
        agentTemplate: {name: "ci {sub}", quotas: {day: {tokens: 5, enforce: true}}}
    agents: []
"""


def test_provisioning_rules_are_made_made_anew_and_pruned_and_their_agents_stay(run: Command) -> None:
    of = ("--organization", "Acme")
    applied(run, PROVISIONING)
    assert_same(run, run("organization", "export"))
    [rule] = run.json("provisioning-rule", "list", *of)
    assert (rule["name"], rule["maxAgents"], rule["agentTemplate"]["name"]) == ("shop", 100, "ci {sub}")
    assert run("organization", "provisioning", "Acme") == "on"
    run("agent", "create", "ci", *of)
    execute(run.database_url, 'update agents set provisioned = \'{"rule": "shop"}\'')
    assert "1 to change, 0 to delete." in applied(run, PROVISIONING.replace("shop:*", "shop:a:*"))
    [changed] = run.json("provisioning-rule", "list", *of)
    assert changed["trust"] == rule["trust"] | {"subject": "system:serviceaccount:shop:a:*"}
    assert (changed["maxAgents"], changed["agents"]) == (100, 1)
    assert yaml.safe_load(run("organization", "export", "Acme"))["organizations"][0]["agents"] == []
    applied(run, "organizations:\n  - name: Acme\n    provisioningRules: []\n")
    assert run("provisioning-rule", "list", *of) == ""


DELEGATION = """
organizations:
  - name: Acme
    resourceServers:
      - {resource: "https://tickets.example", name: Tickets, scopes: [read, write], agent: tickets}
    agents:
      - {name: tickets, scopes: [read]}
      - {name: desk}
    delegationRules:
      - name: staff
        trust: {issuer: "https://login.example"}
        agents: [desk, tickets]
        resources: [{resource: "https://tickets.example", scopes: [read]}]
"""


def test_delegation_rules_and_who_runs_what_name_agents_of_the_same_file(run: Command) -> None:
    of = ("--organization", "Acme")
    applied(run, DELEGATION)
    assert_same(run, run("organization", "export"))
    ids = {agent["name"]: agent["agentId"] for agent in run.json("agent", "list", *of)}
    [rule] = run.json("delegation-rule", "list", *of)
    assert (rule["agentIds"], rule["trust"]) == ([ids["desk"], ids["tickets"]], {"issuer": "https://login.example"})
    assert run.json("resource-server", "show", "Tickets", *of)["agentId"] == ids["tickets"]
    # A deleted agent is not listed, and a new agent with its name does not replace it.
    run("agent", "delete", "desk", "--yes")
    run("agent", "create", "desk", *of)
    assert "1 to change" in applied(run, DELEGATION)
    [again] = run.json("delegation-rule", "list", *of)
    assert (again["name"], ids["desk"] in again["agentIds"]) == ("staff", False)
    other = DELEGATION.replace("agent: tickets}", "agent: null}").replace("[read]}]", "[write]}]")
    assert "2 to change" in applied(run, other)
    assert run.json("resource-server", "show", "Tickets", *of)["agentId"] is None
    assert run.json("delegation-rule", "list", *of)[0]["resources"][0]["scopes"] == ["write"]
    for agent in ("desk", "tickets"):
        run("agent", "delete", agent, "--yes")
    assert yaml.safe_load(run("organization", "export", "Acme"))["organizations"][0]["delegationRules"] == []
    applied(run, "organizations:\n  - name: Acme\n    delegationRules: []\n")
    assert run.json("delegation-rule", "list", *of) == []


OPENID_PROVIDER = """
organizations:
  - name: Acme
    openidProviders:
      - {issuer: "https://login.example", clientId: idp, roleClaim: groups, viewers: [staff]}
"""


def test_an_openid_provider_is_in_the_file_without_its_secret(run: Command, tmp_path: Path) -> None:
    of = ("--organization", "Acme")
    planned = applied(run, OPENID_PROVIDER)
    assert "If the provider needs a client secret, set the secret by agentidp openid-provider update." in planned
    secret = tmp_path / "secret"
    secret.write_text("hush at the provider\n")
    run("openid-provider", "update", *of, "--yes", "--client-secret-file", str(secret))
    exported = run("organization", "export")
    assert_same(run, exported)
    assert "hush" not in exported
    # A change of the file keeps the secret.
    changed = applied(run, OPENID_PROVIDER.replace("[staff]", "[]"))
    assert "The people who have signed in at https://login.example are signed out." in changed
    assert run.json("openid-provider", "list", *of)[0]["hasClientSecret"] is True
    other = OPENID_PROVIDER.replace("https://login.example", "https://other.example")
    assert "1 to create, 0 to change, 1 to delete." in applied(run, other)
    assert run.json("openid-provider", "list", *of)[0]["hasClientSecret"] is False
    applied(run, "organizations:\n  - name: Acme\n    openidProviders: []\n")
    assert run("openid-provider", "list", *of) == ""


@WATCHES_THE_COORDINATOR
def test_a_file_locks_the_organization_before_its_provider(run: Command, database_url: str) -> None:
    """A consent form locks them in this order. In another order, each could wait for the other."""
    applied(run, OPENID_PROVIDER)
    waits = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    file = "organizations:\n  - {name: Acme, openidProviders: [], agents: [{name: new, scopes: []}]}\n"
    with ThreadPoolExecutor() as pool:
        with psycopg.connect(database_url) as consent:
            consent.execute("select from organizations for no key update")
            applying = pool.submit(applied, run, file)
            wait_until(lambda: execute(database_url, waits))
            assert consent.execute("select from openid_providers for update nowait").rowcount == 1
        applying.result()


def test_a_strict_plan_shows_what_was_made_by_hand(run: Command) -> None:
    applied(run, DELEGATION)
    of = ("--agent", "desk")
    run("credential", "trust", *of, "--issuer", "https://ci.example", "--subject", "shop")
    run("quota", "set", *of, "--per", "day", "--tokens", "5")
    plan = run("apply", "-f", "-", "--plan", input=DELEGATION).splitlines()
    assert plan[0] == "Nothing differs."
    assert '    agent "desk" of "Acme": quotas, trust' in plan
    strict = run.invoke("apply", "-f", "-", "--plan", "--strict", input=DELEGATION)
    assert (strict.exit_code, strict.stdout.splitlines()) == (
        2,
        [
            '~ agent "desk" of "Acme"',
            '    quotas: {"day": {"tokens": 5, "enforce": false}} → {}',
            '    trust: [{"issuer": "https://ci.example", "subject": "shop", "audience": "http://localhost:3000"}] '
            "→ []",
            "0 to create, 1 to change, 0 to delete.",
        ],
    )
    assert run.invoke("apply", "-f", "-", "--yes", "--strict", input=DELEGATION).exit_code == 0
    assert run("apply", "-f", "-", "--plan", "--strict", input=DELEGATION) == "Nothing differs."
    # An export leaves nothing out.
    assert run("apply", "-f", "-", "--plan", "--strict", input=run("organization", "export")) == "Nothing differs."


def test_a_plan_says_what_a_deletion_ends_and_that_it_may_be_a_rename(run: Command, service: FlaskClient) -> None:
    text = "organizations: [{name: Acme, agents: [{name: crawler-1, description: crawls}], delegationRules: []}]"
    applied(run, text)
    _, agent_id, secret = run("credential", "create", "--agent", "crawler-1").split("\t")
    assert ask_for_token(service, agent_id, secret) == 200
    renamed = text.replace("crawler-1", "crawler $(id)")
    lines = run.invoke("apply", "-f", "-", "--plan", "--prune", input=renamed).stdout.splitlines()
    assert lines[:3] == [
        '- agent "crawler-1" of "Acme"',
        '    The new agent "crawler $(id)" has the same description. To rename the agent instead, first run agentidp '
        f"agent update {agent_id} --name 'crawler $(id)'.",
        "    Its credentials are revoked (1), and its tokens stop working at once.",
    ]
    assert lines[3].startswith("    1 token in the last 90 days")
    [deletion, _] = json.loads(run.invoke("apply", "-f", "-", "--plan", "--prune", "--json", input=renamed).stdout)
    assert [f"    {sentence}" for sentence in deletion["consequences"]][:2] == lines[1:3]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (DELEGATION.replace(", agent: tickets", ""), "delegationRules[0].agents"),
        (DELEGATION.replace("agents: [desk, tickets]", "agents: [desk]"), "resourceServers[0].agent"),
    ],
)
def test_an_agent_that_the_file_still_names_is_not_deleted(run: Command, text: str, place: str) -> None:
    applied(run, text)
    less = text.replace("{name: tickets, scopes: [read]}", "{name: other}")
    result = run.invoke("apply", "-f", "-", "--yes", "--prune", input=less)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert (
        f"{place}: names the agent 'tickets', which would be deleted because agents does not name it" in result.stderr
    )
    assert_same(run, text)
    assert run.invoke("apply", "-f", "-", "--yes", input=less).exit_code == 0


TRUST = "subject must be there, or claims: otherwise every token of the issuer would be trusted"
UNKNOWN = "the organization has no agent"
FILES = {
    "quotas": "organizations:\n- name: Metered\n  quotas: {day: {tokens: 1, enforce: true}}",
    "trust": "organizations: [{name: Acme, agents: [{name: a, trust: [{issuer: 'https://a.example', subject: x}]}]}]",
    "provisioning": PROVISIONING,
    "delegation": DELEGATION,
}


@pytest.mark.parametrize(
    ("name", "right", "wrong", "problem"),
    [
        ("quotas", "day:", "week:", "line 3: quotas.week: is not known here"),
        ("quotas", "tokens: 1", "tokens: 0", "quotas.day.tokens: must be a whole number from 1 to 1000000000000"),
        ("quotas", ", enforce: true", "", "quotas.day.enforce: is missing"),
        ("trust", ", subject: x", "", f"agents[0].trust[0].{TRUST.replace(' ', ': ', 1)}"),
        ("provisioning", "shop:*", "*:*", "line 7: provisioningRules[0].trust.subject: may contain * only at its end"),
        ("delegation", "[desk, tickets]", "[des]", f"line 12: delegationRules[0].agents: {UNKNOWN} 'des'"),
        ("delegation", "agent: tickets", "agent: ticket", f"line 5: resourceServers[0].agent: {UNKNOWN} 'ticket'"),
        ("delegation", "//login.example", "//slack.com", "line 11: delegationRules[0].trust.subject: must be there"),
    ],
)
def test_what_is_wrong_is_named(shared_run: Command, name: str, right: str, wrong: str, problem: str) -> None:
    error = refused(shared_run, FILES[name].replace(right, wrong))
    assert problem in error.replace("organizations[0].", "")
    assert organizations(shared_run) == []
