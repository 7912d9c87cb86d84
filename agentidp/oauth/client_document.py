"""Apps whose ``client_id`` is the address of their metadata (draft-ietf-oauth-client-id-metadata-document).

An app is an agent in each organization whose rules admit it.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from agentidp.http.redirect_uri import MAX_REDIRECT_URIS, is_redirect_uri

MAX_CLIENT_URI = 500
"""Maximum number of characters of the URL of a client ID metadata document."""

CLIENT_HOST = r"[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::[0-9]{1,5})?"
"""Regular expression for the host of a client ID metadata document, with the port unless the port is 443."""

_CLIENT_URI = re.compile(rf"https://{CLIENT_HOST}/[!$&-)+-;=?-Z_a-z~%]*")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?=[/?]|$)", re.IGNORECASE)


class DocumentRefused(Exception):
    """A client ID metadata document cannot be used. The message is for the person who uses the app."""


def is_client_uri(text: str) -> bool:
    """Return whether a ``client_id`` has the form of the URL of a client ID metadata document."""
    has_form = len(text) <= MAX_CLIENT_URI and _CLIENT_URI.fullmatch(text) is not None
    return has_form and not _DOT_SEGMENT.search(text)


def host_of(client_uri: str) -> str:
    """Return the host of an app's URL, with the port if there is one, in the form in which rules list hosts."""
    return urlsplit(client_uri).netloc


def agent_id_of(organization_id: str, client_uri: str) -> UUID:
    """Return the id of an app's agent in an organization. The id is a hash of both arguments, so no query is needed."""
    text = json.dumps(["client id metadata document", organization_id, client_uri])
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


def read_redirect_uris(client_uri: str, document: dict[str, Any]) -> list[str]:
    """Return the usable redirect URIs in an app's document, or raise :class:`DocumentRefused` for a wrong document."""
    if document.get("client_id") != client_uri:
        raise DocumentRefused("it is the document of another app")
    if not (isinstance(document.get("client_name"), str) and document["client_name"]):
        raise DocumentRefused("it must have a client_name")
    has_client_secret = not document.keys().isdisjoint(("client_secret", "client_secret_expires_at"))
    if has_client_secret or document.get("token_endpoint_auth_method", "none") != "none":
        raise DocumentRefused("its token_endpoint_auth_method must be none, and it must have no client_secret")
    listed_uris = document.get("redirect_uris")
    string_uris = [uri for uri in listed_uris if isinstance(uri, str)] if isinstance(listed_uris, list) else []
    redirect_uris = [uri for uri in dict.fromkeys(string_uris) if is_redirect_uri(uri)]
    if not 1 <= len(redirect_uris) <= MAX_REDIRECT_URIS:
        raise DocumentRefused(f"it must have 1 to {MAX_REDIRECT_URIS} redirect_uris that can be used here")
    return redirect_uris
