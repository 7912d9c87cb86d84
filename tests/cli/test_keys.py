"""``agentidp keys``."""

from __future__ import annotations

import re

from tests.cli.command import TIME, Command
from tests.factories import SECRET_KEY


def test_rotates_lists_revokes_and_encrypts_again(run: Command) -> None:
    [first] = run.cells("keys", "list")
    [new] = run.cells("keys", "rotate")
    assert (first[1], first[4], new[1], new[4]) == ("ES256", "signing", "ES256", "next")
    assert run.cells("keys", "list") == [new, first]
    newest = run.json("keys", "rotate")
    assert run.json("keys", "list")[0] == newest
    assert newest.keys() == {"kid", "alg", "createdAt", "signsFrom", "status"}
    assert re.fullmatch(TIME, newest["signsFrom"])
    assert run("keys", "reencrypt") == "Re-encrypted 0 of 3 signing keys."
    run("token", "--agent", run.agent())
    assert run.asked("keys", "revoke", first[0]).startswith(
        f"This revokes the signing key {first[0]}. This key signs the tokens now. All tokens that the key signed stop "
        "working at once. Today 1 organization got 1 token. By default a token is valid for "
    )
    assert "No token stops working, because the key has not signed a token yet." in run.asked("keys", "revoke", new[0])
    assert [line[::4] for line in run.cells("keys", "revoke", "--yes", new[0])] == [[new[0], "revoked"]]
    assert f"{new[0]}. The key is revoked, so no valid token " in run.asked("keys", "revoke", new[0])
    revoked = run.invoke("keys", "revoke", "--yes", first[0])
    [[signing, *_], [last, *_]] = [line.split("\t") for line in revoked.stdout.splitlines()]
    assert (last, revoked.stderr.startswith(f"Warning: the new key {signing} already signs tokens. ")) == (
        first[0],
        True,
    )


def test_the_list_fails_without_the_secret_of_the_key_that_signs(run: Command) -> None:
    """Deployments run this command before the service starts. Its message is for an operator who lost the secret."""
    [[kid, *_]] = run.cells("keys", "list")
    wrong = {"AGENTIDP_SECRET_KEY": SECRET_KEY.swapcase()}
    result = run.invoke("keys", "list", **wrong)
    assert (result.exit_code, result.stdout.split("\t")[::4]) == (1, [kid, "unreadable\n"])
    assert result.stderr.startswith(f"Error: AGENTIDP_SECRET_KEY does not decrypt {kid}, the key that signs tokens: ")
    assert run.invoke("keys", "revoke", "--yes", kid, **wrong).exit_code == 0
    assert run.invoke("keys", "list", **wrong).exit_code == 0


def test_a_kid_may_begin_with_a_hyphen(shared_run: Command) -> None:
    for kid in ("-hNRjfa", "-NRjhfa", "--NRjfa", "-"):
        for arguments in (("--yes", kid), (kid, "--yes"), ("--yes", "--", kid)):
            refused = shared_run.refused("keys", "revoke", *arguments)
            assert refused == f"there is no signing key {kid!r}: agentidp keys list shows them"
