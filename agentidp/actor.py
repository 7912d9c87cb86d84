"""Who changes something, as the audit trail records it."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

TYPES = ("agent", "session", "person", "operator", "system", "anonymous")
"""An agent with a token; an agent that is signed in to the dashboard; a person who is signed in there; a person on the
command line; the service itself; somebody who failed to sign in."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something.

    :param type: one of :data:`TYPES`.
    :param name: the id of the agent; who the person is at the OpenID Connect provider; the name of the operating
        system's user on the command line.
    :param client_address: from where, if it is a request.
    :param request_id: the request's id, if it is one.
    :param display_name: what people call the person.
    """

    type: str
    name: str
    client_address: str | None = None
    request_id: str | None = None
    display_name: str | None = None


SYSTEM = Actor("system", "agentidp")


def operator() -> Actor:
    """Whoever runs this process, by the operating system; with the user who has called sudo, if there is one.

    Only sudo can be relied on to set ``SUDO_USER``, so the user of the process is always named as well.
    """
    user_id = os.geteuid()
    try:
        user = pwd.getpwuid(user_id).pw_name
    except KeyError:
        # In a container, for example.
        user = f"uid {user_id}"
    called = os.environ.get("SUDO_USER", "")
    name = f"{user} (sudo by {called})" if called and called != user else user
    # A name that is no text would be refused by the database.
    return Actor("operator", name.encode("ascii", "backslashreplace").decode()[:200])
