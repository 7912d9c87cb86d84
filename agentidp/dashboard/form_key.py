"""Keys of forms: a form with a key creates an object once, even if it is sent several times.

The transaction that creates the object consumes the key and stores the object's id with it. A form that was sent
before, such as by a double click, gets a page that leads to the object. The browser's key never becomes an id.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Flask, Response, g, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.forms import Form
from agentidp.db.organization import Transaction
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import Member

NAME = "form_key"
"""Name of the hidden field with a form's key."""

LIFETIME = timedelta(hours=24)
"""Maximum age of a form. The form's key is stored for this time, so that the form creates nothing twice."""

_KEY = re.compile(r"([0-9]{1,10})\.[0-9a-f]{32}", re.ASCII)
"""Regular expression for a key: the time at which the form was opened, in seconds since 1970, and 128 random bits."""


class AlreadySent(Exception):
    """The form was sent before, so nothing was created now.

    :param message: what the form did when it was sent first; ``{id}`` stands for the id of the object.
    :param path: the path of the object's page, below the dashboard's path, also with ``{id}``.
    :param label: the text of the link to this page.
    """

    def __init__(self, message: str, path: str, label: str) -> None:
        super().__init__(message)
        self.message, self.path, self.label = message, path, label


def init_app(app: Flask) -> None:
    """Register the page that is shown if a form was sent before."""

    def render(error: AlreadySent) -> Response:
        return pages.page("already_sent.html", 409, message=error.message, path=error.path, label=error.label)

    app.register_error_handler(AlreadySent, render)


def new_form_key(at: datetime) -> str:
    """Return a key for a form that is shown at *at*."""
    return f"{int(at.timestamp())}.{secrets.token_hex(16)}"


def open_form(caller: Caller, fields: Iterable[Member]) -> Form:
    """Return the form that the request has sent (:func:`read_form`) or, unless its method is POST, a new form."""
    if request.method == "POST":
        return read_form(fields)
    return Form(forms.default_values(fields), form_key=new_form_key(caller.at))


def read_form(fields: Iterable[Member]) -> Form:
    """Return the form that the request has sent. Raise :exc:`ValidationError` if its key is malformed or expired."""
    form_key = request.form.get(NAME, "")
    # The key may be from the future, because the clock of the server that opened the form may be ahead.
    if not -LIFETIME < g.at - _read_opening(form_key) < LIFETIME:
        max_hours = LIFETIME // timedelta(hours=1)
        raise ValidationError(f"This form was opened more than {max_hours} hours ago. Open its page again.")
    return Form(forms.read_fields(fields), form_key=form_key)


def _read_opening(form_key: str) -> datetime:
    """Return the time at which the form with a key was opened, or raise :exc:`ValidationError`."""
    key_match = _KEY.fullmatch(form_key)
    if key_match is None:
        raise ValidationError("This form is not valid. Open its page again.")
    return datetime.fromtimestamp(int(key_match[1]), UTC)


def _compute_digest(form: Form) -> bytes:
    """Return the stored hash of a form's key. Forms of two paths have different hashes even if their keys are equal."""
    # The word "form" keeps this hash different from the hashes of assertions, proofs and links in used_identifiers.
    return hashlib.sha256(json.dumps(["form", request.path, form.form_key]).encode()).digest()


@contextlib.contextmanager
def begin_creation(caller: Caller, scope: str, form: Form, repeat_error: AlreadySent) -> Iterator[Transaction]:
    """Open a transaction by :func:`agentidp.dashboard.session.begin_change`, and consume the form's key.

    The block must create an object and call :func:`store_created_id`. If the block raises an error, the form can be
    sent again. If the key was consumed before, raise *repeat_error*. Wait for a concurrent request with the same key.
    """
    with session.begin_change(caller, scope) as transaction:
        expires_at = _read_opening(form.form_key) + LIFETIME
        [key_row] = transaction.fetch("forms/consume_key", digest=_compute_digest(form), expires_at=expires_at)
        if key_row.created_id is not None:
            message, path = (text.format(id=key_row.created_id) for text in (repeat_error.message, repeat_error.path))
            raise AlreadySent(message, path, repeat_error.label)
        yield transaction


def store_created_id(transaction: Transaction, form: Form, created_id: UUID) -> None:
    """Store the id of the object that the form has created, so that sending the form again leads to this object."""
    transaction.fetch("forms/remember_created", digest=_compute_digest(form), created_id=created_id)
