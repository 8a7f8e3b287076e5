"""The sample corpus: documents, clips, pictures and text typeset by code, so that a clone needs no download.

Everything here is a pure function of a seed. Words and fonts of the ``test`` split never occur in ``train`` files:
``pipelines.images.words`` and ``fonts`` own that rule, the modules here only draw from them.
"""
