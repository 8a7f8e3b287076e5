"""Text to samples: plain text for the language model, and questions about a page or picture.

``lines`` reads JSONL of ``{"text"}`` (one sample a line), ``questions`` reads JSONL of question items and gives each
two samples, one a reasoning mode; ``render`` draws the pages they ask about, inside the sandbox. Imports
``pipelines.shards`` and ``pipelines.core``; used by ``cookhouse.stages.text`` and ``cookhouse.stages.questions``.
"""
