"""Video to timed frames: files come in, one shard unit of JPEG frames (or short clips) with 0.1 s ticks goes out.

Pure: ``sampling`` chooses frames by presentation time and rounds ticks, ``modes`` says how much has to be decoded for
them, ``split`` where a clip ends. In the sandbox, so that a hang or crash costs that file only: ``reader`` and ``decode``
run PyAV on one file, ``shape`` makes the pictures. ``targets`` reads what is said of a video (sidecars, tables),
``clips`` plans units of files and turns each clip into one sample per text.

Every source file ends in the manifest: written, filtered as a copy, or quarantined with category and message.
Imports ``pipelines.shards`` and ``pipelines.core``; used by ``cookhouse.stages.videos``.
"""
