"""A room of its own for what exists only so that a clone without downloads can run the whole recipe in minutes.

``corpus`` typesets the sample corpus by code (stage ``sample_corpus``); ``towers`` pretrains the tiny towers that
``recipe=tiny`` starts from (``recipe=backbones``; its results lie in ``assets``). May import ``rl``, ``model`` and
``pipelines``; imported by none of them: recipes name its stages, ``cookhouse.stages`` says where they are.
"""
