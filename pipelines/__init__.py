"""Data in motion: files come in, WebDataset shards and plans go out.

Sub-packages from the leaf up: ``core`` (identity, canonical JSON, seeds, errors, events; no heavy import),
``workflow`` (plan -> run; knows no stage), ``shards`` (write, index, read, mix), ``corruption`` (pure numpy),
``corpus`` (the sample corpus typeset by code), ``documents``, ``videos``, ``images``, ``text`` (sources to samples)
and ``tracking`` (the mirror to MLflow). ``model``, ``rl`` and ``cookhouse`` may import from here, never the reverse.
"""
