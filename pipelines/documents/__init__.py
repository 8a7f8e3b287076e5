"""Documents: PDF pages in, corruption samples out.

``config`` holds the settings, ``plan`` turns files into fixed units of work, ``build`` makes one unit into a shard.
On the way a page passes ``extract`` (in the sandbox: an ``engine`` renders it and lists its words), ``routing``
(born-digital, scan or mixed), ``ocr`` (PaddleOCR, in a sandbox of its own, only for scans), ``ink`` (a word that
shows no contrast is no label), ``layout`` (words -> lines -> paragraphs in reading order), ``regions`` (which text is
asked for), ``pipelines.corruption``, ``marks`` (numbered boxes) and ``sample`` (prompt, target, JSON).

Imports ``pipelines.{shards,corruption,core}``; MuPDF only in ``engine_pymupdf`` and PaddleOCR only in ``ocr_reader``,
both in child processes. Called by ``cookhouse.stages.documents``."""
