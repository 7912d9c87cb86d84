"""``agentidp keys``."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.command import TIME, Command


def test_rotate_prints_the_new_key_and_list_shows_both(run: Command) -> None:
    [first] = [line.split("\t") for line in run("keys", "list").splitlines()]
    new = run("keys", "rotate").split("\t")
    assert (first[1], first[4], new[1], new[4]) == ("ES256", "signing", "ES256", "next")
    assert [line.split("\t") for line in run("keys", "list").splitlines()] == [new, first]


def test_as_json(run: Command) -> None:
    new = json.loads(run("keys", "rotate", "--json"))
    listed = json.loads(run("keys", "list", "--json"))
    assert listed[0] == new
    assert set(new) == {"kid", "alg", "createdAt", "signsFrom", "status"}
    assert re.fullmatch(TIME, new["signsFrom"])


@pytest.mark.parametrize("kid", ["-hNRjfa", "-NRjhfa", "--NRjfa", "-"])
def test_a_kid_may_begin_with_a_hyphen(run: Command, kid: str) -> None:
    for arguments in (("--yes", kid), (kid, "--yes"), ("--yes", "--", kid)):
        assert run.refused("keys", "revoke", *arguments).startswith(f"there is no signing key {kid!r}")
