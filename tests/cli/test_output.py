"""Lists and single objects are formatted on a terminal. A pipe gets bare lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from agentidp.cli.output import MAX_CELL_LENGTH, show, show_object
from tests.citus import WITHOUT_CITUS
from tests.cli.command import Command
from tests.cli.terminal import Terminal

AT = "2026-03-08T09:12:33.123456Z"
ROWS = [
    {"agentId": "a1", "name": "builder", "isBound": True, "createdAt": AT, "scopes": ["a", "b"]},
    {"agentId": "b22", "name": "資料", "isBound": False, "createdAt": None, "scopes": []},
]


def printed_list(capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]], **options: Any) -> list[str]:
    show(rows, False, **options)
    return capsys.readouterr().out.splitlines()


def printed_object(capsys: pytest.CaptureFixture[str], row: dict[str, Any], **options: Any) -> list[str]:
    show_object(row, False, **options)
    return capsys.readouterr().out.splitlines()


def test_a_pipe_gets_bare_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({}, {"columns": ("name",)}):
        assert printed_list(capsys, ROWS, **options) == [f"a1\tbuilder\ttrue\t{AT}\ta b", "b22\t資料\tfalse\t-\t"]
    assert printed_object(capsys, ROWS[0], shown_once="name") == [f"a1\tbuilder\ttrue\t{AT}\ta b"]
    assert printed_list(capsys, [{"value": {"name": "資料"}}]) == ['{"name": "資料"}']
    assert printed_list(capsys, []) == []


class TestTerminal:
    @pytest.fixture(autouse=True)
    def on_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agentidp.cli.output.is_terminal", lambda: True)

    def test_a_list_is_a_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert printed_list(capsys, ROWS) == [
            "AGENT ID  NAME     IS BOUND  CREATED AT         SCOPES",
            "a1        builder  yes       2026-03-08 09:12Z  a b",
            # Each of these characters is two columns wide.
            "b22       資料     no        -",
        ]
        assert printed_list(capsys, ROWS, columns=("name", "agentId")) == [
            "NAME     AGENT ID",
            "builder  a1",
            "資料     b22",
        ]
        # A combining accent has no width.
        assert printed_list(capsys, [{"dpopKey": "e\u0301", "x": 1}]) == ["DPoP KEY  X".upper(), "e\u0301         1"]
        show([], False)
        assert capsys.readouterr() == ("", "There are none.\n")

    def test_an_object_has_labels_and_says_what_is_shown_only_now(self, capsys: pytest.CaptureFixture[str]) -> None:
        row = {"agentId": "a1", "clientSecret": "s3", "createdAt": AT}
        lines = ["Agent id:       a1", "Client secret:  s3", "Created at:     2026-03-08 09:12Z"]
        *values, warning = printed_object(capsys, row, shown_once="clientSecret")
        assert (values, warning.startswith("The client secret is not shown again.")) == (lines, True)
        lines[1] = "Client secret:  -"
        assert printed_object(capsys, row | {"clientSecret": None}, shown_once="clientSecret") == lines
        # A single value has no label.
        assert printed_object(capsys, {"agentId": "a1"}) == ["a1"]

    def test_long_texts_are_cut_and_ids_and_what_is_no_time_are_not(self, capsys: pytest.CaptureFixture[str]) -> None:
        text, identifier = "word " * 20, "https://" + "x" * 100
        exact = text[:MAX_CELL_LENGTH].strip() + "x"
        [_, line, whole] = printed_list(
            capsys,
            [
                {"text": text, "resource": identifier, "last": text.strip()},
                {"text": exact, "resource": "-", "last": "-"},
            ],
        )
        assert line == f"{text[: MAX_CELL_LENGTH - 1]}…  {identifier}  {text.strip()}"
        assert whole.startswith(f"{exact}  -")
        window = "2026-03-08T09:00Z/2026-03-08T10:00Z"
        for value, short in {
            **{same: same for same in (f"https://x.example/{AT}", "a/b", "2026-03-08")},
            "line\nbreak": "line break",
            window: "2026-03-08 09:00Z/2026-03-08 10:00Z",
        }.items():
            assert printed_list(capsys, [{"value": value}])[1] == short


def test_a_stored_name_cannot_forge_what_is_shown(run: Command, agent: str) -> None:
    """The name was stored before the rule that now refuses it."""
    name, shown = "a\u202e\u2028\u009b2Jb", r"a\u202e\u2028\u009b2Jb"
    with psycopg.connect(run.database_url) as connection:
        connection.execute("update agents set name = %s where agent_id = %s", (name, agent))
    of = ("--organization", "Acme")
    assert run.cells("agent", "list", *of)[0][1] == shown
    printed = run("agent", "list", *of, "--json")
    assert (json.loads(printed)[0]["name"], shown in printed) == (name, True)
    assert f"This deletes the agent {shown}" in run.asked("agent", "delete", agent)
    exported = run("organization", "export")
    assert yaml.safe_load(exported)["organizations"][0]["agents"][0]["name"] == name
    assert exported.isascii()
    # The name in an error message.
    run("agent", "create", "b", *of)
    assert run.invoke("agent", "show", name[:2]).output.isascii()


@pytest.mark.very_slow
@WITHOUT_CITUS
def test_long_commands_show_how_far_they_are(run: Command, agent: str, terminal: Terminal, tmp_path: Path) -> None:
    file, usage = str(tmp_path / "agentidp.dump"), tmp_path / "usage.csv"
    days = "".join(f"2020-01-{day:02}T00:00:00Z,builder,1\n" for day in range(1, 29))
    usage.write_text(f"time,agent,tokens\n{days}")
    for arguments, label in (
        (("usage", "import", str(usage), "--organization", "Acme"), "Reading"),
        (("backup", file), "Backing up"),
        (("restore", "--clean", "--yes", file), "Restoring"),
        (("usage", "prune", "--keep", "25months", "--yes"), "org-"),
        (("audit", "prune", "--keep", "0", "--yes"), "Pruning"),
    ):
        status, shown = terminal(*arguments)
        assert status == 0, shown
        assert re.search(rf"{label}\S*  \[#+\]  100%", shown), shown
