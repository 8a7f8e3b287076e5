"""Contact sheets: some samples of a step on one self-contained HTML page, to be looked at before anything is trained.

``pick`` chooses rows, ``cards`` turns a sample into a ``Card`` by its kind (a family adds itself with one line in
``CARDS``), ``sheet`` writes the page. ``document`` is the card of damaged pages, ``conversation`` that of everything
without a card of its own. Called by ``cookhouse samples preview``."""
