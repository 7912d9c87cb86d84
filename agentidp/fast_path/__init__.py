"""Parts that do what stock parts of gunicorn and Flask do, in less processor time. The service runs without them too.

Each part uses private parts of the library that it replaces. So ``agentidp/server/wiring.py``, the only module that
imports this package, takes these parts if the installed versions are those in :data:`TESTED`, and the stock ones
otherwise. Nothing else changes with it, so this directory can be deleted.

| part | replaces | a token without it |
|---|---|---|
| ``worker.py`` | gunicorn's threaded worker | + 33 % |
| ``environments.py`` | gunicorn's making of WSGI environments | + 10 to 18 %, which is a part of those 33 |
| ``application.py`` | Flask's way from a request to its view and back | + 25 % |
| all | | + 50 to 60 % |

The figures are processor time of Python, measured in alternating rounds on a busy machine. A part must gain 5 %.
"""

from __future__ import annotations

from importlib.metadata import version

TESTED = {"gunicorn": {"27.0.1"}, "Flask": {"3.1.3"}, "Werkzeug": {"3.1.9"}}
"""Exact versions: what another one mends may be in what these parts replace. To add one, read what it changed there and
run the tests with it.
"""


def untested() -> list[str]:
    """What is installed in another version than the tested one, for the log."""
    installed = {name: version(name) for name in TESTED}
    return [f"{name} {found}" for name, found in installed.items() if found not in TESTED[name]]
