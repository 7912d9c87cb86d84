"""The dashboard: pages for the operators of an organization.

A page has a module, a template and, for content that takes long to compute, a template ``…_slow_part.html`` that
replaces ``pages.SLOW_PART``. Tables and charts are macros in ``macros.html``. Only a session that has one of the
scopes that a page names may open the page (:func:`session.required_to`).
"""
