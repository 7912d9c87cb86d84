"""The units that timers start, run as systemd would: backup, deletion of what is old, check."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentidp.clock import utc_now
from agentidp.services import Services
from tests.conftest import settings_for
from tests.deploy.deployment import DEPLOY, read_unit
from tests.factories import (
    PATIENCE,
    SECRET_KEY,
    clean_environment,
    count_usage,
    make_agent,
    make_organization,
    usage_sums,
)

NAMES = ("backup", "check", "prune")
BACKUPS = "/var/backups/agentidp"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A directory with the instance secret, and with a directory for backups."""
    (tmp_path / "secret_key").write_text(SECRET_KEY)
    (tmp_path / "secret_key").chmod(0o600)
    (tmp_path / "backups").mkdir()
    return tmp_path


def run(name: str, machine: Path, database_url: str, **further: str) -> list[subprocess.CompletedProcess[str]]:
    """The commands of a unit in their order, without a terminal, until one fails.

    :param database_url: instead of the one that the machine's files or the unit name.
    :param further: settings in the machine's file.
    """
    service = read_unit(f"agentidp-{name}.service")["Service"]
    named = dict(assignment.replace("%d", str(machine)).split("=", 1) for assignment in service["Environment"])
    environment = clean_environment() | named | {"AGENTIDP_DATABASE_URL": database_url, **further}
    done = []
    for command in [*service["ExecStart"], *service.get("ExecStartPost", [])]:
        command = command.replace("/opt/agentidp/bin/", f"{Path(sys.executable).parent}/")
        words = shlex.split(command.replace(BACKUPS, str(machine / "backups")).replace("%%", "%"))
        done.append(
            subprocess.run(
                words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
            )
        )
        if done[-1].returncode:
            break
    return done


@pytest.mark.usefixtures("midnight_is_far")
def test_each_night_makes_a_backup_and_removes_those_that_are_old(machine: Path, database_url: str) -> None:
    old, recent, other = (machine / "backups" / name for name in ("old.dump", "recent.dump", "notes.txt"))
    for file, days in ((old, 40), (recent, 20), (other, 40)):
        file.touch()
        os.utime(file, (time.time() - days * 86_400,) * 2)
    assert [run_result.returncode for run_result in run("backup", machine, database_url)] == [0, 0]
    made = machine / "backups" / f"{utc_now():%Y-%m-%d}.dump"
    assert made.read_bytes()[:5] == b"PGDMP"
    assert set((machine / "backups").iterdir()) == {made, recent, other}


def test_the_check_fails_without_a_new_backup(machine: Path, database_url: str) -> None:
    [checked] = run("check", machine, database_url)
    assert checked.returncode == 1
    assert "failed\tbackups\tthere is no backup in" in checked.stdout
    run("backup", machine, database_url)
    [checked] = run("check", machine, database_url)
    assert (checked.returncode, "ok\tbackups\t" in checked.stdout) == (0, True)
    # A setting that nothing reads is a warning, and a warning has an exit code.
    [checked] = run("check", machine, database_url, AGENTIDP_ISUER="https://idp.example.com")
    assert (checked.returncode, "failed\t" in checked.stdout) == (3, False)


def test_each_month_deletes_what_is_old_and_nothing_else(machine: Path, database_url: str) -> None:
    with contextlib.closing(Services.of(settings_for(database_url), utc_now)) as services:
        organization_id = make_organization(services)
        agent = make_agent(services, organization_id)
        now = utc_now()
        for years, tokens in ((3, 5), (1, 7)):
            at = now.replace(day=1, year=now.year - years)
            count_usage(services, organization_id, agent.agent_id, at, tokens=tokens)
        assert [run_result.returncode for run_result in run("prune", machine, database_url)] == [0, 0]
        assert usage_sums(database_url, organization_id)["tokens"] == 7


@pytest.mark.parametrize("name", NAMES)
def test_a_timer_starts_its_unit_also_after_the_machine_was_off(name: str) -> None:
    timer, service = read_unit(f"agentidp-{name}.timer"), read_unit(f"agentidp-{name}.service")
    assert (timer["Timer"]["Persistent"], timer["Install"]["WantedBy"]) == (["true"], ["timers.target"])
    assert service["Service"]["Type"] == ["oneshot"]
    # It is the timer that is enabled.
    assert "Install" not in service


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_may_do_as_little_as_the_others(name: str) -> None:
    watch = read_unit("agentidp-watch.service")["Service"]
    own = read_unit(f"agentidp-{name}.service")["Service"]
    different = {"Environment", "EnvironmentFile", "LoadCredential", "DynamicUser"}
    different |= {"ExecStart", "TimeoutStopSec", "Restart", "RestartSec"}
    for setting in watch.keys() - different:
        assert own[setting] == watch[setting]
    assert own.get("ReadWritePaths", []) == ([BACKUPS] if name == "backup" else [])


def test_every_timer_is_tested() -> None:
    assert {file.name for file in DEPLOY.glob("*.timer")} == {f"agentidp-{name}.timer" for name in NAMES}
