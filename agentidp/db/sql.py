"""The loader of the statements in ``sql/``."""

from __future__ import annotations

import functools
from pathlib import Path

from agentidp.paths import shipped_directory


def sql_directory() -> Path:
    """Where the .sql files are: beside the modules in an installed copy, at the top level in a checkout."""
    return shipped_directory("sql")


@functools.cache
def load_sql(name: str) -> str:
    """The statement in ``sql/<name>.sql``, without its comments: the server would read them each time it is sent.

    :param name: path without ending, for example ``analytics/token_trend``.
    :raises FileNotFoundError: there is no such file.
    """
    lines = (sql_directory() / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))
