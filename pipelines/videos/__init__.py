"""Video to timed frames: files come in, one shard unit of JPEG frames (or short clips) with 0.1 s ticks goes out.

``targets`` reads what is said of a video (sidecars, tables), ``clips`` turns each clip that ``pipelines.media.video`` gives
into one sample per text. Every source file ends in the manifest: written, filtered as a copy, or quarantined with category
and message. Imports ``pipelines.media``, ``pipelines.shards`` and ``pipelines.core``; used by ``cookhouse.stages.videos``.
"""
