"""The navigation: sections of pages. A page names its place by ``here``."""

from __future__ import annotations

from typing import NamedTuple

from agentidp.dashboard.session import Viewer

AGENTS = ("agents:read", "agents:write")
FILTERS = ("owner", "agent", "resource", "credential")


class Place(NamedTuple):
    """A page in the navigation.

    :param name: the value of ``here`` by which a page says that it belongs to this place.
    :param scopes: the scopes of which a session needs at least one; empty if any session may open the page.
    :param filters: the filters of usage that the page has (:mod:`agentidp.dashboard.usage_filter`).
    """

    name: str
    path: str
    label: str
    scopes: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()


class Section(NamedTuple):
    """A group of pages in the navigation. The section's link leads to its first page."""

    label: str
    places: tuple[Place, ...]

    def contains(self, here: str) -> bool:
        """Return whether one of the section's pages has the name *here*."""
        return any(place.name == here for place in self.places)


SECTIONS = (
    Section("Overview", (Place("overview", "", "Overview", filters=FILTERS),)),
    Section("Agents", (Place("agents", "/agents", "Agents"),)),
    Section("Findings", (Place("findings", "/findings", "Findings"),)),
    Section(
        "Usage",
        (
            Place("usage-owners", "/usage", "By owner", filters=FILTERS),
            Place("credentials", "/credentials", "By credential", AGENTS, FILTERS),
            Place("usage-resources", "/usage/resources", "By API", AGENTS, FILTERS),
            Place("usage-delegations", "/usage/delegations", "Who acted for whom", filters=FILTERS[:3]),
            Place("month", "/month", "Month"),
        ),
    ),
    Section("Audit", (Place("audit", "/audit", "Audit", ("audit:read",)),)),
    Section(
        "Settings",
        (
            Place("resource-servers", "/resource-servers", "Resource servers", AGENTS),
            Place("provisioning", "/provisioning-rules", "Registration", AGENTS),
            Place("delegation", "/delegation-rules", "Delegation", AGENTS),
            Place("openid-provider", "/openid-provider", "OpenID provider", AGENTS),
            Place("quotas", "/quotas", "Quotas"),
            Place("budget", "/budget", "Budget", ("agents:write",)),
            Place("dormancy", "/agents/dormancy", "Dormant agents", ("agents:write",)),
            Place("alerts", "/alert-targets", "Alerts", ("alerts:write",)),
            Place("export", "/export", "Export"),
        ),
    ),
)
"""The navigation's sections: daily work first, and the pages for setting things up last."""


def build_navigation(viewer: Viewer) -> list[Section]:
    """Return the navigation's sections with the pages that the session may open."""
    sections = [
        Section(label, tuple(place for place in places if not place.scopes or any(map(viewer.may, place.scopes))))
        for label, places in SECTIONS
    ]
    return [section for section in sections if section.places]


def find_place(path: str) -> str:
    """Return the name of the navigation's page with a path, or an empty string if no page has the path."""
    places = (place for section in SECTIONS for place in section.places)
    return next((place.name for place in places if path == f"/dashboard{place.path}"), "")
