"""Learning from reward: a policy answers questions, verifiable rewards judge the answers, the learner moves the policy.

In: a fine-tuned ``model/`` folder and the question shards of the train split. Out: a sharpened ``model/`` folder per
seed.

    plan -> rollout workers (an engine each) -> reward worker -> groups -> learner -> weights -> rollout workers

* ``records`` are what travels on every edge; ``prompts``, ``algorithm``, ``flow``, ``metrics``, ``rewards`` are pure.
* ``flow`` is the way of a group, the unit of the loop: dispatched, closed by its last rollout, judged, taken.
* ``tree`` lays the rollouts of one prompt behind one copy of it, so nothing is computed twice.
* ``worker`` (over an ``engine``) and ``learner`` are plain classes; ``crew`` runs them in this process or as Ray actors.
* ``transport`` carries weights from learner to engines and proves that they arrived.
* ``controller`` is the loop on one page. It holds no weights.

Imports ``model`` and ``pipelines.{core,shards}``; only ``cookhouse`` may import this package.
"""
