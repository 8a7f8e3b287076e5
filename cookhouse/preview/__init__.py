"""Some samples of a step, to be looked at before anything is trained (``cookhouse samples preview``): ``pick`` chooses rows,
``cards`` turns a sample into a ``Card`` by its kind (a family adds itself with one line in ``CARDS``; ``conversation`` is that
of every kind without one), ``cookhouse.pages.samples`` writes the page."""
