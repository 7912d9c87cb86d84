"""``/dashboard/static``: the style sheet, script and icon of the pages."""

from __future__ import annotations

from flask import Response

from agentidp.caller import public
from agentidp.dashboard import pages

blueprint = pages.new_blueprint("dashboard-assets", __name__)


@blueprint.get("/dashboard/static/<asset>")
@public
def asset(asset: str) -> Response:
    """Return an asset of the pages."""
    return pages.ASSETS.response(asset)
