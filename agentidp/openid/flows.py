"""The cookie that keeps the state of a sign-in until the provider redirects the browser back.

The cookie is Flask's session. It is read only below :data:`PATHS`, and each path has its own cookie. The cookie is
``SameSite=Lax``, because the redirect back comes from another site.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import flask
from flask import Flask, Request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin

from agentidp.config import Settings
from agentidp.openid.provider import EXTENSION, Provider

DASHBOARD, AUTHORIZATION = PATHS = ("/dashboard/sign-in/oidc", "/authorize")
"""Paths at which a sign-in begins. After it, the provider redirects the browser to the path plus ``/callback``."""

LIFETIME = timedelta(minutes=10)
"""Maximum time that a person may take to sign in at the OpenID Connect provider."""


class _Cookies(SecureCookieSessionInterface):
    digest_method = staticmethod(hashlib.sha256)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if _find_path(request) else None

    def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime:
        # Flask sets the cookie of a "permanent" session in each response. Browsers leave the cookie out of a form that
        # a page of another site sends, so the response would replace the cookie by an empty one.
        return datetime.now(UTC) + LIFETIME

    def get_cookie_name(self, app: Flask) -> str:
        if self._has_host_prefix():
            return "__Host-agentidp_authorization"
        return ("__Secure-" if self.get_cookie_secure(app) else "") + "agentidp_sign_in"

    def get_cookie_path(self, app: Flask) -> str:
        return "/" if self._has_host_prefix() else f"{urlsplit(self._settings.issuer).path}{_find_path(flask.request)}"

    def _has_host_prefix(self) -> bool:
        """Return whether the cookie's name begins with ``__Host-``, so that no sibling subdomain can set the cookie."""
        # Other services may share the host of an issuer with a path, and would get the cookie.
        issuer = urlsplit(self._settings.issuer)
        return _find_path(flask.request) == AUTHORIZATION and (issuer.scheme, issuer.path) == ("https", "")


def _find_path(request: Request) -> str | None:
    return next((path for path in PATHS if request.path == path or request.path.startswith(f"{path}/")), None)


def init_app(app: Flask, settings: Settings) -> None:
    """Register the cookie of unfinished sign-ins and, if the settings name one, the provider of the instance."""
    if settings.oidc is not None:
        app.extensions[EXTENSION] = Provider(settings.oidc)
    app.secret_key = hmac.digest(settings.instance_secret, b"agentidp dashboard sign-in", "sha256")
    app.permanent_session_lifetime = LIFETIME
    app.config["SESSION_COOKIE_SECURE"] = settings.issuer.startswith("https://")
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.session_interface = _Cookies(settings)
