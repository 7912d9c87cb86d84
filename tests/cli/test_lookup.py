"""An argument may be an id or a unique name. Most tests of commands use names."""

from __future__ import annotations

import pytest

from agentidp.cli import lookup
from agentidp.cli.lookup import MAX_CANDIDATES, Candidate, find_candidate
from agentidp.config import ConfigurationError
from tests.cli.command import Command


class TestOneOf:
    KNOWN = (
        *(Candidate(f"{number:02}", ["same"], number, "Acme") for number in range(MAX_CANDIDATES + 1)),
        Candidate("api", ["https://api.example", "Billing"], "by id"),
        Candidate("x", ["api"], "by name"),
    )

    @pytest.mark.parametrize(
        ("text", "row"), [("03", 3), ("api", "by id"), ("https://api.example", "by id"), ("Billing", "by id")]
    )
    def test_is_the_one_with_the_id_and_otherwise_with_a_name(self, text: str, row: object) -> None:
        assert find_candidate(text, self.KNOWN, kind="server") == row

    @pytest.mark.parametrize(
        ("text", "owner", "sentence"),
        [
            ("none", "", "there is no server 'none'"),
            ("billing", "Acme", "Acme has no server 'billing': did you mean 'Billing'?"),
            ("00000000-0000-0000-0000-00000000000A", "", "there is no server 00000000-0000-0000-0000-00000000000a"),
        ],
    )
    def test_is_none_and_similar_names_are_suggested(self, text: str, owner: str, sentence: str) -> None:
        with pytest.raises(ConfigurationError) as refused:
            find_candidate(text, self.KNOWN, kind="server", owner=owner)
        assert str(refused.value) == sentence

    @pytest.mark.parametrize(
        ("number", "more"), [(2, []), (MAX_CANDIDATES, []), (MAX_CANDIDATES + 1, ["  and 1 more"])]
    )
    def test_of_several_each_is_listed(self, number: int, more: list[str]) -> None:
        with pytest.raises(ConfigurationError) as refused:
            find_candidate("same", self.KNOWN[:number], kind="server")
        assert str(refused.value).splitlines() == [
            f"{number} servers have the name 'same', so give an id:",
            *(f"  {candidate.id}  same of Acme" for candidate in self.KNOWN[: min(number, MAX_CANDIDATES)]),
            *more,
        ]


def test_of_organizations_and_their_agents(run: Command, acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = run("organization", "create", "Other")
    first_id, second_id = (
        run("agent", "create", "reader", "--organization", organization) for organization in (acme, other)
    )
    assert run.refused("agent", "show", "reader").splitlines() == [
        "2 agents have the name 'reader', so give an id:",
        f"  {first_id}  reader of Acme",
        f"  {second_id}  reader of Other",
    ]
    # The name is unique in each organization.
    for organization, agent in (("Acme", first_id), ("Other", second_id)):
        run("marker", "create", "deployment", "--organization", organization, "--agent", "reader")
        assert run.json("marker", "list", "--organization", organization)[0]["agentId"] == agent
    unknown = ("marker", "create", "deployment", "--organization", "Acme", "--agent", "readers")
    assert run.refused(*unknown) == "the organization has no agent 'readers': did you mean 'reader'?"
    for unlike in ("x", "\udcff", "a\x00"):
        assert run.refused("agent", "show", unlike) == f"there is no agent {unlike!r}"
    for max_searched, suggestion in ((2, ": did you mean 'reader'?"), (1, "")):
        monkeypatch.setattr(lookup, "MAX_SEARCHED", max_searched)
        assert run.refused("agent", "show", "readers") == f"there is no agent 'readers'{suggestion}"
    assert run("organization", "rename", "Other", "Acme") == ""
    refused = run.refused("agent", "list", "--organization", "Acme")
    assert refused.startswith("2 organizations have the name 'Acme', so give an id:")
    assert run.cells("agent", "list", "--organization", other)[0][0] == second_id


def test_a_deleted_agent_is_erased_by_its_name_and_is_no_other_commands(run: Command, acme: str, agent: str) -> None:
    run("agent", "delete", "--yes", "builder")
    present = run("agent", "create", "builder", "--organization", acme)
    assert run.json("agent", "show", "builder")["agentId"] == present
    run("agent", "erase", "--yes", "builder")
    assert run.refused("agent", "erase", "builder") == "there is no deleted agent 'builder'"
    assert [line[:2] for line in run.cells("agent", "list", "--organization", acme)] == [[present, "builder"]]
    assert '"builder"' not in run("audit", "list", "--organization", acme, "--subject", agent)
