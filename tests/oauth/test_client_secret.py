"""The form of client secrets, by which secret scanners find them."""

from __future__ import annotations

import re
import secrets
import uuid
import zlib
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from agentidp.oauth import client_secret
from agentidp.oauth.client_secret import PATTERN, hash_secret, new_secret
from agentidp.registry.credentials import MAX_CREDENTIALS
from tests.conftest import Cast
from tests.factories import NOON, ROOT, database_of, usage_sums

EXAMPLE = "aidp_00000000000000000000000000000000000000000002CZclj"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def is_secret() -> Callable[[str], bool]:
    """The check that the authors of scanners find in the documentation."""
    document = (ROOT / "docs" / "oauth.md").read_text(encoding="utf-8")
    section = document.partition("### The form of a client secret\n")[2]
    [snippet] = re.findall(r"```python\n(.*?)```", section.partition("\n### ")[0], re.DOTALL)
    found: dict[str, Callable[[str], bool]] = {}
    exec(snippet, found)  # noqa: S102 - of our own documentation
    return found["is_client_secret"]


def test_a_new_secret_is_well_formed(is_secret: Callable[[str], bool]) -> None:
    made = {new_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"aidp_[0-9A-Za-z]{49}", secret) and is_secret(secret) for secret in made)


def test_the_documentation_names_the_pattern() -> None:
    assert f"`{PATTERN}`" in (ROOT / "docs" / "oauth.md").read_text(encoding="utf-8")


def test_whoever_mistypes_a_character_has_no_secret(is_secret: Callable[[str], bool]) -> None:
    secret = new_secret()
    for place, character in enumerate(secret):
        for other in (ALPHABET[0], ALPHABET[-1], "-"):
            if other != character:
                assert not is_secret(secret[:place] + other + secret[place + 1 :]), place


@pytest.mark.parametrize("change", [str.upper, str.strip, "{} ".format, "{}\n".format, "x{}".format, "{:.53}".format])
def test_the_form_is_exact(is_secret: Callable[[str], bool], change: Callable[[str], str]) -> None:
    secret = new_secret()
    assert is_secret(change(secret)) is (change is str.strip)
    assert not is_secret("")
    assert not is_secret("aidp_" + "é" * 49)


@pytest.mark.parametrize("bits", [0, 1, 61, 62, 2**256 - 1])
def test_every_number_of_256_bits_has_43_digits_and_six_of_its_checksum(
    monkeypatch: pytest.MonkeyPatch, is_secret: Callable[[str], bool], bits: int
) -> None:
    monkeypatch.setattr(client_secret.secrets, "token_bytes", lambda length: bits.to_bytes(length))
    secret = new_secret()
    assert is_secret(secret)
    assert sum(ALPHABET.index(digit) * 62**n for n, digit in enumerate(reversed(secret[5:48]))) == bits
    checksum = sum(ALPHABET.index(digit) * 62**n for n, digit in enumerate(reversed(secret[48:])))
    assert checksum == zlib.crc32(secret[5:48].encode())
    assert (secret == EXAMPLE) is (bits == 0)


def test_a_secret_of_the_form_of_before_still_works(client: FlaskClient, cast: Cast) -> None:
    agent, secret = cast.acme, secrets.token_urlsafe(32)
    with database_of(agent.services, agent.organization_id).transaction() as transaction:
        transaction.fetch(
            "agents/add_credential",
            organization_id=agent.organization_id,
            agent_id=agent.agent_id,
            credential_id=uuid.uuid4(),
            secret_hash=hash_secret(secret),
            jwks=None,
            trust=None,
            trust_selector=None,
            label=None,
            expires_at=None,
            at=NOON,
            most=MAX_CREDENTIALS,
        )
    form = {"grant_type": "client_credentials", "client_id": agent.client_id}
    for shown in (secret, agent.client_secret):
        assert client.post("/api/v1/token", data=form | {"client_secret": shown}).status_code == 200
    # One of the right form and one of none fail alike.
    refused = [
        client.post("/api/v1/token", data=form | {"client_secret": shown}) for shown in (new_secret(), "x", EXAMPLE)
    ]
    assert [response.status_code for response in refused] == [401] * 3
    assert len({response.data for response in refused}) == 1
    sums = usage_sums(str(agent.services.settings.database_url), agent.organization_id)
    assert (sums["tokens"], sums["rejected"]) == (2, 3)
