"""The deadlines of a request are nested, in the settings, the files of ``deploy`` and the documentation."""

from __future__ import annotations

import re
from itertools import pairwise

from agentidp.config import EXCHANGE_MARGIN, Settings
from agentidp.db.database import CONNECT_TIMEOUT
from tests.factories import ROOT

EXCHANGE = Settings.statement_timeout + EXCHANGE_MARGIN


def seconds(file: str, pattern: str) -> list[float]:
    """Return the numbers that *pattern* matches in a file. Fail if there are none."""
    values = re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert values, f"{file}: {pattern}"
    return [float(number) for number in values]


def test_the_deadlines_of_a_request() -> None:
    deadlines = {
        "a statement": Settings.statement_timeout,
        "one exchange with the database": EXCHANGE,
        "waiting for a connection": Settings.pool_timeout,
        "nginx": min(seconds("deploy/nginx.conf", r"^ +proxy_read_timeout (\d+)s;$")),
    }
    assert all(inner < outer for inner, outer in pairwise(deadlines.values())), deadlines
    guide = " ".join((ROOT / "docs" / "deployment.md").read_text(encoding="utf-8").split())
    assert " < ".join(f"{name} {value:g} s" for name, value in deadlines.items()) in guide
    [hang] = seconds("deploy/gunicorn.conf.py", r"^timeout = (\d+)$")
    assert f"gunicorn's `timeout` of {hang:g} s ends a worker whose main thread hangs" in guide
    assert f"can wait up to {EXCHANGE:g} seconds for a free thread" in guide


def test_the_deadlines_of_a_health_check() -> None:
    [program] = seconds("deploy/containers/healthcheck.py", r"^TIMEOUT = (\d+)$")
    assert program > EXCHANGE
    for file, pattern in (
        ("Dockerfile", r"^HEALTHCHECK .*--timeout=(\d+)s"),
        ("compose.yaml", r"agentidp-healthcheck.*\n(?:.*\n)??.*timeout: (\d+)s"),
        ("deploy/kubernetes/agentidp.yaml", r"^ +timeoutSeconds: (\d+)$"),
    ):
        assert program < min(seconds(file, pattern)), file


def test_the_deadline_of_a_check() -> None:
    guide = " ".join((ROOT / "docs" / "operating.md").read_text(encoding="utf-8").split())
    assert f"the command waits {CONNECT_TIMEOUT} seconds per address of the database" in guide
