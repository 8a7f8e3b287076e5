"""Documents: PDF pages in, corruption samples out.

``config`` holds the settings, ``probe`` opens files (``similar`` finds near-duplicates), ``plan`` turns them into fixed
units of work, ``build`` makes one unit into a shard. On the way a page passes ``extract``
(in the sandbox: an ``engine`` renders it and lists its words), ``routing`` (born-digital, scan or mixed), ``scan`` (OCR,
in a sandbox of its own or an actor, only for scans), ``ink`` (a word that shows no contrast is no label), ``layout``
(words -> lines -> paragraphs in reading order), ``regions`` (which text may be asked for), ``filters``,
``pipelines.corruption`` (the draw) and ``sample`` (JPEG and JSON).

Imports ``pipelines.{shards,corruption,core}``; each PDF library only in its ``engine_*`` and PaddleOCR and RapidOCR only
in ``ocr_reader``, all in child processes. Called by ``cookhouse.stages.documents``."""
