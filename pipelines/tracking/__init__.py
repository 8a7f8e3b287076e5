"""MLflow as a mirror: what the files say, shown where runs are compared. Never a dependency, never in the way.

In: ``runs/{run}/events.jsonl`` of a pipeline run, ``logs/events.jsonl`` of attempts, ``artifact.json`` of results.
Out: one MLflow run a pipeline run (the parent) and one a step's key and generation, made once and shared by every
pipeline run that uses the step; ``tracking.json`` beside each remembers the id.
``mirror`` starts one process (``mirror_process``) that follows the files, ``follow`` decides what to send, ``describe``
words it (pure), ``state`` remembers, and ``sink`` is the only file that imports mlflow. A store that cannot be reached
costs one warning line: the JSONL stays, and ``sync`` replays it. May import ``pipelines.core``; imported by
``cookhouse``.
"""
