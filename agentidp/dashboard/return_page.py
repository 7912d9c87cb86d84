"""The page to which somebody who signs in is led back: the one that they asked for first.

It travels in the query of the sign-in page, which anyone can write. So it is a path below the dashboard's, and never
the address of another site.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

from flask import Request

NAME = "return_to"
"""Of the parameter."""

MAX_LENGTH = 300
"""Characters. Four sign-ins at the OpenID Connect provider, each with such a page, fit into the 4 KB of a cookie."""

# Downloads have a dot in their path: they would leave the sign-in page open.
# The pages of signing in and out would follow themselves.
_PAGE = re.compile(r"(?:/(?!sign-)[\w-]+)*(\?[\w.~%+&=:/?@!$'()*,;-]*)?", re.ASCII)


def checked(page: str) -> str:
    """*page* if it is a path with or without a query, to append to the dashboard's own path; otherwise ``""``, which is
    the overview.
    """
    return page if len(page) <= MAX_LENGTH and _PAGE.fullmatch(page) else ""


def of(request: Request) -> str:
    """The page that *request* asks for, or that the query of the sign-in page names; ``""`` if there is none."""
    page = request.path.removeprefix("/dashboard")
    if page.startswith("/sign-"):
        return checked(request.args.get(NAME, ""))
    if request.method != "GET":
        # It has changed nothing, and its form is gone.
        return ""
    query = request.query_string.decode("latin-1")
    return checked(page + (f"?{query}" if query else ""))


def query(page: str) -> str:
    """The query by which the addresses of the sign-in page pass on *page*."""
    return f"?{urlencode({NAME: page})}" if page else ""
