"""A run as one self-contained HTML page: no script, no network, light and dark, readable on a phone. In: a ``Timeline``
of ``pipelines.workflow``. Out: text. ``graph`` draws the steps as SVG, ``style`` holds the CSS, ``page`` puts it
together."""
