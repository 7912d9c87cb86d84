"""Actors, to whom the audit trail attributes changes."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

TYPES = ("agent", "session", "person", "operator", "system", "anonymous")
"""The types of actors, in this order: an agent with a token, an agent that is signed in to the dashboard, a person who
is signed in to the dashboard, a person on the command line, the service itself, and a client that failed to sign in."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change: an agent, a person or a process.

    :param type: one of :data:`TYPES`.
    :param name: the agent's id, the person's identity at the OpenID Connect provider, the operating system's user name
        on the command line, ``agentidp`` for the service itself, or ``anonymous``.
    :param display_name: the person's name at the OpenID Connect provider; None for other actors.
    """

    type: str
    name: str
    client_address: str | None = None
    request_id: str | None = None
    display_name: str | None = None


SYSTEM = Actor("system", "agentidp")


def find_operator() -> Actor:
    """Return the actor for a command, named after the operating system's user. ``sudo`` adds ``(sudo by NAME)``."""
    user_id = os.geteuid()
    try:
        account_name = pwd.getpwuid(user_id).pw_name
    except KeyError:
        # The user has no name in the operating system, for example in a container.
        account_name = f"uid {user_id}"
    # SUDO_USER is added to the user's name and does not replace it, because any program can set this variable.
    sudo_user = os.environ.get("SUDO_USER", "")
    actor_name = f"{account_name} (sudo by {sudo_user})" if sudo_user and sudo_user != account_name else account_name
    # The database refuses a name that is not valid UTF-8.
    return Actor("operator", actor_name.encode("ascii", "backslashreplace").decode()[:200])
