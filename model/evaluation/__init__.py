"""What a trained model can do, measured on test samples only.

In: shard samples of the test split and folders of weights (``model/checkpoint``); out: one prediction row per region or
answer, figures with their bars, a page for people. ``select`` chooses samples and chunks (pure), ``tasks`` runs a model
over a chunk, ``metrics`` scores (pure), ``summary`` turns rows into figures and says what is shown and what is not,
``predictions`` reads and writes the rows, ``report`` draws the page.
May import ``pipelines.{shards,core}`` and ``model``; knows no stage, no Ray and no MLflow.
"""
