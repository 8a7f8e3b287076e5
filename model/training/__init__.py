"""Training: phases of packed samples through one Engine.

In: phases (frozen records), samples by address (``pipelines.shards.index``), a model (folder or configuration).
Out: checkpoints while it runs, a ``model/`` folder at the end, one JSONL line of metrics every few steps.
``phases`` says what; ``plan`` (pure, of ``order``, ``cost`` and ``packer``) lays the mixed samples into a global list of
packs, the same on every rank, so the place in the data is two integers (phase, next step); ``loader`` decodes this rank's
packs; ``schedule`` (pure) gives the rate; an ``engine`` (plain torch, or DeepSpeed in ``engine_deepspeed``) turns packs
into updates; ``loop`` is a plain function over these; ``job`` puts them together in one process of a gang; ``launch``
starts the gang (Ray Train in ``launch_ray``, local processes, or inside torchrun).
Imported by ``rl`` (engines) and ``cookhouse``; imports ``model``, ``pipelines.shards``, ``pipelines.core``.
"""
