"""Keys of forms: a form with a key creates an object once, even if it is sent several times.

A reload or a double click sends a form again. The transaction that creates the object consumes the key, as client
assertions are consumed, and stores the id of the object with it. A repeated form gets a page that leads to the object.

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

from flask import Response, g, request

from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.db.organization import Transaction
from agentidp.http.errors import ValidationError

NAME = "form_key"
"""Name of the hidden field."""

LIFETIME = timedelta(hours=24)
"""Age at which a form is refused. Its key is stored until then, so no form creates anything twice."""

_KEY = re.compile(r"([0-9]{1,10})\.[0-9a-f]{32}", re.ASCII)
"""Seconds since 1970 at which the form was opened, and 128 random bits."""


@dataclass(frozen=True, slots=True)
class FormKey:
    """The key of a form that was sent.

    :param text: the content of the hidden field.
    :param digest: the stored hash. Its input begins with "form", unlike the input for assertions, proofs and links.
    :param expires_at: the instant from which the key is refused.
    """

    text: str
    digest: bytes
    expires_at: datetime


class SentBefore(Exception):
    """The form was sent before, so nothing was created now.

    :param created_id: the id of the object that the form created. The object may have been deleted meanwhile.
    """

    def __init__(self, created_id: UUID) -> None:
        super().__init__(created_id)
        self.created_id = created_id


def new_form_key(at: datetime) -> str:
    """Return a key for a form that is about to be shown.

    :param at: the current time, timezone-aware.
    """
    return f"{int(at.timestamp())}.{secrets.token_hex(16)}"


def read_form_key() -> FormKey:
    """Return the key of the form in the current request. The same text at another address is another key.

    :raises ValidationError: the key is missing, malformed or expired.
    """
    sent = request.form.get(NAME, "")
    matched = _KEY.fullmatch(sent)
    if matched is None:
        raise ValidationError("This form is not valid. Open its page again.")
    opened_at, at = datetime.fromtimestamp(int(matched[1]), UTC), g.at
    # A server whose clock is ahead may have opened the form.
    if not -LIFETIME < at - opened_at < LIFETIME:
        hours = LIFETIME // timedelta(hours=1)
        raise ValidationError(f"This form was opened more than {hours} hours ago. Open its page again.")
    digest = hashlib.sha256(json.dumps(["form", request.path, sent]).encode()).digest()
    return FormKey(sent, digest, opened_at + LIFETIME)


@contextlib.contextmanager
def begin_creation(caller: Caller, scope: str, key: FormKey) -> Iterator[Transaction]:
    """Open a transaction as :func:`agentidp.dashboard.session.begin_change` does, and consume the key. The block must
    create an object and call :func:`store_created_id`. If the block raises, the key stays valid, so the form may be
    sent again.

    :raises SentBefore: the key was consumed before. Of two concurrent transactions, one waits for the other.
    """
    with session.begin_change(caller, scope) as transaction:
        [consumed] = transaction.fetch("forms/consume_key", digest=key.digest, expires_at=key.expires_at)
        if consumed.created_id is not None:
            raise SentBefore(consumed.created_id)
        yield transaction


def store_created_id(transaction: Transaction, key: FormKey, created_id: UUID) -> None:
    """Store the id of the object that the form created."""
    transaction.fetch("forms/remember_created", digest=key.digest, created_id=created_id)


def sent_before(message: str, *, path: str, label: str) -> Response:
    """Return the page that says that a form was sent before.

    :param path: the path below the dashboard's path of the page that shows the created object.
    :param label: the text of the link to this page.
    """
    return pages.page("sent_before.html", 409, message=message, path=path, label=label)
