"""Captioned images to samples: a folder of pictures and a ``captions.jsonl`` come in, one shard unit goes out.

``decode`` opens one picture inside the sandbox (upright, RGB, bounded size), ``captions`` reads the table and turns
each planned picture into a row: written, filtered (no caption, a copy) or quarantined. Imports ``pipelines.shards`` and
``pipelines.core``; used by ``cookhouse.stages.captions``.
"""
