"""Who the client says it is, and the secret it shows (RFC 6749 section 2.3)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import unquote_to_bytes
from uuid import UUID

from flask import Request, g

from ..errors import OAuthError
from ..services import services
from ..usage import UNKNOWN_AGENT, UNKNOWN_ORGANIZATION, record_rejection

CHALLENGE = 'Basic realm="agentidp", charset="UTF-8"'

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class PresentedClient:
    """A client that has not been authenticated yet. An unknown one gets ids that match nothing."""

    organization_id: str
    agent_id: UUID
    secret_hash: bytes
    was_remembered: bool


def hash_secret(client_secret: str) -> bytes:
    """The form in which a secret is stored: SHA-256.

    A slow hash protects secrets that people choose. Ours are 256 random bits: there is no list to try, and a slow
    hash would cost most of the token endpoint's throughput.
    """
    return hashlib.sha256(client_secret.encode("utf-8", "surrogatepass")).digest()


def presented_client(request: Request, form: dict[str, str]) -> PresentedClient:
    """The client that a request names, by ``client_secret_basic`` or ``client_secret_post``.

    :param form: the body's parameters, each once.
    :raises OAuthError: ``invalid_request`` for two mechanisms at once or half of one, ``invalid_client`` where the
        client does not authenticate at all or by a mechanism that we do not take.
    """
    header = request.environ.get("HTTP_AUTHORIZATION")
    if header is not None:
        if "client_secret" in form:
            raise OAuthError("invalid_request", "the client uses more than one authentication mechanism")
        client_id, client_secret = _basic(header)
        if form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "client_id differs from the Authorization header")
    elif "client_secret" in form:
        if "client_id" not in form:
            raise OAuthError("invalid_request", "client_id is missing")
        client_id, client_secret = form["client_id"], form["client_secret"]
    else:
        raise _invalid_client()
    agent_id = UUID(client_id) if _UUID.fullmatch(client_id) else UNKNOWN_AGENT
    directory = services().directory
    was_remembered = directory.remembers(agent_id)
    organization_id = directory.organization_of(agent_id)
    if organization_id is None:
        organization_id, agent_id = UNKNOWN_ORGANIZATION, UNKNOWN_AGENT
    return PresentedClient(organization_id, agent_id, hash_secret(client_secret), was_remembered)


def refuse(client: PresentedClient) -> NoReturn:
    """Count a failed authentication and answer it; all look and take the same.

    :raises OAuthError: ``invalid_client``, always.
    """
    if client.was_remembered:
        # An unknown client cost a look-up; a wrong secret must not be told from it by the time it takes.
        services().directory.look_up(client.agent_id)
    record_rejection(services().database, client.organization_id, client.agent_id, g.at)
    raise _invalid_client()


def _invalid_client() -> OAuthError:
    return OAuthError(
        "invalid_client", "client authentication failed", status=401, headers={"WWW-Authenticate": CHALLENGE}
    )


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise _invalid_client()
    try:
        decoded = base64.b64decode(encoded.strip(" "), validate=True)
        client_id, colon, client_secret = decoded.partition(b":")
        if not colon:
            raise _invalid_client()
        # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
        return tuple(unquote_to_bytes(part.replace(b"+", b" ")).decode() for part in (client_id, client_secret))  # type: ignore[return-value]
    except (binascii.Error, UnicodeError, ValueError):
        raise _invalid_client() from None
