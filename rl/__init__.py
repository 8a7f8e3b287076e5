"""Learning from reward: a policy answers questions, verifiable rewards judge the answers, the learner moves the policy.

In: a fine-tuned ``model/`` folder and the question shards of the train split. Out: a sharpened ``model/`` folder per
seed.

    plan -> rollout workers (an engine each) -> reward worker -> groups -> learner -> weights -> rollout workers

* ``types`` are the frozen records on every edge; ``prompts``, ``advantage``, ``buffer``, ``fleet``, rewards are pure.
* ``tree`` lays the completions of one prompt behind one copy of it, so nothing is computed twice.
* ``worker`` and ``learner`` are plain classes; ``local`` runs them in this process, ``fleet_ray`` as Ray actors.
* ``controller`` is the loop on one page. It holds no weights.

Imports ``model`` and ``pipelines.{core,shards}``; only ``cookhouse`` may import this package.
"""
