"""The kinds of findings by name. Each kind is the ``KIND`` of the module of this package that has its name.

The names are in :mod:`agentidp.alerts.state_change`, because alert targets, which are in a lower layer, choose kinds.
"""

from __future__ import annotations

from importlib import import_module

from agentidp.alerts import state_change
from agentidp.db.sql import Call
from agentidp.findings.finding import Finding, Kind

KINDS: dict[str, Kind] = {name: import_module(f"agentidp.findings.{name}").KIND for name in state_change.KINDS}

_FORMER = Kind(lambda _: Call("", {}), lambda *_: [])


def kind_of(finding: Finding) -> Kind:
    """Return the kind of a finding, even of a stored finding whose kind is no longer computed."""
    return KINDS.get(finding.kind, _FORMER)
