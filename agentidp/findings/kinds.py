"""The kinds of findings by name.

The names are :data:`agentidp.alerts.state_change.KINDS`, because alert targets, which are below this room, choose among
them. The module of this package with the name of a kind has its rule.
"""

from __future__ import annotations

from importlib import import_module

from agentidp.alerts import state_change
from agentidp.db.sql import Call
from agentidp.findings.finding import Finding, Kind

KINDS: dict[str, Kind] = {name: import_module(f"agentidp.findings.{name}").KIND for name in state_change.KINDS}

_FORMER = Kind(call=lambda _: Call("", {}), findings=lambda *_: [])


def kind_of(finding: Finding) -> Kind:
    """Return the kind of a finding. A stored finding can be of a kind that is no longer computed."""
    return KINDS.get(finding.kind, _FORMER)
