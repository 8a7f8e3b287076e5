"""Data in motion: files come in, WebDataset shards and plans go out.

Sub-packages from the leaf up: ``core`` (identity, canonical JSON, seeds, errors, events; no heavy import),
``workflow`` (plan -> run; knows no stage), ``shards`` (write, index, read, mix), ``corruption`` (pure numpy),
``documents``, ``videos``, ``images``, ``text`` (sources to samples) and ``tracking`` (the mirror to MLflow). ``model``,
``rl``, ``toy`` and ``cookhouse`` may import from here, never the reverse.
"""
