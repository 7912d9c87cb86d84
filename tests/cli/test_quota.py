"""``agentidp quota``."""

from __future__ import annotations

import re

import pytest

from agentidp.cli import quota
from agentidp.registry.quotas import MAX_TOKENS
from tests.cli.command import Command


def test_sets_lists_and_removes(run: Command, agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("quota", "set", "--agent", "builder", "--per", "day", "--tokens", "1000", "--enforce")
    run("quota", "set", "--agent", agent, "--organization", "Acme", "--per", "hour", "--tokens", "100")
    run("quota", "set", "--organization", "Acme", "--per", "month", "--tokens", str(MAX_TOKENS), "--observe")
    names = ("agentId", "window", "tokens", "enforce", "used", "left", "refused", "observed")
    for size in (1, 2, 3, 500):
        monkeypatch.setattr(quota, "PAGE_SIZE", size)
        listed = run.json("quota", "list", "--organization", "Acme")
        assert [tuple(row[name] for name in names) for row in listed] == [
            (None, "month", MAX_TOKENS, False, 0, MAX_TOKENS, 0, 0),
            (agent, "hour", 100, False, 0, 100, 0, 0),
            (agent, "day", 1000, True, 0, 1000, 0, 0),
        ]
    assert [line[:9] for line in run.cells("quota", "list", "--agent", agent)] == [
        [agent, "builder", "hour", "100", "false", "0", "100", "0", "0"],
        [agent, "builder", "day", "1000", "true", "0", "1000", "0", "0"],
    ]
    for holder, window, consequences in (
        (("--agent", agent), "hour", "of builder: 100 tokens per hour, 0 used."),
        (
            ("--organization", "Acme"),
            "month",
            f"of the organization: {MAX_TOKENS:,} tokens per month, 0 used.",
        ),
    ):
        remove = ("quota", "remove", *holder, "--per", window)
        assert run.asked(*remove).startswith(f"This removes the quota {consequences}")
        assert run(*remove, "--yes") == ""
        assert run.refused(*remove) == "there is no such agent or quota"
    assert run.json("quota", "list", "--organization", "Acme") == listed[2:]


@pytest.mark.usefixtures("midnight_is_far")
def test_asks_before_it_refuses_every_token(run: Command, agent: str) -> None:
    for _ in range(3):
        run("token", "--agent", agent)
    for holder, window in ((("--organization", "Acme"), "month"), (("--agent", agent), "day")):
        setting = ("quota", "set", *holder, "--per", window)
        run(*setting, "--tokens", "4", "--enforce")
        run(*setting, "--tokens", "3", "--observe")
        asked = run.asked(*setting, "--tokens", "3", "--enforce")
        match = re.fullmatch(
            r"This quota refuses every token from now until 20\d\d-\d\d-\d\dT00:00:00Z\. 3 tokens were already issued "
            rf"in this {window}, and the quota allows 3\. If requests continue at the same rate, about ([0-9,]+) "
            r"tokens will be refused\.\n",
            asked,
        )
        assert match, asked
        assert int(match[1].replace(",", "")) >= 0
        [quota] = run.json("quota", "list", *holder)[:1]
        assert (quota["tokens"], quota["enforce"]) == (3, False)
    run(*setting, "--tokens", "3", "--enforce", "--yes")
    assert "the agent's quota of 3 tokens per day has been used" in run.refused("token", "--agent", agent)
    # A higher quota applies at once.
    run(*setting, "--tokens", "4", "--enforce")
    assert run("token", "--agent", agent)
