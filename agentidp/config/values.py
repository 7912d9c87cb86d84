"""Helpers for reading settings, and the error for invalid settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")

_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:,/ ]*)):(?P<port>[0-9]{1,5})")


class ConfigurationError(Exception):
    """A setting is missing or invalid. The message is one sentence for the operator."""


def is_issuer(value: str, *, may_be_http: bool = False) -> bool:
    """Return whether *value* is an issuer: an https URL without credentials, query and fragment (RFC 8414 section 2).

    :param may_be_http: whether http is allowed for every host. By default, it is allowed for loopback hosts.
    """
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        return False
    has_allowed_parts = bool(host) and "@" not in url.netloc and "?" not in value and "#" not in value
    is_secure = url.scheme == "https" or (url.scheme == "http" and (host in LOOPBACK_HOSTS or may_be_http))
    return has_allowed_parts and is_secure and re.fullmatch(r"[!-~]+", value) is not None


def read_secret(env: Mapping[str, str], setting: str, setting_of_file: str) -> tuple[str, str | None]:
    """Read a secret from the variable *setting*, or from the file that the variable *setting_of_file* names.

    :returns: the name of the variable that is set, and the secret. The secret is None if neither variable is set.
    :raises ConfigurationError: both variables are set, or the file cannot be read.
    """
    secret, secret_path = env.get(setting), env.get(setting_of_file)
    if secret is not None and secret_path is not None:
        raise ConfigurationError(f"set {setting} or {setting_of_file}, not both")
    if secret_path is None:
        return setting, secret
    try:
        return setting_of_file, Path(secret_path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{setting_of_file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{setting_of_file} must hold text in UTF-8") from None


def split_address(address: str) -> tuple[str, int] | None:
    """Return the host and the port of ``host:port``, or None for another form. The host may be empty."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) <= 65_535:
        return None
    return match["ipv6"] or match["host"], int(match["port"])
