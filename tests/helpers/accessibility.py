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
        .map(result => ({ ...result, nodes: result.nodes.filter(isText) })).filter(({ nodes }) => nodes.length)
    return [...violations, ...unclear].map(({ id, impact, nodes }) =>
        [id, impact, ...nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`)])
}"""


def looked_at(page: Page, axe: str, rules: list[str] | None = None) -> list[list[str]]:
    """Return the violations that axe-core reports, and the contrasts that it cannot judge, with their elements.

    :param rules: the rules to apply, by axe's names; axe's own selection if ``None``.
    """
    # A page to which the browser has just gone has no elements yet.
    page.wait_for_load_state()
    page.evaluate(axe)
    page.evaluate("scrollTo(0, 0)")
    violations: list[list[str]] = page.evaluate(LOOK, rules)
    return violations
