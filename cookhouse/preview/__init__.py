"""Some samples of a step, to be looked at before anything is trained (``cookhouse samples preview``): ``pick`` chooses rows,
``cards`` turns a sample into a ``Card`` by its kind (a family adds itself with a line in ``CARDS``; ``conversation`` is that
of every other kind), ``cookhouse.pages.samples`` writes the page."""
