"""The result of a check."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, FAILED = "ok", "warning", "failed"


class Result(NamedTuple):
    """The result of one check of ``agentidp check``. Unless the status is ``ok``, the message has advice."""

    check: str
    status: str
    message: str
