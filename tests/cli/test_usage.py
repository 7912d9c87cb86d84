"""``agentidp usage``."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agentidp.clock import utc_now
from agentidp.usage_history import importing
from agentidp.usage_history.monthly_sums import delete_sums
from agentidp.usage_history.pruning import find_first_kept_day
from agentidp.usage_history.records import MAX_COUNT
from tests.cli.command import Command
from tests.factories import ROOT, usage_sums

HOUR = "2026-03-31T23:15:00Z"
HEADER = "time,agent,tokens"
OF = ("--organization", "Acme")


@dataclass
class Fleet:
    """An organization with two agents, and files of usage."""

    run: Command
    directory: Path
    organization_id: str
    a: str
    b: str

    def file(self, *lines: str, name: str = "usage.csv") -> str:
        path = self.directory / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    def imported(self, *lines: str, name: str = "usage.csv", options: tuple[str, ...] = ()) -> dict[str, Any]:
        """Import a file and return the output."""
        return dict(self.run.json("usage", "import", self.file(*lines, name=name), *OF, *options))

    def refused(self, *lines: str, name: str = "usage.csv") -> list[str]:
        """Return the lines of the error message, without the last line."""
        *problems, last = self.run.refused("usage", "import", self.file(*lines, name=name), *OF).splitlines()
        assert last == "nothing was imported"
        return problems

    def exported(self, *options: str) -> str:
        return self.run("usage", "export", *OF, *options)

    def sums(self) -> tuple[int, int, int]:
        """Return the tokens, requests and rejections, which must be the same in every counter."""
        sums = usage_sums(self.run.database_url, self.organization_id)
        # Imported usage belongs to no credential.
        sums = {key: value for key, value in sums.items() if "credential" not in key}
        for name in ("tokens", "requests", "rejected"):
            assert len({value for key, value in sums.items() if name in key}) == 1, sums
        return sums["tokens"], sums["requests"], sums["rejected"]


@pytest.fixture
def fleet(run: Command, acme: str, tmp_path: Path) -> Fleet:
    a, b = (run("agent", "create", name, *OF) for name in ("crawler", 'b, "quoted"'))
    return Fleet(run, tmp_path, acme, a, b)


def test_csv_is_counted_by_agent_day_and_hour_and_added_to_what_was_counted(fleet: Fleet) -> None:
    report = fleet.imported(
        HEADER + ",requests,rejected",
        f"{HOUR},crawler,5,,",
        f"{HOUR},{fleet.a},2,3,1",
        '2026-04-01T01:59:59+02:00,"b, ""quoted""",1,1,0',
        "2026-04-01T00:00:00Z,crawler,0,4,0",
    )
    assert report == {
        "records": 4,
        "tokens": 8,
        "requests": 13,
        "rejected": 1,
        "first": "2026-03-31T23:00:00.000000Z",
        "last": "2026-04-01T00:00:00.000000Z",
        "repeats": None,
    }
    assert fleet.sums() == (8, 13, 1)
    first, second = sorted([(fleet.a, "7,8,1"), (fleet.b, "1,1,0")])
    assert fleet.exported() == (
        "time,agent,tokens,requests,rejected\n"
        f"2026-03-31T23:00:00Z,{first[0]},{first[1]}\n"
        f"2026-03-31T23:00:00Z,{second[0]},{second[1]}\n"
        f"2026-04-01T00:00:00Z,{fleet.a},0,4,0"
    )
    # The exported file, from standard input and in the other format.
    again = fleet.exported("--format", "ndjson")
    assert fleet.run("usage", "import", "-", "--format", "ndjson", *OF, input=again).startswith("Imported 3 records, ")
    assert fleet.sums() == (16, 26, 2)
    # The file name selects the format.
    for name in ("usage.jsonl", "usage.ndjson"):
        fleet.imported(json.dumps({"time": HOUR, "agent": "crawler", "tokens": len(name)}), name=name)
    assert fleet.sums()[0] == 16 + len("usage.jsonl") + len("usage.ndjson")


def test_the_same_file_is_counted_once_by_an_organization(fleet: Fleet) -> None:
    lines = (HEADER, f"{HOUR},crawler,5")
    # A dry run adds nothing and is not remembered.
    assert fleet.imported(*lines, options=("--dry-run",))["tokens"] == 5
    assert fleet.run("usage", "import", fleet.file(*lines), *OF, "--dry-run").startswith("Would import 1 records, 5 ")
    assert fleet.sums() == (0, 0, 0)
    assert fleet.imported(*lines)["repeats"] is None
    repeated = fleet.imported(*lines, name="other-name.csv")
    assert utc_now() - timedelta(minutes=5) < datetime.fromisoformat(repeated["repeats"]) < utc_now()
    output = fleet.run("usage", "import", fleet.file(*lines), *OF)
    assert output == f"This file was imported at {repeated['repeats']}. Nothing was added."
    assert fleet.sums() == (5, 5, 0)
    fleet.run("agent", "create", "crawler", "--organization", fleet.run("organization", "create", "Other"))
    other = fleet.run("usage", "import", fleet.file(*lines), "--organization", "Other")
    assert other.startswith("Imported 1 records, 5 tokens, 5 requests, 0 rejected from 2026-03-31T23:00:00.000000Z ")


def test_all_or_nothing_with_the_lines_of_the_bad_records(fleet: Fleet) -> None:
    theirs = fleet.run("agent", "create", "theirs", "--organization", fleet.run("organization", "create", "Other"))
    # A deleted agent can be named only by its id.
    fleet.run("agent", "delete", "--yes", fleet.b)
    assert fleet.refused(
        HEADER,
        f"{HOUR},crawler,5",
        f"{HOUR},theirs,5",
        "yesterday,crawler,5",
        "",
        f"{HOUR},crawler",
        f"{HOUR},{theirs},5",
        f'{HOUR},"b, ""quoted""",5',
        f"{HOUR},{fleet.b},5",
    ) == [
        "line 3: the organization has no agent 'theirs'",
        "line 4: time must be a date and time with a time zone, after RFC 3339",
        "line 6: has 2 fields, and the first line has 3",
        f"line 7: the organization has no agent '{theirs}'",
        "line 8: the organization has no agent 'b, \"quoted\"'",
    ]
    assert fleet.sums() == (0, 0, 0)
    assert len(fleet.refused(HEADER, *[f"{HOUR},crawler,x"] * 100)) == importing.MAX_PROBLEMS
    assert fleet.refused() == [
        "line 0: the first line must name time, agent, tokens, and may name requests and rejected, each once"
    ]
    lines = [f"{HOUR},{agent},{MAX_COUNT}" for agent in ("crawler", fleet.b)]
    assert fleet.imported(HEADER, *lines)["tokens"] == 2 * MAX_COUNT
    assert fleet.refused(HEADER, *lines, "", name="again.csv") == [
        "line 4: an agent or the organization would have more than 2,147,483,647 in one hour"
    ]
    assert fleet.sums()[0] == 2 * MAX_COUNT


def test_more_hours_than_fit_into_memory(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_SUMS", 2)
    lines = [f"2026-03-31T{hour:02d}:00:00Z,{agent},1" for agent in ("crawler", fleet.b) for hour in (0, 1, 2, 0)]
    assert fleet.imported(HEADER, *lines)["tokens"] == 8
    assert fleet.sums() == (8, 8, 0)
    assert len(fleet.exported().splitlines()) == 7


@pytest.mark.parametrize("file_format", ["csv", "ndjson"])
def test_what_was_exported_makes_the_same_byte_for_byte(fleet: Fleet, file_format: str) -> None:
    lines = [
        f"2025-{month:02d}-{day:02d}T{hour:02d}:00:00Z,{agent},{month},{month + day},{hour % 2}"
        for month in (1, 2, 12)
        for day in (1, 28)
        for hour in (0, 7, 23)
        for agent in (fleet.a, fleet.b)
    ]
    fleet.imported(HEADER + ",requests,rejected", *lines)
    sums, whole = fleet.sums(), fleet.exported("--format", file_format)
    assert len(whole.splitlines()) == len(lines) + (file_format == "csv")
    some = fleet.exported("--from", "2025-01-28", "--to", "2025-02-01").splitlines()[1:]
    assert sorted({line[:13] for line in some}) == [
        f"2025-{day}T{hour}" for day in ("01-28", "02-01") for hour in ("00", "07", "23")
    ]
    with psycopg.connect(fleet.run.database_url) as connection:
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [fleet.organization_id])
        for table in ("usage_daily", "agent_usage_daily", "usage_monthly", "usage_imports"):
            connection.execute(f"delete from {table}")
    assert fleet.sums() == (0, 0, 0)
    fleet.imported(*whole.splitlines(), name=f"usage.{file_format}")
    assert fleet.sums() == sums
    assert fleet.exported("--format", file_format) == whole


@pytest.mark.parametrize(
    ("months", "today", "day"),
    [(4, (2026, 11, 25), "2026-08-01"), (11, (2026, 11, 1), "2026-01-01"), (12, (2026, 11, 30), "2025-12-01"),
     (25, (2026, 1, 31), "2024-01-01")],
)  # fmt: skip
def test_the_current_month_is_the_first_that_is_kept(months: int, today: tuple[int, int, int], day: str) -> None:
    assert find_first_kept_day(months, datetime(*today, 23, 59, tzinfo=UTC)).isoformat() == day


@pytest.mark.usefixtures("midnight_is_far")
def test_prune_deletes_whole_days_of_every_organization(fleet: Fleet) -> None:
    before = find_first_kept_day(4, utc_now())
    days = [before - timedelta(days=400), before - timedelta(days=1), before]
    lines = [HEADER, *(f"{day}T12:00:00Z,crawler,1" for day in days)]
    other = fleet.run("organization", "create", "Other")
    fleet.run("agent", "create", "crawler", "--organization", other)
    for organization in (fleet.organization_id, other):
        fleet.run("usage", "import", fleet.file(*lines), "--organization", organization)
    prune = ("usage", "prune", "--keep", "4months")
    assert fleet.run(*prune, "--dry-run").splitlines() == [
        f"{organization_id}\t2 days before {before} would be deleted"
        for organization_id in (fleet.organization_id, other)
    ]
    assert fleet.run.asked(*prune) == (
        f"This deletes the usage of 4 days before {before} of 2 organizations: 4 tokens. "
        "Deleted usage cannot be restored, so export the usage first (agentidp usage export).\n"
    )
    assert fleet.sums() == (3, 3, 0)
    with psycopg.connect(fleet.run.database_url, autocommit=True) as connection:
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [fleet.organization_id])
        connection.execute(
            "insert into credential_usage_daily select organization_id, day, agent_id, agent_id, '', slot, tokens,"
            " tokens_by_hour from agent_usage_daily"
        )
        pruned = fleet.run(*prune, "--yes", *OF)
        kept = connection.execute("select day from credential_usage_daily where agent_id = %s", [fleet.a]).fetchall()
    assert kept == [(before,)]
    assert pruned == f"{fleet.organization_id}\t2 days before {before} deleted"
    assert fleet.sums() == (1, 1, 0)
    assert fleet.run(*prune, "--yes").splitlines() == [
        f"{fleet.organization_id}\t0 days before {before} deleted",
        f"{other}\t2 days before {before} deleted",
    ]
    assert usage_sums(fleet.run.database_url, other)["tokens"] == 1


@pytest.mark.usefixtures("midnight_is_far")
def test_an_interrupted_prune_leaves_whole_days_and_goes_on(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    before = find_first_kept_day(4, utc_now())
    days = [before - timedelta(days=ago) for ago in (3, 2, 1, 0)]
    fleet.imported(HEADER, *(f"{day}T12:00:00Z,{agent},1" for day in days for agent in (fleet.a, fleet.b)))
    prune, deleted = ("usage", "prune", "--yes", "--keep", "4months"), []

    def interrupted(opened: Any, day: Any) -> None:
        if len(deleted) == 1:
            raise KeyboardInterrupt
        deleted.append(day)
        delete_sums(opened, day)

    with monkeypatch.context() as patch:
        # The last statement of the transaction for the second day.
        patch.setattr("agentidp.usage_history.pruning.delete_sums", interrupted)
        assert fleet.run.invoke(*prune).exit_code == 1
    assert (deleted, fleet.sums()) == (days[:1], (6, 6, 0))
    assert fleet.run(*prune) == f"{fleet.organization_id}\t2 days before {before} deleted"
    assert fleet.sums() == (2, 2, 0)


RECIPES = {
    "From Keycloak": [
        {"time": 1774998900123, "type": "CLIENT_LOGIN", "clientId": "crawler", "ipAddress": "192.0.2.1"},
        {"time": 1774998900999, "type": "CLIENT_LOGIN", "clientId": "crawler"},
        {
            "time": 1774998901000,
            "type": "CLIENT_LOGIN_ERROR",
            "clientId": "crawler",
            "error": "invalid_client_credentials",
        },
        {"time": 1774998901000, "type": "LOGIN", "clientId": "account"},
    ],
    "From Auth0": [
        {"date": "2026-03-31T23:15:00.123Z", "type": "seccft", "client_name": "crawler", "client_id": "x"},
        {"date": "2026-03-31T23:15:00.999Z", "type": "seccft", "client_name": "crawler", "client_id": "x"},
        {"date": "2026-03-31T23:15:01.000Z", "type": "feccft", "client_name": "crawler", "client_id": "x"},
        {"date": "2026-03-31T23:15:01.000Z", "type": "s", "client_name": "account"},
    ],
}
"""The heading of each recipe in docs/history.md, with the other provider's export."""


@pytest.mark.program
@pytest.mark.parametrize("heading", RECIPES)
def test_the_recipes_for_other_providers(fleet: Fleet, heading: str) -> None:
    text = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")
    [recipe] = re.findall(rf"### {heading}\n.*?```sh\njq -c '(.*?)'", text, re.DOTALL)
    converted = subprocess.run(
        ["jq", "-c", recipe], input=json.dumps(RECIPES[heading]), capture_output=True, text=True, check=True
    ).stdout
    fleet.imported(*converted.splitlines(), name="usage.ndjson")
    assert fleet.sums() == (2, 2, 1)
    assert fleet.exported().splitlines()[1:] == [f"2026-03-31T23:00:00Z,{fleet.a},2,2,1"]
