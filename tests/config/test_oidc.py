"""The settings of signing in through OpenID Connect: off if none is set, and refused if they are incomplete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentidp.config import ConfigurationError, Settings
from agentidp.config.oidc import MAX_ISSUER, OidcSettings
from tests.factories import ROOT

ACME = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
OTHER = "org-1a1b2c3d-e4f5-6789-abcd-ef0123456789"
LEAST = {
    "AGENTIDP_OIDC_ISSUER": "https://sso.example",
    "AGENTIDP_OIDC_CLIENT_ID": "agentidp",
    "AGENTIDP_OIDC_CLIENT_SECRET": "hush-hush",
    "AGENTIDP_OIDC_ORGANIZATIONS": f"*={ACME}",
    "AGENTIDP_OIDC_VIEWERS": "*",
}


def read(**changes: str) -> OidcSettings | None:
    """Read the minimal settings with *changes*, whose names have no prefix."""
    return Settings.from_environment(LEAST | {f"AGENTIDP_OIDC_{name}": value for name, value in changes.items()}).oidc


def test_without_any_nobody_signs_in() -> None:
    assert Settings.from_environment({"AGENTIDP_OIDC_ISSUER": ""}).oidc is None


def test_the_least_that_suffices() -> None:
    assert read() == OidcSettings(
        issuer="https://sso.example",
        client_id="agentidp",
        client_secret="hush-hush",
        scopes="openid profile email",
        label="your company account",
        organization_claim=None,
        organizations={"*": ACME},
        role_claim=None,
        administrators=frozenset(),
        viewers=frozenset({"*"}),
    )


def test_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    oidc = read(
        CLIENT_SECRET="",
        CLIENT_SECRET_FILE=str(tmp_path / "secret"),
        SCOPES="openid groups",
        LABEL="Käse & Co.",
        ORGANIZATION_CLAIM="https://acme.example/org",
        ORGANIZATIONS=f"a=b={ACME}, contoso = {OTHER}",
        ROLE_CLAIM="realm_access.roles",
        ADMINISTRATORS="one, two words",
        VIEWERS="*,three",
    )
    assert oidc == OidcSettings(
        issuer="https://sso.example",
        client_id="agentidp",
        client_secret="from a file",
        scopes="openid groups",
        label="Käse & Co.",
        organization_claim="https://acme.example/org",
        organizations={"a=b": ACME, "contoso": OTHER},
        role_claim="realm_access.roles",
        administrators=frozenset({"one", "two words"}),
        viewers=frozenset({"*", "three"}),
    )


@pytest.mark.parametrize("issuer", ["https://sso.example/", "https://sso.example/a/b", "http://127.0.0.1:8080"])
def test_issuers(issuer: str) -> None:
    oidc = read(ISSUER=issuer)
    assert oidc is not None
    assert oidc.issuer == issuer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("ISSUER", bad) for bad in ("http://sso.example", "sso.example", "https://a@b", "https://b?x", "https://")),
        ("ISSUER", "https://" + "x" * MAX_ISSUER),
        ("CLIENT_ID", " agentidp"),
        ("CLIENT_SECRET", "schön"),
        *(("SCOPES", bad) for bad in ("profile", "openid  profile", ' "openid"', "openid ")),
        ("LABEL", "x" * 61),
        ("LABEL", "a\u202eb"),
        ("ORGANIZATION_CLAIM", " "),
        *(("ORGANIZATIONS", bad) for bad in ("contoso", f"={ACME}", "a=org-1", f"a={ACME},", f"a={ACME},a={OTHER}")),
        ("ROLE_CLAIM", "x" * 201),
        *((name, bad) for name in ("ADMINISTRATORS", "VIEWERS") for bad in ("a,", ",", "a,,b", "a\nb")),
    ],
)
def test_a_bad_value_stops_start_up_with_a_sentence_that_names_it(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^AGENTIDP_OIDC_{name} must ") as refused:
        read(**{name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (["ISSUER"], "ISSUER"),
        (["CLIENT_ID"], "CLIENT_ID"),
        (["CLIENT_SECRET"], r"CLIENT_SECRET \(or AGENTIDP_OIDC_CLIENT_SECRET_FILE\)"),
        (["ORGANIZATIONS"], "ORGANIZATION_CLAIM"),
        (["VIEWERS"], "ADMINISTRATORS or AGENTIDP_OIDC_VIEWERS"),
        (["CLIENT_ID", "CLIENT_SECRET", "ORGANIZATIONS", "VIEWERS"], "CLIENT_ID"),
        (["ISSUER", "CLIENT_ID", "ORGANIZATIONS", "VIEWERS"], "ISSUER"),
    ],
)
def test_half_of_them_stop_start_up_with_a_sentence(missing: list[str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^AGENTIDP_OIDC_{named} must be set") as refused:
        read(**dict.fromkeys(missing, ""))
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ADMINISTRATORS": "keepers"}, "ROLE_CLAIM"),
        ({"VIEWERS": "watchers"}, "ROLE_CLAIM"),
        ({"ORGANIZATIONS": f"a={ACME}"}, "ORGANIZATION_CLAIM"),
        ({"ORGANIZATIONS": f"*={ACME}, a={OTHER}"}, "ORGANIZATION_CLAIM"),
    ],
)
def test_a_value_needs_the_claim_that_has_it(changes: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^AGENTIDP_OIDC_{named} must be set"):
        read(**changes)


def test_a_secret_and_a_file_of_it_are_too_much(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^set AGENTIDP_OIDC_CLIENT_SECRET or .*_FILE, not both$"):
        read(CLIENT_SECRET_FILE=str(tmp_path))


def test_the_guide_has_every_setting_and_its_default() -> None:
    source = (ROOT / "agentidp" / "config" / "oidc.py").read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "sign-in.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(AGENTIDP_OIDC_[A-Z_]+)` \| (.*?) ?\|", guide, re.MULTILINE))
    assert set(re.findall(r'"(AGENTIDP_OIDC_[A-Z_]+)"', source)) == rows.keys()
    assert {name: cell.strip("`") for name, cell in rows.items() if cell} == {
        "AGENTIDP_OIDC_SCOPES": OidcSettings.scopes,
        "AGENTIDP_OIDC_LABEL": OidcSettings.label,
    }


def test_the_examples_of_the_guide_are_settings(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "sign-in.md").read_text(encoding="utf-8")
    (tmp_path / "secret").write_text("hush-hush")
    examples = re.findall(r"^```sh\n(AGENTIDP_OIDC_ISSUER=.*?)```", guide, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        set_ = dict(
            line.split("=", 1)
            for line in example.replace("/etc/agentidp/oidc_secret", str(tmp_path / "secret")).splitlines()
        )
        assert Settings.from_environment(set_).oidc is not None
