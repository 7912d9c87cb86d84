"""Alert targets in a file of ``agentidp apply``, with their addresses in the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentidp.alerts.channels import Address
from agentidp.alerts.target_secrets import TargetSealer
from tests.audit.conftest import events_of
from tests.cli.command import ORGANIZATION, UUID, Command
from tests.conftest import settings_for
from tests.declarative.test_applying import TARGETS, applied, assert_same, organizations, refused
from tests.factories import execute

WEBHOOK = "https://hooks.example/to-ken"
VARIABLE, VARIABLE_OF_FILE = "ON_CALL_URL", "ON_CALL_URL_FILE"
ACME = "organizations:\n  - name: Acme\n"
FILE = ACME + TARGETS.replace("apprise", "webhook")
PLAN_OF_FILE = ("apply", "-f", "-", "--plan")


def stored_addresses(run: Command) -> dict[str, Address]:
    """Return the decrypted addresses of all targets by the names of the targets."""
    sealer = TargetSealer(settings_for(run.database_url))
    rows = execute(run.database_url, "select name, target_id, sealed from alert_targets order by name")
    return {name: sealer.open(target_id, bytes(sealed)) for name, target_id, sealed in rows}


def test_a_target_is_created_changed_and_deleted_with_the_address_of_a_variable(run: Command, tmp_path: Path) -> None:
    run.environment[VARIABLE] = WEBHOOK
    result = run.invoke("apply", "-f", "-", "--yes", input=FILE)
    assert (result.exit_code, "to-ken" in result.output) == (0, False)
    assert '+ alert target "on-call" of "Acme"\n    type: "webhook"\n    url: "$ON_CALL_URL"\n' in result.stdout
    [acme] = [organization["organizationId"] for organization in organizations(run)]
    [(target_id,)] = execute(run.database_url, "select target_id from alert_targets")
    command = f'    agentidp alerts target key {target_id} --organization {acme}  # "on-call" of "Acme"'
    assert result.stderr.splitlines()[1:] == [command]
    key = run(*command.split("  #")[0].split()[1:])
    assert (key[:6], stored_addresses(run)) == ("whsec_", {"on-call": Address(url=WEBHOOK, secret=key)})
    assert_same(run, FILE)
    before = events_of(run.database_url, acme)

    # Without the variable, the address stays. With another address, only the address changes.
    del run.environment[VARIABLE]
    assert_same(run, FILE)
    (tmp_path / "secret").write_text("https://hooks.example/other\n")
    run.environment[VARIABLE_OF_FILE] = str(tmp_path / "secret")
    assert applied(run, FILE).splitlines()[:2] == [
        '~ alert target "on-call" of "Acme"',
        '    url: "https://hooks.example" → "$ON_CALL_URL"',
    ]
    assert stored_addresses(run) == {"on-call": Address(url="https://hooks.example/other", secret=key)}
    assert [event["action"] for event in events_of(run.database_url, acme)[len(before) :]] == ["alert_target.changed"]

    deleted = applied(run, ACME + "    alertTargets: []\n")
    assert '- alert target "on-call" of "Acme"\n    Messages that were not yet sent to the target' in deleted
    assert stored_addresses(run) == {}


def test_an_export_names_a_variable_per_target_and_changes_nothing(run: Command) -> None:
    run.environment |= {VARIABLE: WEBHOOK, "OTHER_URL": "https://alertmanager.example"}
    members = "name: other, type: alertmanager, url: $OTHER_URL, kinds: [spike], owners: [Ada], enabled: false"
    applied(run, f"{FILE}      - {{{members}}}\n")
    exported = run("organization", "export")
    variables = re.findall(r"url: \$(ALERT_URL_[0-9A-F]{32})\n", exported)
    assert (len(set(variables)), "example" in exported) == (2, False)
    assert run("apply", "-f", "-", "--plan", "--strict", input=exported) == "Nothing differs."
    elsewhere = exported.replace("Acme", "Copy")
    lines = refused(run, elsewhere).splitlines()
    assert [line.partition(": a new alert target needs an address: ")[2] for line in lines] == [
        f"set {variable} or {variable}_FILE" for variable in variables
    ]
    run.environment |= dict(zip(variables, (WEBHOOK, "https://alertmanager.example"), strict=True))
    applied(run, elsewhere)
    columns = "name, type, destination, kinds, owners, minimum_severity, enabled"
    rows = execute(run.database_url, f"select {columns} from alert_targets order by name")
    assert (len(rows), rows[0::2]) == (4, rows[1::2])


def test_targets_that_the_file_omits_are_listed_and_a_strict_file_deletes_them(run: Command) -> None:
    run.environment[VARIABLE] = WEBHOOK
    applied(run, FILE)
    assert run(*PLAN_OF_FILE, input=ACME).splitlines()[2:] == ['    alert target "on-call" of "Acme"']
    # An omitted url is not a difference. Other omitted members are those of a new target.
    assert '    minimumSeverity: "critical" → "warning"\n1 to change' in run.invoke(
        *PLAN_OF_FILE, "--strict", input=ACME + "    alertTargets: [{name: on-call, type: webhook}]\n"
    ).stdout.replace("0 to create, ", "")
    strict = run.invoke(*PLAN_OF_FILE, "--strict", input=ACME)
    assert (strict.exit_code, strict.stdout.splitlines()[0]) == (2, '- alert target "on-call" of "Acme"')


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("{name: x, type: webhook, url: 'https://hooks.example/to-ken'}", "url: must be the name of an environment"),
        ("{name: x, type: webhook}", "url: a new alert target needs an address: name a variable, such as $ON_CALL_URL"),
        ("{name: x, type: webhook, url: $UNSET}", "url: a new alert target needs an address: set UNSET or UNSET_FILE"),
        (
            "{name: x, type: webhook, url: $PLAIN}",
            "url: must be an https URL: AGENTIDP_ALERT_NETWORKS allows no network",
        ),
        ("{name: x, type: webhook, url: $NO_URL}", "url: must be a URL with a scheme and a host"),
        ("{name: on-call, type: apprise}", "type: cannot be changed"),
        ("{name: x, type: pager, url: $ON_CALL_URL}", "type: must be one of webhook, alertmanager, apprise"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_without_the_address(run: Command, target: str, problem: str) -> None:
    run.environment |= {VARIABLE: WEBHOOK, "PLAIN": "http://hooks.example/to-ken", "NO_URL": "to-ken"}
    applied(run, FILE)
    message = refused(run, f"{ACME}    alertTargets:\n    - {target}\n")
    assert message.startswith("Error: standard input, line 4: organizations[0].alertTargets[0].")
    assert (problem in message, "to-ken" in message) == (True, False)
    assert re.fullmatch(UUID, str(*execute(run.database_url, "select target_id from alert_targets")[0]))
    assert re.fullmatch(ORGANIZATION, organizations(run)[0]["organizationId"])
