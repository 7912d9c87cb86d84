"""Static files that pages load. The list is fixed, so a name in an address never reaches the file system."""

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
    """The content and media type of a file that pages use."""

    file: Path
    media_type: str


class Assets:
    """The assets of a set of pages, such as style sheets and scripts.

    :param max_age: seconds that a browser may cache an asset whose URL has no version, or an old version.
    """

    def __init__(self, assets: dict[str, Asset], *, max_age: int) -> None:
        self._assets = assets
        self._max_age = max_age
        self.version = functools.cache(self._version_of_asset)

    @property
    def names(self) -> list[str]:
        """The names of all assets."""
        return [*self._assets]

    def _version_of_asset(self, name: str) -> str:
        """Return the version of an asset: a digest of its content, which URLs have as the parameter ``v``."""
        return hashlib.sha256(self._assets[name].file.read_bytes()).hexdigest()[:12]

    def build_response(self, name: str) -> Response:
        """Return the entire asset. Ranges and conditional requests are ignored, because they would save a browser
        little.

        :raises NotFound: the asset does not exist.
        """
        if name not in self._assets:
            raise NotFound
        asset = self._assets[name]
        is_current = "v" in request.args and request.args["v"] == self.version(name)
        cache_control = f"public, max-age={A_YEAR}, immutable" if is_current else f"public, max-age={self._max_age}"
        return Response(asset.file.read_bytes(), mimetype=asset.media_type, headers={"Cache-Control": cache_control})
