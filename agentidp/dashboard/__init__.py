"""The dashboard: pages for the operators of an organization.

A page has a module, a template and, for content that takes long to compute, a template ``…_slow_part.html`` that
replaces ``pages.SLOW_PART``. Tables and charts are macros in ``macros.html``. The statements are in ``sql/dashboard``
and ``sql/analytics``.

A page may name scopes, of which its session must have at least one (:func:`session.required_to`). A transaction that
changes something checks the scope again (:func:`session.begin_change`). A POST from another site's page is refused
(:mod:`agentidp.dashboard.cross_origin`).
"""
