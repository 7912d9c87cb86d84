"""The key of a form that creates something with a secret that is shown once: it becomes the id of what is created.

A reload sends the same form again. The id exists then, so nothing is created a second time. That needs no script, and
nothing is stored for it. So it does not help if what was created has been deleted meanwhile, as an alert target can be.
"""

from __future__ import annotations

import uuid
from uuid import UUID

from flask import Response, request

from agentidp.dashboard import pages
from agentidp.http.errors import ValidationError

NAME = "form_key"
"""Of the hidden field."""


def new_form_key() -> UUID:
    """The key of a form that is about to be shown."""
    return uuid.uuid4()


def sent_form_key() -> UUID:
    """The key of the form that was sent. A page of an earlier release has sent none, and gets one.

    It becomes the id of what is created, so it must be a random one: the nil UUID stands for the organization.

    :raises ValidationError: it is no key.
    """
    try:
        key = UUID(request.form[NAME]) if NAME in request.form else uuid.uuid4()
    except ValueError:
        key = None
    if key is None or key.version != 4:
        raise ValidationError("This form is not valid. Open its page again.")
    return key


def sent_before(message: str, *, path: str, label: str) -> Response:
    """The page that says that a form was sent before.

    :param path: below the dashboard's: of the page that shows what was created, whose link is *label*.
    """
    return pages.page("sent_before.html", 409, message=message, path=path, label=label)
