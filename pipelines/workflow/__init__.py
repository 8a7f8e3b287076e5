"""From a recipe to committed artifacts: probe -> keys -> plan -> run.

A step is a pure function of its key (``keys``), so caching, resuming, locking and comparing follow from one string.
``probe`` is the only part that looks at sources, ``plan`` is pure, ``store`` and ``lease`` own the files, ``runner``
is a loop over a ``backend``; ``session`` carries a plan out for one or many combinations, ``status`` reads how they stand.
It imports ``pipelines.core`` and knows no stage.
"""
