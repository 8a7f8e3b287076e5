"""The front door of Cookhouse: the command line (``cli/``), the stages (``stages/``) and the worker that runs one.

In: what a person types. Out: committed artifacts and a summary. It may import everything; nothing imports it.
The only code that knows the workflow *and* the model or the RL loop is in ``stages/``.
"""

__version__ = "0.1.0"
