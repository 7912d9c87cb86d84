"""The result of a check."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, FAILED = "ok", "warning", "failed"


class Result(NamedTuple):
    """The result of one check of ``agentidp check``.

    :param check: the name of the check.
    :param status: ``ok``, ``warning`` or ``failed``.
    :param message: the facts, and unless the status is ``ok``, advice.
    """

    check: str
    status: str
    message: str
