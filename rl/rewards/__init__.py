"""Rewards as values with their provenance. ``verify`` judges one rollout from its text, in the
child process of ``service``, which can be killed: a hung verifier is a ``timeout`` verdict, never a silent zero and never
a stalled run. What needs more than text is scored by the worker right after sampling (``probability`` is RLPR's score).
``compose`` joins the terms over a closed group (equation 1 of the paper)."""
