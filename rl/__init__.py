"""Learning from reward: a policy answers questions, verifiable rewards judge the answers, the learner moves the policy.

    plan -> rollout workers (an engine each) -> reward worker -> groups -> learner -> weights -> rollout workers

In: a fine-tuned ``model/`` folder and the question shards of the train split. Out: a sharpened ``model/`` folder a seed.
``records`` travel on every edge; ``prompts``, ``algorithm``, ``flow``, ``metrics``, ``rewards`` are pure. ``controller`` is
the loop on one page; ``worker`` (over an ``engine``) and ``learner`` are plain classes that ``crew`` runs in this process or
as Ray actors. Imports ``model`` and ``pipelines.{core,shards}``; only ``cookhouse`` may import this package.
"""
