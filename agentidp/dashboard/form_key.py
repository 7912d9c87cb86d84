"""The key of a form that creates something: the form creates it once, however often it is sent.

A reload, or a click in a hurry, sends the same form again. The transaction that creates consumes the key, as the
identifier of a client assertion is consumed, and remembers the id of what it has created, which is shown the next time.
That needs no script.

What a browser sends as a key becomes no id. It decides only whether the form of this address was sent before in the
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
"""Of the hidden field."""

LIFETIME = timedelta(hours=24)
"""How long a form may be sent after its page was opened, and how long its key is remembered: longer than any session in
which it was opened. An old tab that is reloaded after that is refused, so it creates nothing either.
"""

_KEY = re.compile(r"([0-9]{1,10})\.[0-9a-f]{32}", re.ASCII)
"""Seconds since 1970, at which its page was opened, and 128 random bits."""


@dataclass(frozen=True, slots=True)
class FormKey:
    """The key of a form that was sent.

    :param text: as the form has it.
    :param digest: by which it is stored. Those of assertions, proofs and links are of arrays that begin otherwise.
    :param expires_at: from then on it is refused.
    """

    text: str
    digest: bytes
    expires_at: datetime


class SentBefore(Exception):
    """The form was sent before, and nothing was created now.

    :param created_id: of what it created then, which may have been deleted meanwhile.
    """

    def __init__(self, created_id: UUID) -> None:
        super().__init__(created_id)
        self.created_id = created_id


def new_form_key(at: datetime) -> str:
    """The key of a form that is about to be shown.

    :param at: now, aware.
    """
    return f"{int(at.timestamp())}.{secrets.token_hex(16)}"


def sent_form_key() -> FormKey:
    """The key of the form that was sent. It is of this very address: the same key at another one is another key.

    :raises ValidationError: there is none, it is no key, or it has expired.
    """
    sent = request.form.get(NAME, "")
    matched = _KEY.fullmatch(sent)
    if matched is None:
        raise ValidationError("This form is not valid. Open its page again.")
    opened_at, at = datetime.fromtimestamp(int(matched[1]), UTC), g.at
    # Servers' clocks differ, so a form may come from a server that is ahead.
    if not -LIFETIME < at - opened_at < LIFETIME:
        hours = LIFETIME // timedelta(hours=1)
        raise ValidationError(f"This form was opened more than {hours} hours ago. Open its page again.")
    digest = hashlib.sha256(json.dumps(["form", request.path, sent]).encode()).digest()
    return FormKey(sent, digest, opened_at + LIFETIME)


@contextlib.contextmanager
def creating(caller: Caller, scope: str, key: FormKey) -> Iterator[Transaction]:
    """A transaction as :func:`agentidp.dashboard.session.changing`'s, which consumes the key. It must create something
    and :func:`remember` that. If it raises, the form may be sent again.

    :raises SentBefore: the key was consumed before. Of two transactions at once, one waits for the other.
    """
    with session.changing(caller, scope) as opened:
        [consumed] = opened.fetch("forms/consume_key", digest=key.digest, expires_at=key.expires_at)
        if consumed.created_id is not None:
            raise SentBefore(consumed.created_id)
        yield opened


def remember(opened: Transaction, key: FormKey, created_id: UUID) -> None:
    """Remember what the form created."""
    opened.fetch("forms/remember_created", digest=key.digest, created_id=created_id)


def sent_before(message: str, *, path: str, label: str) -> Response:
    """The page that says that a form was sent before.

    :param path: below the dashboard's: of the page that shows what was created, whose link is *label*.
    """
    return pages.page("sent_before.html", 409, message=message, path=path, label=label)
