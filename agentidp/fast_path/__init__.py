"""Replacements for parts of gunicorn and Flask that take less processor time. The service also runs without them.

Each replacement uses private parts of its library, so it is used only with the library versions in :data:`TESTED`.
Otherwise ``agentidp/server/wiring.py`` uses the libraries' own parts. No other module imports this package, so the
directory can be deleted. A row of the table without an entry in the second column is a part of the module above it,
whose figure includes the figure of the part.

| module or part | replaces | processor time per token without it |
|---|---|---|
| ``worker.py`` | gunicorn's threaded worker | + 33 % |
| ``worker.cache_settings`` | | + 6 %, included in the 33 % |
| ``PollingWorker._keepalive_after`` | | + 3 %, included in the 33 % |
| ``environments.py`` | gunicorn's creation of WSGI environments | + 4 %, included in the 33 % |
| ``application.py`` | Flask's path from a request to its view and back | + 25 % |
| ``full_dispatch_request`` | | + 9 %, included in the 25 % |
| ``create_url_adapter``, a dictionary of routes | | + 8 %, included in the 25 % |
| ``FastRequest.stream`` | | + 4 %, included in the 25 % |
| ``send_response`` | | + 3 %, included in the 25 % |
| all | | + 57 % |

The figures compare Python's processor time for a token. A part must save 2 %.
"""

from __future__ import annotations

from importlib.metadata import version

TESTED = {"gunicorn": {"27.0.1"}, "Flask": {"3.1.3"}, "Werkzeug": {"3.1.9"}}
"""Tested versions by library. To add a version, test it and read its changes to the code that this package replaces."""


def list_untested_libraries() -> list[str]:
    """Return the name and the version of each installed library whose version was not tested."""
    installed_versions = {library_name: version(library_name) for library_name in TESTED}
    return [
        f"{library_name} {installed_version}"
        for library_name, installed_version in installed_versions.items()
        if installed_version not in TESTED[library_name]
    ]
