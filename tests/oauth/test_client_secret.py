"""The form of client secrets, by which secret scanners find them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

import pytest

from agentidp.oauth import client_secret
from agentidp.oauth.client_secret import PATTERN, new_secret
from tests.factories import ROOT

EXAMPLE = "aidp_00000000000000000000000000000000000000000002CZclj"
GUIDE = (ROOT / "docs" / "oauth.md").read_text(encoding="utf-8")
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def is_secret(text: str) -> bool:
    """Check a secret as docs/oauth.md describes it to the authors of scanners."""
    if not re.fullmatch("aidp_[0-9A-Za-z]{49}", text):
        return False
    checksum = 0
    for digit in text[48:]:
        checksum = checksum * 62 + ALPHABET.index(digit)
    return zlib.crc32(text[5:48].encode()) == checksum


def test_a_new_secret_is_well_formed() -> None:
    made = {new_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"aidp_[0-9A-Za-z]{49}", secret) and is_secret(secret) for secret in made)
    assert f"`{PATTERN}`" in GUIDE


def test_whoever_mistypes_a_character_has_no_secret() -> None:
    secret = new_secret()
    for place, character in enumerate(secret):
        for other in (ALPHABET[0], ALPHABET[-1], "-"):
            if other != character:
                assert not is_secret(secret[:place] + other + secret[place + 1 :]), place


@pytest.mark.parametrize("change", [str.upper, str.strip, "{} ".format, "{}\n".format, "x{}".format, "{:.53}".format])
def test_the_form_is_exact(change: Callable[[str], str]) -> None:
    secret = new_secret()
    assert is_secret(change(secret)) is (change is str.strip)
    assert not is_secret("")
    assert not is_secret("aidp_" + "é" * 49)


@pytest.mark.parametrize("bits", [0, 1, 61, 62, 2**256 - 1])
def test_every_number_of_256_bits_has_43_digits_and_six_of_its_checksum(
    monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    monkeypatch.setattr(client_secret.secrets, "token_bytes", lambda length: bits.to_bytes(length))
    secret = new_secret()
    assert is_secret(secret)
    assert sum(ALPHABET.index(digit) * 62**n for n, digit in enumerate(reversed(secret[5:48]))) == bits
    checksum = sum(ALPHABET.index(digit) * 62**n for n, digit in enumerate(reversed(secret[48:])))
    assert checksum == zlib.crc32(secret[5:48].encode())
    assert (secret == EXAMPLE) is (bits == 0)
