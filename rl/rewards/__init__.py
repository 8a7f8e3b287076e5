"""Rewards as values with their provenance. ``rules``, ``format`` and ``repetition`` judge one completion, ``compose``
joins the terms over a group (equation 1 of the paper), ``probability`` is RLPR, and ``service`` runs the judging in a
child process that can be killed: a hung verifier is a ``timeout`` verdict, never a silent zero and never a stalled
run."""
