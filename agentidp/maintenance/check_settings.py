"""Reports all invalid environment variables, and variables of AgentIdP's prefix that do not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from agentidp import config
from agentidp.config import ConfigurationError, Settings, oidc
from agentidp.maintenance.result import FAILED, OK, WARNING, Result

_NAME = re.compile(r"\b(?:AGENTIDP_[A-Z_]+|PORT|WEB_CONCURRENCY)\b")

OF_OTHERS = {"AGENTIDP_BIND", "AGENTIDP_IMAGE"}
"""Variables that are read by gunicorn's configuration or compose.yaml, and not by ``agentidp.config``."""


def names_of_settings() -> set[str]:
    """Return all variables that the source code of ``agentidp.config`` reads. A separate list would go stale."""
    sources = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (config, oidc)]
    return set(_NAME.findall("\n".join(sources))) | OF_OTHERS


def check_settings(environ: Mapping[str, str]) -> tuple[Settings | None, set[str], list[Result]]:
    """Check every setting.

    :returns: the settings read without the invalid variables, or None if that is impossible; the names of the invalid
        variables; the results.
    """
    left = {name: value for name, value in environ.items() if value != ""}
    wrong: set[str] = set()
    results = list(_unknown(left))
    while True:
        try:
            settings = Settings.from_environment(left)
        except ConfigurationError as error:
            named = set(_NAME.findall(str(error)))
            if not named & wrong:
                results.append(Result("settings", FAILED, str(error)))
            # A name that ends with an underscore stands for all variables with that prefix.
            prefixes = tuple(name for name in named if name.endswith("_"))
            culprits = {name for name in left if name in named or name.startswith(prefixes)}
            if not culprits:
                return None, wrong | named, results
            wrong |= culprits
            left = {name: value for name, value in left.items() if name not in culprits}
            continue
        if not results:
            count = len(names_of_settings() & left.keys())
            results.append(Result("settings", OK, f"{count} set, and all of them valid"))
        return settings, wrong, results


def _unknown(environ: Mapping[str, str]) -> Iterator[Result]:
    known = names_of_settings()
    for name in sorted(environ):
        if name.startswith("AGENTIDP_") and name not in known and not name.startswith("AGENTIDP_TEST_"):
            yield Result(
                "settings", WARNING, f"{name} is no setting, so it has no effect: correct its name or remove it"
            )
