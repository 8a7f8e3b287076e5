"""Pictures to samples: captioned ones that people bring, and synthetic ones with text whose labels are exact.

``sources`` reads tables, sidecars and foreign tars, ``captions`` turns each planned picture into a row: written, filtered
(no caption, a copy, a rule) or quarantined. ``drawing`` sets lines of text (``words``, ``fonts``) on photographs and
textures, ``pages`` renders local HTML in the sandbox, ``synthetic`` makes samples of both. Imports ``pipelines.media``,
``pipelines.shards`` and ``pipelines.core``; used by ``cookhouse.stages.captions`` and ``cookhouse.stages.synthetic_ocr``.
"""
