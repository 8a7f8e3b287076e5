"""Text to samples: plain text for the language model, questions about a page or picture, conversations.

``lines`` reads JSONL of ``{"text"}`` or Parquet (one sample a row), ``questions`` reads JSONL of question items and gives
each two samples, one a reasoning mode; ``render`` draws the pages they ask about, inside the sandbox. ``chats`` (pure) reads
records of conversations and interleaved documents, ``conversations`` stores each with its pictures and video frames. Imports
``pipelines.media``, ``pipelines.shards`` and ``pipelines.core``; used by ``cookhouse.stages.text``, ``.questions`` and
``.conversations``.
"""
