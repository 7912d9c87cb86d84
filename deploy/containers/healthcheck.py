#!/opt/agentidp/bin/python -IS
"""Exit with 0 if the service in this container answers: /healthz, or the path that is given, for example /readyz."""

import http.client
import os
import socket
import sys

TIMEOUT = 5
"""Seconds. While the database is silent, /healthz may wait for a thread as long as an exchange with it may take."""


def status_of(path: str) -> int:
    """The status of a request to the address in ``AGENTIDP_BIND``."""
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
    sys.exit(status_of((sys.argv[1:] or ["/healthz"])[0]) != 200)
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{type(error).__name__}: {error}")
