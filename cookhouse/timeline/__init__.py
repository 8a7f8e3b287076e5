"""A run as one self-contained HTML page: no script, no network, light and dark, readable on a phone. In: a ``RunStatus``
of ``pipelines.workflow``. Out: text. ``graph`` draws the steps as SVG, ``style`` holds the CSS, ``page`` puts it
together."""
