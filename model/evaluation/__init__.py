"""What a trained model can do, measured on test samples only.

In: shard samples of the test split and folders of weights (``model/checkpoint``); out: one prediction row per thing asked,
figures, bars. A ``task`` says what is asked and how it counts (``reading``, ``questions``); ``select`` chooses samples
(pure), ``chunks`` cuts the work, ``pictures`` computes what is shown once, ``run`` runs a model over a chunk, ``metrics``
and ``gain`` score (pure), ``rows`` keeps what was said, ``bars`` holds figures against what a recipe asks for.
May import ``pipelines.{shards,core}`` and ``model``; knows no stage, no Ray and no MLflow.
"""
