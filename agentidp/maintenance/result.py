"""What one check has found."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, FAILED = "ok", "warning", "failed"


class Result(NamedTuple):
    """One line of ``agentidp check``.

    :param check: what was checked.
    :param status: ``ok``, ``warning`` or ``failed``.
    :param message: what was found, and unless it is ok, what to do.
    """

    check: str
    status: str
    message: str
