"""MLflow as a mirror: what the files say, shown where runs are compared. Never a dependency, never in the way.

In: ``runs/{run}/events.jsonl`` of a pipeline run, ``logs/events.jsonl`` of attempts, ``artifact.json`` of results.
Out: one MLflow run a pipeline run (the parent) and one a step's key and generation, made once and shared by every
pipeline run that uses the step; ``tracking.json`` beside each remembers the id.
``mirror`` starts a process (``mirror_process``); there ``files`` and ``series`` read, ``desired`` says what should be there
(pure, worded by ``describe``), ``apply`` sends the difference through ``sink``, the only file that imports mlflow. A store
that cannot be reached costs one warning line: the JSONL stays, and ``sync`` delivers it. May import ``pipelines.core`` and
``pipelines.workflow``; imported by ``cookhouse``.
"""
