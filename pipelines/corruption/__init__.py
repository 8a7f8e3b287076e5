"""Corruption: a clean page and the boxes of its text in, the same page with damaged boxes out.

The recipe's document objective is to predict the original text of damaged regions, so OCR (low), reading with context
(moderate) and knowledge (high: nothing of the ink is left) become one task. ``operators`` holds the registry of damages
with strengths relative to glyph height, ``page`` applies them: only pixels inside the boxes change and every draw comes
from the generator that is passed in. ``view`` is the whole draw of a page: regions, a level for each, damage, ``marks``
(numbered boxes), question and answer.

Imports numpy, and PIL for JPEG blocks; no Ray, no MuPDF. Used by ``pipelines.documents`` when shards are written and by
the loader of ``model`` when fresh draws per epoch are wanted.
"""
