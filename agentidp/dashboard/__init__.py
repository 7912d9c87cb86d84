"""The dashboard: pages for the operators of an organization.

A page is a module, a template, and for slow content a template ``…_slow_part.html`` at the place of
``pages.SLOW_PART``. Tables and charts are macros in ``macros.html``. The statements are in ``sql/dashboard`` and
``sql/analytics``.
"""
