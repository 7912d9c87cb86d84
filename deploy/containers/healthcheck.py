#!/opt/agentidp/bin/python -IS
"""Exit with 0 if the service in this container responds to /healthz, or to the path in the argument, with 200."""

import http.client
import os
import socket
import sys

TIMEOUT = 5
"""Maximum seconds for the response. If the database does not respond, /healthz may wait until a thread is free."""


def fetch_status(path: str) -> int:
    """Return the status of the response to a request to the address in ``AGENTIDP_BIND``."""
    bind = os.environ.get("AGENTIDP_BIND", f"127.0.0.1:{os.environ.get('PORT') or 3000}")
    host, _, port = bind.rpartition(":")
    # A service that listens on every address also listens on the loopback address.
    connection = http.client.HTTPConnection("localhost", None if host == "unix" else int(port), timeout=TIMEOUT)
    if host == "unix":
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT)
        connection.sock.connect(port)
    connection.request("GET", path)
    return connection.getresponse().status


try:
    sys.exit(fetch_status((sys.argv[1:] or ["/healthz"])[0]) != 200)
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{type(error).__name__}: {error}")
