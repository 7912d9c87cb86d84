"""Static files that pages load. A name in an address never reaches the file system, because the list is fixed."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

from flask import Response, request

from agentidp.http.errors import NotFound

A_YEAR = 31_536_000
"""Seconds that a browser may cache an asset whose URL has the asset's current version."""


class Asset(NamedTuple):
    file: Path
    media_type: str


class Assets:
    """The assets of a set of pages.

    :param max_age: seconds that a browser may cache an asset if its URL lacks the asset's current version.
    """

    def __init__(self, assets: dict[str, Asset], *, max_age: int) -> None:
        self._assets, self._max_age = assets, max_age
        self.version = functools.cache(self._compute_version)

    @property
    def names(self) -> list[str]:
        """Return the names of all assets."""
        return [*self._assets]

    def _compute_version(self, name: str) -> str:
        """Return the digest of an asset's content, which is the parameter ``v`` of the asset's URL."""
        return hashlib.sha256(self._assets[name].file.read_bytes()).hexdigest()[:12]

    def build_response(self, name: str) -> Response:
        """Return a response with the asset *name*, or raise ``NotFound`` if there is no such asset."""
        if name not in self._assets:
            raise NotFound
        asset = self._assets[name]
        is_current = "v" in request.args and request.args["v"] == self.version(name)
        cache_control = f"public, max-age={A_YEAR}, immutable" if is_current else f"public, max-age={self._max_age}"
        return Response(asset.file.read_bytes(), mimetype=asset.media_type, headers={"Cache-Control": cache_control})
