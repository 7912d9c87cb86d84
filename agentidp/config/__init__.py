"""Reads and checks all settings from environment variables. An invalid setting prevents the start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
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
"""Maximum lifetime of a token in seconds. A replaced signing key stays in the JWKS for at least as long."""

LEEWAY = 10
"""Maximum seconds by which a server's clock may differ from the database's clock before the server refuses requests."""

MAX_AUDIT_DAYS = 36_500
"""Maximum days for which audit events are kept: about 100 years. Longer times could exceed Python's range of dates."""

EXCHANGE_MARGIN = 1.0
"""Maximum seconds beyond the statement timeout that the service waits for the database's response."""

OLDEST_POSTGRESQL = 15
"""Minimum major version of PostgreSQL."""

MIN_SECRET_LENGTH = 32
DEFAULT_PORT = 3000
DEFAULT_ISSUER = f"http://localhost:{DEFAULT_PORT}"


def default_data_dir() -> Path:
    """Return the directory of the embedded database if ``AGENTIDP_DATA_DIR`` is not set.

    For root, the directory is in /var/lib, because PostgreSQL then runs as an account that cannot read root's home.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/agentidp")
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    try:
        return Path(base).expanduser() / "agentidp"
    except RuntimeError:
        # The user has no home directory. Everything except the embedded database works without one.
        return Path("/nonexistent/agentidp")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a process, created by :meth:`from_environment`.

    Times are in seconds. ``database_url`` and ``secret_key`` are None if their variables are not set. In their place,
    :func:`agentidp.server.runtime.open_instance` sets the URL of the embedded PostgreSQL, and the secret from its file
    in ``data_dir``. ``secret_key_previous`` is only used for decryption.
    """

    database_url: str | None = None
    read_database_url: str | None = None
    pg_bindir: Path | None = None
    data_dir: Path
    secret_key: bytes | None = None
    secret_key_previous: bytes | None = None
    issuer: str = DEFAULT_ISSUER
    insecure_http: str = "refuse"
    token_ttl: int = 3600
    tokens_per_agent_and_minute: int = 6000
    signing_alg: str = "ES256"
    max_agents: int = 20_000
    pool_max_size: int = 8
    pool_timeout: float = 5.0
    statement_timeout: float = 3.0
    log_level: str = "INFO"
    log_format: str = "auto"
    port: int = DEFAULT_PORT
    web_concurrency: int = 2
    trusted_proxies: int = 0
    metrics_address: str | None = None
    traces: str = "off"
    audit_days: int = 0
    watch: str = "on"
    watch_interval: int = 300
    alert_networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    issuer_networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    fast_path: str = "on"
    oidc: OidcSettings | None = None

    @property
    def is_insecure(self) -> bool:
        """Return whether secrets and tokens are sent over a network without encryption."""
        url = urlsplit(self.issuer)
        return url.scheme == "http" and url.hostname not in LOOPBACK_HOSTS

    @property
    def resource(self) -> str:
        """Return the resource identifier of AgentIdP's own API.

        The identifier is the ``aud`` of tokens for the API (RFC 9068 section 2.2, RFC 8707), and the ``resource`` in
        the API's metadata (RFC 9728).
        """
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
        """Return all values of ``aud`` that this server accepts. No organization can register them as resources."""
        return self.resource, self.dashboard, self.dashboard_sign_in

    @property
    def allows_loopback_issuers(self) -> bool:
        """Return whether the issuer networks include a loopback address, so that loopback issuers need no TLS."""
        loopback_addresses = ip_address("127.0.0.1"), ip_address("::1")
        return any(address in network for network in self.issuer_networks or () for address in loopback_addresses)

    @property
    def primary_url(self) -> str:
        """Return the database's URL.

        :raises ConfigurationError: the settings name no database.
        """
        if self.database_url is None:
            raise ConfigurationError(
                "AGENTIDP_DATABASE_URL is not set: set it, or start with `agentidp serve`, "
                "which runs its own PostgreSQL"
            )
        return self.database_url

    @property
    def instance_secret(self) -> bytes:
        """Return the instance secret.

        :raises ConfigurationError: the settings contain no secret.
        """
        if self.secret_key is None:
            raise ConfigurationError("AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set")
        return self.secret_key

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        :param environ: the environment variables. None means those of the process. Empty variables count as unset.
        :raises ConfigurationError: a setting is invalid. The message contains the variable's name and the broken rule.
        """
        env = {setting: value for setting, value in (os.environ if environ is None else environ).items() if value != ""}
        settings = cls(
            database_url=_read_postgres_url(env, "AGENTIDP_DATABASE_URL"),
            read_database_url=_read_postgres_url(env, "AGENTIDP_READ_DATABASE_URL"),
            pg_bindir=_directory(env, "AGENTIDP_PG_BINDIR"),
            data_dir=Path(env.get("AGENTIDP_DATA_DIR") or default_data_dir()).absolute(),
            secret_key=_read_secret_key(env, "AGENTIDP_SECRET_KEY", "AGENTIDP_SECRET_KEY_FILE"),
            secret_key_previous=_read_secret_key(
                env, "AGENTIDP_SECRET_KEY_PREVIOUS", "AGENTIDP_SECRET_KEY_PREVIOUS_FILE"
            ),
            issuer=_read_issuer(env),
            insecure_http=_choice(env, "AGENTIDP_INSECURE_HTTP", cls.insecure_http, ("refuse", "allow")),
            token_ttl=_number(env, "AGENTIDP_TOKEN_TTL", cls.token_ttl, MIN_TOKEN_TTL, MAX_TOKEN_TTL),
            tokens_per_agent_and_minute=_number(
                env, "AGENTIDP_TOKENS_PER_AGENT_AND_MINUTE", cls.tokens_per_agent_and_minute, 0, 1_000_000
            ),
            signing_alg=_choice(env, "AGENTIDP_SIGNING_ALG", cls.signing_alg, SIGNING_ALGORITHMS),
            max_agents=_number(env, "AGENTIDP_MAX_AGENTS", cls.max_agents, 1, 1_000_000),
            pool_max_size=_number(env, "AGENTIDP_POOL_MAX_SIZE", cls.pool_max_size, 1, 1000),
            pool_timeout=_seconds(env, "AGENTIDP_POOL_TIMEOUT", cls.pool_timeout, 3, 25),
            statement_timeout=_seconds(env, "AGENTIDP_STATEMENT_TIMEOUT", cls.statement_timeout, 1, 23),
            log_level=_choice(env, "AGENTIDP_LOG_LEVEL", cls.log_level, LOG_LEVELS),
            log_format=_choice(env, "AGENTIDP_LOG_FORMAT", cls.log_format, LOG_FORMATS),
            port=_number(env, "PORT", cls.port, 1, 65_535),
            web_concurrency=_number(env, "WEB_CONCURRENCY", cls.web_concurrency, 1, 256),
            trusted_proxies=_number(env, "AGENTIDP_TRUSTED_PROXIES", cls.trusted_proxies, 0, 10),
            metrics_address=_address(env, "AGENTIDP_METRICS_ADDRESS"),
            traces=_choice(env, "AGENTIDP_TRACES", cls.traces, ("on", "off")),
            audit_days=_number(env, "AGENTIDP_AUDIT_DAYS", cls.audit_days, 0, MAX_AUDIT_DAYS),
            watch=_choice(env, "AGENTIDP_WATCH", cls.watch, ("on", "off")),
            watch_interval=_number(env, "AGENTIDP_WATCH_INTERVAL", cls.watch_interval, 60, 3600),
            alert_networks=_read_networks(env, "AGENTIDP_ALERT_NETWORKS"),
            issuer_networks=_read_networks(env, "AGENTIDP_ISSUER_NETWORKS"),
            fast_path=_choice(env, "AGENTIDP_FAST_PATH", cls.fast_path, ("on", "off")),
            oidc=OidcSettings.from_environment(env),
        )
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


def _number(env: Mapping[str, str], name: str, default: int, minimum: int, maximum: int) -> int:
    value = env.get(name)
    if value is None:
        return default
    # The expression excludes digits of other scripts, underscores and blanks, which \d or int() would accept.
    if not re.fullmatch(r"[0-9]{1,9}", value) or not minimum <= int(value) <= maximum:
        raise ConfigurationError(f"{name} must be a whole number from {minimum} to {maximum}, not {value!r}")
    return int(value)


def _seconds(env: Mapping[str, str], name: str, default: float, minimum: int, maximum: int) -> float:
    return float(_number(env, name, int(default), minimum, maximum))


def _choice(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = env.get(name, default)
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _read_networks(env: Mapping[str, str], name: str) -> tuple[IPv4Network | IPv6Network, ...] | None:
    setting_value = env.get(name)
    if not setting_value:
        return None
    try:
        return tuple(ip_network(network_text.strip()) for network_text in setting_value.split(","))
    except ValueError:
        raise ConfigurationError(
            f"{name} must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas, not {setting_value!r}"
        ) from None


def _directory(env: Mapping[str, str], name: str) -> Path | None:
    value = env.get(name)
    if value is None:
        return None
    if not Path(value).is_dir():
        raise ConfigurationError(f"{name} must be an existing directory, not {value!r}")
    return Path(value)


def _address(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name)
    if value is None:
        return None
    if split_address(value) is None:
        raise ConfigurationError(f"{name} must be address:port, for example 127.0.0.1:9464, not {value!r}")
    return value


def _read_postgres_url(env: Mapping[str, str], name: str) -> str | None:
    database_url = env.get(name)
    if database_url is None:
        return None
    try:
        scheme = urlsplit(database_url).scheme
    except ValueError:
        scheme = ""
    # The error message does not contain the value, because a URL may contain a password.
    if scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(f"{name} must be a URL that begins with postgresql://")
    return database_url


def _read_issuer(env: Mapping[str, str]) -> str:
    issuer = env.get("AGENTIDP_ISSUER")
    if issuer is None:
        return f"http://localhost:{_number(env, 'PORT', DEFAULT_PORT, 1, 65_535)}"
    may_be_http = env.get("AGENTIDP_INSECURE_HTTP") == "allow"
    if issuer.endswith("/") or not is_issuer(issuer, may_be_http=may_be_http):
        raise ConfigurationError(
            "AGENTIDP_ISSUER must be an https URL without credentials, query, fragment and closing slash "
            "(RFC 8414 section 2; http is for localhost only, or for a trial in a network that you trust "
            "with AGENTIDP_INSECURE_HTTP=allow: everyone on the way can then read secrets and tokens)"
        )
    return issuer


def _read_secret_key(env: Mapping[str, str], setting: str, setting_of_file: str) -> bytes | None:
    setting_name, secret_key = read_secret(env, setting, setting_of_file)
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
