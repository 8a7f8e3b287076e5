"""Video to timed frames: files come in, one shard unit of JPEG frames with 0.1 s ticks goes out.

``sampling`` (pure) chooses frames by presentation time and rounds ticks; ``decode`` runs PyAV on one file inside the
sandbox, so that a hang or crash costs that file only; ``clips`` plans units of files and turns each file into samples:
one per caption and question of its sidecar ``{stem}.json``, one without a target if there is none.

Every source file ends in the manifest: written, filtered as a copy, or quarantined with category and message.
Imports ``pipelines.shards`` and ``pipelines.core``; used by ``cookhouse.stages.videos``.
"""
