"""The page to return to after signing in: the page that the browser requested first.

It is in the query of the sign-in page, which anyone can write. So only a path below the dashboard's path is accepted,
never the address of another site.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

from flask import Request

NAME = "return_to"
"""Name of the parameter."""

MAX_LENGTH = 300
"""Maximum number of characters of the page, so that the cookie for four sign-ins at the provider stays below 4 KB."""

# Excludes downloads, whose paths have a dot, because a download would leave the sign-in page open. Excludes the pages
# for signing in and out, because a browser would be redirected again and again.
_PAGE = re.compile(r"(?:/(?!sign-)[\w-]+)*(\?[\w.~%+&=:/?@!$'()*,;-]*)?", re.ASCII)


def check_page(page: str) -> str:
    """Return *page* if it is a path with an optional query, below the dashboard's path. Otherwise return ``""``, which
    means the overview.
    """
    return page if len(page) <= MAX_LENGTH and _PAGE.fullmatch(page) else ""


def find_page(request: Request) -> str:
    """Return the requested page, or for the sign-in page the page in its query; ``""`` for the overview."""
    page = request.path.removeprefix("/dashboard")
    if page.startswith("/sign-"):
        return check_page(request.args.get(NAME, ""))
    if request.method != "GET":
        # A refused POST cannot be repeated, because its form is lost.
        return ""
    query = request.query_string.decode("latin-1")
    return check_page(page + (f"?{query}" if query else ""))


def query(page: str) -> str:
    """Return the query that contains *page*, for addresses of the sign-in page."""
    return f"?{urlencode({NAME: page})}" if page else ""
