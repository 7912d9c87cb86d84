"""Looks at a page with axe."""

from __future__ import annotations

from playwright.sync_api import Page

LOOK = """async rules => {
    const { violations, incomplete } = await axe.run(document,
        { resultTypes: ["violations", "incomplete"], ...(rules && { runOnly: { type: "rule", values: rules } }) })
    // A mark that is no text needs no contrast of text. axe cannot tell what is behind a text in an SVG: the labels of
    // a chart's axis have the color of its legend, which axe checks.
    const isText = node => !["nonBmp", "imgNode"].includes(node.any[0].data.messageKey)
    const unclear = incomplete.filter(({ id }) => id === "color-contrast")
        .map(one => ({ ...one, nodes: one.nodes.filter(isText) })).filter(({ nodes }) => nodes.length)
    return [...violations, ...unclear].map(({ id, impact, nodes }) =>
        [id, impact, ...nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`)])
}"""


def looked_at(page: Page, axe: str, rules: list[str] | None = None) -> list[list[str]]:
    """What axe-core objects to, however little it minds, with the elements; and what of contrast it cannot tell.

    :param rules: axe's names of rules; all that it applies by itself when left out.
    """
    # A page to which the browser has just gone has no elements yet.
    page.wait_for_load_state()
    page.evaluate(axe)
    page.evaluate("scrollTo(0, 0)")
    found: list[list[str]] = page.evaluate(LOOK, rules)
    return found
