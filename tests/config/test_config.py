"""Every setting: its default, valid values, and invalid values, which prevent the start with an error that names it."""

from __future__ import annotations

import os
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from agentidp import create_app
from agentidp.config import ConfigurationError, Settings, find_default_data_dir

URL = "postgresql://user:p%40ssw0rd@db.example/agentidp"
SECRET = "x" * 32


def same(*values: str) -> dict[str, str]:
    """Return values that are not converted."""
    return {value: value for value in values}


# Setting -> (default, {valid value: converted value}, [invalid values])
SETTINGS: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "AGENTIDP_DATABASE_URL": (
        None,
        same(URL, "postgres:///x"),
        ["mysql://x", "host=x dbname=y", "db.example", "http://x", "postgresql://[::1/x", "\ud800"],
    ),
    "AGENTIDP_READ_DATABASE_URL": (None, {}, ["mysql://x", "x", "postgresql://[::1/x"]),
    "AGENTIDP_PG_BINDIR": (None, {"/usr/bin": Path("/usr/bin")}, ["/nonexistent", "/etc/passwd"]),
    "AGENTIDP_DATA_DIR": (find_default_data_dir(), {"/srv/x": Path("/srv/x"), "relative": Path.cwd() / "relative"}, []),
    "AGENTIDP_SECRET_KEY": (
        None,
        {SECRET: SECRET.encode(), "0" * 40: b"0" * 40, "é" * 32: ("é" * 32).encode()},
        ["short", "x" * 31, "\udcff" * 40],
    ),
    "AGENTIDP_SECRET_KEY_PREVIOUS": (None, {SECRET: SECRET.encode()}, ["short", "\udcff" * 40]),
    "AGENTIDP_ISSUER": (
        "http://localhost:3000",
        same("https://id.example", "https://id.example:8443/tenant/1", "http://127.0.0.1", "http://[::1]:3000"),
        [
            *("http://id.example", "https://id.example/", "https://id.example?x=y", "https://id.example?"),
            *("https://id.example#x", "https://id.example#", "https://user@id.example", "https://:hush@id.example"),
            *("https://", "id.example", "ftp://id.example", "https://id.example:port", "https://[::1"),
            *("https://id example", "https://id.exämple", "https://id.example\n", "http://localhost.evil.example"),
        ],
    ),
    "AGENTIDP_TOKEN_TTL": (3600, {"60": 60, "86400": 86400}, ["59", "86401"]),
    "AGENTIDP_MAX_AGENTS": (20_000, {"1": 1, "1000000": 1_000_000}, ["0", "1000001"]),
    "AGENTIDP_SIGNING_ALG": ("ES256", same("ES256", "RS256"), ["none", "HS256", "es256"]),
    "AGENTIDP_POOL_MAX_SIZE": (8, {"1": 1, "1000": 1000}, ["0", "1001"]),
    "AGENTIDP_POOL_TIMEOUT": (5.0, {"5": 5.0, "25": 25.0}, ["2", "26"]),
    "AGENTIDP_TOKENS_PER_AGENT_AND_MINUTE": (6000, {"0": 0, "1000000": 1_000_000}, ["1000001"]),
    "AGENTIDP_STATEMENT_TIMEOUT": (3.0, {"1": 1.0, "3": 3.0}, ["0", "24"]),
    "AGENTIDP_LOG_LEVEL": ("INFO", same("DEBUG", "ERROR"), ["debug", "5", "TRACE"]),
    "AGENTIDP_LOG_FORMAT": ("auto", same("json", "text"), ["JSON", "logfmt"]),
    "AGENTIDP_INSECURE_HTTP": ("refuse", same("allow"), ["yes", "1"]),
    "AGENTIDP_TRUSTED_PROXIES": (0, {"0": 0, "10": 10}, ["11"]),
    "AGENTIDP_METRICS_ADDRESS": (
        None,
        same("127.0.0.1:9464", "[::1]:9464", ":9464", "metrics.internal:65535"),
        ["9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:9464", "unix:/x", "http://x:1", "x:1/", "x:1\n"],
    ),
    "AGENTIDP_TRACES": ("off", same("on", "off"), ["yes", "ON", "1"]),
    "AGENTIDP_FAST_PATH": ("on", same("on", "off"), ["yes", "OFF", "0"]),
    "AGENTIDP_AUDIT_DAYS": (0, {"0": 0, "36500": 36_500}, ["36501"]),
    "AGENTIDP_WATCH": ("on", same("on", "off"), ["yes", "ON", "1"]),
    "AGENTIDP_WATCH_INTERVAL": (300, {"60": 60, "3600": 3600}, ["59", "3601"]),
    "AGENTIDP_ALERT_NETWORKS": (
        None,
        {
            "": None,
            "10.0.0.0/8": (ip_network("10.0.0.0/8"),),
            "127.0.0.1, fd00::/8": (ip_network("127.0.0.1/32"), ip_network("fd00::/8")),
        },
        ["10.0.0.1/8", "private", "10.0.0.0/8,", "10.0.0.0/33", "localhost", "10.0.0.0/8 fd00::/8"],
    ),
    "AGENTIDP_ISSUER_NETWORKS": (None, {"10.0.0.0/8": (ip_network("10.0.0.0/8"),)}, ["10.0.0.1/8", "localhost"]),
    "PORT": (3000, {"1": 1, "65535": 65535}, ["0", "65536"]),
    "WEB_CONCURRENCY": (2, {"1": 1, "256": 256}, ["0", "257"]),
}


def field_of(name: str) -> str:
    return name.removeprefix("AGENTIDP_").lower()


NOT_NUMBERS = ["-1", "+5", " 5", "5 ", "1.5", "1e1", "1_0", "0x1F", "٣", "³", "five", "9" * 30, "5\n", "True"]
NUMBERS = [name for name, (default, *_) in SETTINGS.items() if isinstance(default, int | float)]


def test_every_setting_is_tested() -> None:
    # tests/config/test_oidc.py tests the settings of OpenID Connect.
    assert {field.name for field in fields(Settings)} - {"oidc"} == {*map(field_of, SETTINGS)}


def test_defaults() -> None:
    settings = Settings.from_environment({})
    assert {f.name: getattr(settings, f.name) for f in fields(Settings)} == {
        field_of(name): default for name, (default, *_) in SETTINGS.items()
    } | {"oidc": None}
    assert settings.resource == "http://localhost:3000/api/v1"


@pytest.mark.parametrize("name", SETTINGS)
def test_an_empty_variable_counts_as_unset(name: str) -> None:
    assert Settings.from_environment({name: ""}) == Settings.from_environment({})


@pytest.mark.parametrize(
    ("name", "sent", "read"),
    [(name, sent, read) for name, (_, good, _) in SETTINGS.items() for sent, read in good.items()],
)
def test_good_values(name: str, sent: str, read: Any) -> None:
    value = getattr(Settings.from_environment({name: sent}), field_of(name))
    assert (value, type(value)) == (read, type(read))


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        *((name, sent) for name, (*_, bad) in SETTINGS.items() for sent in bad),
        *((name, sent) for name in NUMBERS for sent in NOT_NUMBERS),
    ],
)
def test_a_bad_value_stops_start_up_with_a_sentence_that_names_it(name: str, sent: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment({name: sent})
    message = str(refused.value)
    assert message.startswith(name)
    assert "\n" not in message
    message.encode()


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        *((name, "mysql://user:hush-hush@x") for name in ("AGENTIDP_DATABASE_URL", "AGENTIDP_READ_DATABASE_URL")),
        *((name, "https://me:hush-hush@x") for name in ("AGENTIDP_SECRET_KEY", "AGENTIDP_ISSUER")),
    ],
)
def test_a_secret_is_not_repeated(name: str, sent: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment({name: sent})
    assert "hush" not in str(refused.value)


def test_the_default_issuer_follows_the_port() -> None:
    assert Settings.from_environment({"PORT": "8080"}).issuer == "http://localhost:8080"


def test_an_issuer_in_the_clear_must_be_allowed_and_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigurationError, match=r"AGENTIDP_INSECURE_HTTP=allow: everyone on the way can then read"):
        Settings.from_environment({"AGENTIDP_ISSUER": "http://192.168.0.7:3000"})
    environment = {"AGENTIDP_ISSUER": "http://192.168.0.7:3000", "AGENTIDP_INSECURE_HTTP": "allow"}
    settings = Settings.from_environment(environment | {"AGENTIDP_DATABASE_URL": URL, "AGENTIDP_SECRET_KEY": SECRET})
    create_app(settings)
    assert [record.getMessage() for record in caplog.records] == [
        "the issuer is http: everyone on the way can read secrets and tokens"
    ]
    with pytest.raises(ConfigurationError, match=r"^AGENTIDP_ISSUER"):
        Settings.from_environment(environment | {"AGENTIDP_ISSUER": "ftp://192.168.0.7"})


def test_a_read_replica_needs_a_primary() -> None:
    with pytest.raises(ConfigurationError, match=r"^AGENTIDP_READ_DATABASE_URL needs AGENTIDP_DATABASE_URL$"):
        Settings.from_environment({"AGENTIDP_READ_DATABASE_URL": URL})
    both = {"AGENTIDP_READ_DATABASE_URL": URL, "AGENTIDP_DATABASE_URL": URL}
    assert Settings.from_environment(both).read_database_url == URL


def test_a_statement_ends_before_those_that_wait_for_its_connection_give_up() -> None:
    longest, shortest = Settings.pool_timeout - 2, Settings.statement_timeout + 2
    rule = r"^AGENTIDP_STATEMENT_TIMEOUT must be at least 2 less than AGENTIDP_POOL_TIMEOUT"
    for name, most, beyond in (
        ("AGENTIDP_STATEMENT_TIMEOUT", longest, longest + 1),
        ("AGENTIDP_POOL_TIMEOUT", shortest, shortest - 1),
    ):
        assert Settings.from_environment({name: f"{most:g}"})
        with pytest.raises(ConfigurationError, match=rule):
            Settings.from_environment({name: f"{beyond:g}"})


class TestSecretKeyFile:
    def read(self, path: Path, **further: str) -> bytes | None:
        return Settings.from_environment({"AGENTIDP_SECRET_KEY_FILE": str(path), **further}).secret_key

    def test_of_the_previous_secret(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(f"{SECRET}\n")
        file = {"AGENTIDP_SECRET_KEY_PREVIOUS_FILE": str(tmp_path / "key")}
        settings = Settings.from_environment(file)
        assert (settings.secret_key, settings.secret_key_previous) == (None, SECRET.encode())
        rule = r"^set AGENTIDP_SECRET_KEY_PREVIOUS or AGENTIDP_SECRET_KEY_PREVIOUS_FILE, not both$"
        with pytest.raises(ConfigurationError, match=rule):
            Settings.from_environment(file | {"AGENTIDP_SECRET_KEY_PREVIOUS": SECRET})

    def test_is_read_without_the_white_space_around(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(f"  {SECRET}\n")
        assert self.read(tmp_path / "key") == SECRET.encode()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "AGENTIDP_SECRET_KEY_FILE cannot be read: No such file or directory"),
            (b"hush", "AGENTIDP_SECRET_KEY_FILE must hold at least 32 characters"),
            (b"", "AGENTIDP_SECRET_KEY_FILE must hold at least 32 characters"),
            (b" " * 40, "AGENTIDP_SECRET_KEY_FILE must hold at least 32 characters"),
            (b"\xff" * 40, "AGENTIDP_SECRET_KEY_FILE must hold text in UTF-8"),
        ],
    )
    def test_that_is_no_good(self, tmp_path: Path, content: bytes | None, message: str) -> None:
        if content is not None:
            (tmp_path / "key").write_bytes(content)
        with pytest.raises(ConfigurationError) as refused:
            self.read(tmp_path / "key")
        assert str(refused.value).startswith(message)
        assert "hush" not in str(refused.value)

    def test_and_the_secret_itself(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"^set AGENTIDP_SECRET_KEY or AGENTIDP_SECRET_KEY_FILE, not both"):
            self.read(tmp_path / "key", AGENTIDP_SECRET_KEY=SECRET)


def test_there_is_no_default_secret_and_no_default_database_for_a_bare_application() -> None:
    with pytest.raises(ConfigurationError, match=r"^AGENTIDP_DATABASE_URL is not set"):
        create_app(Settings.from_environment({}))
    with pytest.raises(ConfigurationError, match=r"^AGENTIDP_SECRET_KEY"):
        create_app(Settings.from_environment({"AGENTIDP_DATABASE_URL": URL}))


def test_the_environment_is_read_where_no_settings_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTIDP_TOKEN_TTL", "soon")
    with pytest.raises(ConfigurationError, match=r"^AGENTIDP_TOKEN_TTL must be a whole number from 60 to 86400"):
        create_app()


def test_a_user_without_a_home_directory_needs_a_data_directory_only_for_the_embedded_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for function in ("getuid", "geteuid"):
        monkeypatch.setattr(os, function, lambda: 2_000_000_000)
    settings = Settings.from_environment({"AGENTIDP_DATABASE_URL": URL, "AGENTIDP_SECRET_KEY": SECRET})
    assert settings.database_url == URL
    # agentidp serve cannot write to this directory, and asks the operator to set AGENTIDP_DATA_DIR.
    assert Settings.from_environment({}).data_dir == Path("/nonexistent/agentidp")
