"""Keys of forms: a form with a key creates an object once, even if it is sent several times.

A reload or a double click sends a form again. The transaction that creates the object consumes the key, as client
assertions are consumed, and stores the id of the object with it. A form that was sent already gets a page that leads
to the object.

The browser's key never becomes an id. It decides only whether the form of this address was sent before in the
organization of the session.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Flask, Response, g, request

from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.db.organization import Transaction
from agentidp.http.errors import ValidationError

NAME = "form_key"
"""Name of the hidden field with a form's key."""

LIFETIME = timedelta(hours=24)
"""Maximum age of a form. Until then its key is stored, so that the form creates nothing twice."""

_KEY = re.compile(r"([0-9]{1,10})\.[0-9a-f]{32}", re.ASCII)
"""Regular expression for a key: the time at which the form was opened, in seconds since 1970, and 128 random bits."""


@dataclass(frozen=True, slots=True)
class FormKey:
    """The key of a form, which makes sure that the form creates an object only once.

    :param text: the content of the hidden field.
    :param digest: the stored hash. Its input begins with "form", unlike the input for assertions, proofs and links.
    :param expires_at: the instant from which the key is refused.
    """

    text: str
    digest: bytes
    expires_at: datetime


class AlreadySent(Exception):
    """The form was sent before, so nothing was created now."""

    def __init__(self, message: str, path: str, label: str) -> None:
        super().__init__(message)
        self.message, self.path, self.label = message, path, label


def init_app(app: Flask) -> None:
    """Register the page that is shown if a form was sent before."""

    def render(error: AlreadySent) -> Response:
        return pages.page("already_sent.html", 409, message=error.message, path=error.path, label=error.label)

    app.register_error_handler(AlreadySent, render)


def new_form_key(at: datetime) -> str:
    """Return a key for a form that is about to be shown.

    :param at: the current time, with time zone.
    """
    return f"{int(at.timestamp())}.{secrets.token_hex(16)}"


def read_form_key() -> FormKey:
    """Return the key of the form in the request. The digest includes the path, so equal texts at two paths differ.

    :raises ValidationError: the key is missing, malformed or expired.
    """
    key_text = request.form.get(NAME, "")
    key_match = _KEY.fullmatch(key_text)
    if key_match is None:
        raise ValidationError("This form is not valid. Open its page again.")
    opened_at = datetime.fromtimestamp(int(key_match[1]), UTC)
    # The key may be from the future: the clock of the server that opened the form may be ahead.
    if not -LIFETIME < g.at - opened_at < LIFETIME:
        max_hours = LIFETIME // timedelta(hours=1)
        raise ValidationError(f"This form was opened more than {max_hours} hours ago. Open its page again.")
    digest = hashlib.sha256(json.dumps(["form", request.path, key_text]).encode()).digest()
    return FormKey(key_text, digest, opened_at + LIFETIME)


@contextlib.contextmanager
def begin_creation(
    caller: Caller, scope: str, key: FormKey, *, message: str, path: str, label: str
) -> Iterator[Transaction]:
    """Open a transaction as :func:`agentidp.dashboard.session.begin_change` does, and consume the form's key.

    The block must create an object and call :func:`store_created_id`. If it raises an error, the form can be sent
    again.

    :param message: what the form did when it was sent first; ``{id}`` stands for the id of the object.
    :param path: the path of the object's page, below the dashboard's path, also with ``{id}``.
    :param label: the text of the link to this page.
    :raises AlreadySent: the key was consumed. Of two concurrent transactions, one waits for the other.
    """
    with session.begin_change(caller, scope) as transaction:
        [consumed_rows] = transaction.fetch("forms/consume_key", digest=key.digest, expires_at=key.expires_at)
        if consumed_rows.created_id is not None:
            created_id = consumed_rows.created_id
            raise AlreadySent(message.format(id=created_id), path.format(id=created_id), label)
        yield transaction


def store_created_id(transaction: Transaction, key: FormKey, created_id: UUID) -> None:
    """Store the id of the object that the form has created, so that a second sending leads to it."""
    transaction.fetch("forms/remember_created", digest=key.digest, created_id=created_id)
