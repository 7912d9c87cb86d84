"""Reads and checks all settings from environment variables. An invalid setting prevents the start."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agentidp.config.oidc import OidcSettings
from agentidp.config.values import LOOPBACK_HOSTS, ConfigurationError, is_issuer, read_secret, split_address

__all__ = ["LOOPBACK_HOSTS", "ConfigurationError", "Settings", "split_address"]

SIGNING_ALGORITHMS = ("ES256", "RS256")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("auto", "json", "text")
"""Allowed log formats. ``auto`` means text on a terminal and JSON elsewhere."""

MIN_TOKEN_TTL = 60
"""Minimum lifetime of a token in seconds."""

MAX_TOKEN_TTL = 86_400
"""Maximum lifetime of a token in seconds. A replaced signing key stays in the JWKS for at least this time."""

LEEWAY = 10
"""Maximum seconds by which a server's clock may differ from the database's clock."""

MAX_AUDIT_DAYS = 36_500
"""Maximum days for which audit events are kept. More days could exceed Python's range of dates."""

EXCHANGE_MARGIN = 1.0
"""Maximum seconds beyond the statement timeout that the service waits for the database's response."""

OLDEST_POSTGRESQL = 15
"""Minimum major version of PostgreSQL."""

MIN_SECRET_LENGTH = 32
DEFAULT_PORT = 3000
DEFAULT_ISSUER = f"http://localhost:{DEFAULT_PORT}"


def find_default_data_dir() -> Path:
    """Return the directory of the embedded database if ``AGENTIDP_DATA_DIR`` is not set."""
    # The embedded PostgreSQL does not run as root, but in an account that cannot read root's home.
    if os.geteuid() == 0:
        return Path("/var/lib/agentidp")
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    try:
        return Path(base).expanduser() / "agentidp"
    except RuntimeError:
        # The user has no home directory. With AGENTIDP_DATABASE_URL this does not matter, so no error is raised.
        return Path("/nonexistent/agentidp")


def _setting(name: str, parse: Callable[[str, str], Any], default: Any = None) -> Any:
    """Return the dataclass field for a setting.

    :param name: the name of the environment variable.
    :param parse: returns the setting for the variable's name and value, or raises ``ConfigurationError``.
    """
    return field(default=default, metadata={"read": lambda env: parse(name, env[name]) if name in env else default})


def _number(name: str, default: float, minimum: int, maximum: int) -> Any:
    def parse_number(name: str, value: str) -> float:
        # int() and \d would also accept digits of other scripts, underscores and blanks.
        if not re.fullmatch(r"[0-9]{1,9}", value) or not minimum <= int(value) <= maximum:
            raise ConfigurationError(f"{name} must be a whole number from {minimum} to {maximum}, not {value!r}")
        return type(default)(value)

    return _setting(name, parse_number, default)


def _choice(name: str, default: str, choices: tuple[str, ...]) -> Any:
    def parse_choice(name: str, value: str) -> str:
        if value not in choices:
            raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return value

    return _setting(name, parse_choice, default)


def _parse_networks(name: str, value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(network_text.strip()) for network_text in value.split(","))
    except ValueError:
        raise ConfigurationError(
            f"{name} must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas, not {value!r}"
        ) from None


def _parse_address(name: str, value: str) -> str:
    if split_address(value) is None:
        raise ConfigurationError(f"{name} must be address:port, for example 127.0.0.1:9464, not {value!r}")
    return value


def _parse_postgres_url(name: str, value: str) -> str:
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        scheme = ""
    # The error message does not contain the value, because a URL may contain a password.
    if scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(f"{name} must be a URL that begins with postgresql://")
    return value


def _read_pg_bindir(env: Mapping[str, str]) -> Path | None:
    value = env.get("AGENTIDP_PG_BINDIR")
    if value is not None and not Path(value).is_dir():
        raise ConfigurationError(f"AGENTIDP_PG_BINDIR must be an existing directory, not {value!r}")
    return None if value is None else Path(value)


_PORT = _number("PORT", DEFAULT_PORT, 1, 65_535)


def _read_issuer(env: Mapping[str, str]) -> str:
    issuer = env.get("AGENTIDP_ISSUER")
    if issuer is None:
        return f"http://localhost:{_PORT.metadata['read'](env)}"
    may_be_http = env.get("AGENTIDP_INSECURE_HTTP") == "allow"
    if issuer.endswith("/") or not is_issuer(issuer, may_be_http=may_be_http):
        raise ConfigurationError(
            "AGENTIDP_ISSUER must be an https URL without credentials, query, fragment and closing slash "
            "(RFC 8414 section 2; http is for localhost only, or for a trial in a network that you trust "
            "with AGENTIDP_INSECURE_HTTP=allow: everyone on the way can then read secrets and tokens)"
        )
    return issuer


def _secret_field(name: str, file_variable: str) -> Any:
    def read_secret_key(env: Mapping[str, str]) -> bytes | None:
        setting_name, secret_key = read_secret(env, name, file_variable)
        if secret_key is None:
            return None
        if len(secret_key) < MIN_SECRET_LENGTH:
            raise ConfigurationError(
                f"{setting_name} must hold at least {MIN_SECRET_LENGTH} characters, "
                "for example the output of: openssl rand -base64 48"
            )
        try:
            return secret_key.encode()
        except UnicodeEncodeError:
            # Python turns invalid UTF-8 in the environment into surrogates, which cannot be encoded again.
            raise ConfigurationError(f"{setting_name} must be text in UTF-8") from None

    return field(default=None, metadata={"read": read_secret_key})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a process, created by :meth:`from_environment`.

    Times are in seconds. :func:`agentidp.server.runtime.open_instance` replaces a missing ``database_url`` by the URL
    of the embedded PostgreSQL, and a missing ``secret_key`` by the secret in ``data_dir``. ``secret_key_previous`` is
    only used for decryption.
    """

    database_url: str | None = _setting("AGENTIDP_DATABASE_URL", _parse_postgres_url)
    read_database_url: str | None = _setting("AGENTIDP_READ_DATABASE_URL", _parse_postgres_url)
    pg_bindir: Path | None = field(default=None, metadata={"read": _read_pg_bindir})
    data_dir: Path = field(
        metadata={"read": lambda env: Path(env.get("AGENTIDP_DATA_DIR") or find_default_data_dir()).absolute()}
    )
    secret_key: bytes | None = _secret_field("AGENTIDP_SECRET_KEY", "AGENTIDP_SECRET_KEY_FILE")
    secret_key_previous: bytes | None = _secret_field(
        "AGENTIDP_SECRET_KEY_PREVIOUS", "AGENTIDP_SECRET_KEY_PREVIOUS_FILE"
    )
    issuer: str = field(default=DEFAULT_ISSUER, metadata={"read": _read_issuer})
    insecure_http: str = _choice("AGENTIDP_INSECURE_HTTP", "refuse", ("refuse", "allow"))
    token_ttl: int = _number("AGENTIDP_TOKEN_TTL", 3600, MIN_TOKEN_TTL, MAX_TOKEN_TTL)
    tokens_per_agent_and_minute: int = _number("AGENTIDP_TOKENS_PER_AGENT_AND_MINUTE", 6000, 0, 1_000_000)
    signing_alg: str = _choice("AGENTIDP_SIGNING_ALG", "ES256", SIGNING_ALGORITHMS)
    max_agents: int = _number("AGENTIDP_MAX_AGENTS", 20_000, 1, 1_000_000)
    pool_max_size: int = _number("AGENTIDP_POOL_MAX_SIZE", 8, 1, 1000)
    pool_timeout: float = _number("AGENTIDP_POOL_TIMEOUT", 5.0, 3, 25)
    statement_timeout: float = _number("AGENTIDP_STATEMENT_TIMEOUT", 3.0, 1, 23)
    log_level: str = _choice("AGENTIDP_LOG_LEVEL", "INFO", LOG_LEVELS)
    log_format: str = _choice("AGENTIDP_LOG_FORMAT", "auto", LOG_FORMATS)
    port: int = _PORT
    web_concurrency: int = _number("WEB_CONCURRENCY", 2, 1, 256)
    trusted_proxies: int = _number("AGENTIDP_TRUSTED_PROXIES", 0, 0, 10)
    metrics_address: str | None = _setting("AGENTIDP_METRICS_ADDRESS", _parse_address)
    traces: str = _choice("AGENTIDP_TRACES", "off", ("on", "off"))
    audit_days: int = _number("AGENTIDP_AUDIT_DAYS", 0, 0, MAX_AUDIT_DAYS)
    watch: str = _choice("AGENTIDP_WATCH", "on", ("on", "off"))
    watch_interval: int = _number("AGENTIDP_WATCH_INTERVAL", 300, 60, 3600)
    alert_networks: tuple[IPv4Network | IPv6Network, ...] | None = _setting("AGENTIDP_ALERT_NETWORKS", _parse_networks)
    issuer_networks: tuple[IPv4Network | IPv6Network, ...] | None = _setting(
        "AGENTIDP_ISSUER_NETWORKS", _parse_networks
    )
    fast_path: str = _choice("AGENTIDP_FAST_PATH", "on", ("on", "off"))
    oidc: OidcSettings | None = field(default=None, metadata={"read": OidcSettings.from_environment})

    @property
    def is_insecure(self) -> bool:
        """Return whether secrets and tokens are sent over a network without encryption."""
        url = urlsplit(self.issuer)
        return url.scheme == "http" and url.hostname not in LOOPBACK_HOSTS

    @property
    def resource(self) -> str:
        """Return the resource identifier of AgentIdP's own API (RFC 8707): the ``aud`` of tokens for this API."""
        return f"{self.issuer}/api/v1"

    @property
    def dashboard(self) -> str:
        """Return the URL of the dashboard, which is the ``aud`` of session tokens."""
        return f"{self.issuer}/dashboard"

    @property
    def dashboard_sign_in(self) -> str:
        """Return the URL of the dashboard's sign-in page, which is the ``aud`` of the tokens in sign-in links."""
        return f"{self.dashboard}/sign-in"

    @property
    def own_audiences(self) -> tuple[str, ...]:
        """Return all values of ``aud`` that this server itself accepts. No organization can register them."""
        return self.resource, self.dashboard, self.dashboard_sign_in

    @property
    def allows_loopback_issuers(self) -> bool:
        """Return whether ``issuer_networks`` includes a loopback address. Issuers there need no TLS."""
        loopback_addresses = ip_address("127.0.0.1"), ip_address("::1")
        return any(address in network for network in self.issuer_networks or () for address in loopback_addresses)

    @property
    def primary_url(self) -> str:
        """Return the database's URL, or raise ``ConfigurationError`` if no URL is set."""
        if self.database_url is None:
            raise ConfigurationError(
                "AGENTIDP_DATABASE_URL is not set: set it, or start with `agentidp serve`, "
                "which runs its own PostgreSQL"
            )
        return self.database_url

    @property
    def instance_secret(self) -> bytes:
        """Return the instance secret, or raise ``ConfigurationError`` if no secret is set."""
        if self.secret_key is None:
            raise ConfigurationError("AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set")
        return self.secret_key

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        :param environ: the environment variables. None means those of the process. Empty variables count as unset.
        :raises ConfigurationError: a setting is invalid.
        """
        all_variables = os.environ if environ is None else environ
        non_empty_variables = {variable: value for variable, value in all_variables.items() if value != ""}
        settings = cls(**{setting.name: setting.metadata["read"](non_empty_variables) for setting in fields(cls)})
        settings._check()
        return settings

    def _check(self) -> None:
        if self.statement_timeout + EXCHANGE_MARGIN >= self.pool_timeout:
            raise ConfigurationError(
                "AGENTIDP_STATEMENT_TIMEOUT must be at least 2 less than AGENTIDP_POOL_TIMEOUT, "
                "so that a slow statement ends before those that wait for its connection give up"
            )
        if self.read_database_url and not self.database_url:
            raise ConfigurationError("AGENTIDP_READ_DATABASE_URL needs AGENTIDP_DATABASE_URL")
