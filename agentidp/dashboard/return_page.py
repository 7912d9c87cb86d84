"""The page to return to after signing in: the page that the browser requested first.

It is in the query of the sign-in page, which anyone can write. So only a path below the dashboard's path is accepted,
never the address of another site.
"""

from __future__ import annotations

import re

from flask import Request

NAME = "return_to"
"""Name of the parameter with the page to which the browser returns after the sign-in."""

MAX_LENGTH = 300
"""Maximum characters of a page's path, so that the cookies of several unfinished sign-ins stay short together."""

# The pattern excludes downloads, whose paths have a dot, because a download would leave the sign-in page open. It
# also excludes the pages for signing in and out, because the browser would be redirected for ever.
_PAGE = re.compile(r"(?:/(?!sign-)[\w-]+)*(\?[\w.~%+&=:/?@!$'()*,;-]*)?", re.ASCII)


def check_page(page: str) -> str:
    """Return *page* if it is a path below the dashboard's path, with an optional query. Otherwise return ``""``."""
    return page if len(page) <= MAX_LENGTH and _PAGE.fullmatch(page) else ""


def find_page(request: Request) -> str:
    """Return the requested page or, on the sign-in page, the page in its query. ``""`` is the overview."""
    page_path = request.path.removeprefix("/dashboard")
    if page_path.startswith("/sign-"):
        return check_page(request.args.get(NAME, ""))
    if request.method != "GET":
        # A refused POST cannot be repeated after the sign-in, because the form's content is lost.
        return ""
    url_query = request.query_string.decode("latin-1")
    return check_page(page_path + (f"?{url_query}" if url_query else ""))
