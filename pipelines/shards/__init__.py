"""WebDataset shards: the one library under everything that writes or reads training samples.

In: (row, parts) pairs from a stage's unit of work. Out: ``shards/{unit}.tar`` (byte-identical on a rerun) and
``manifest/{unit}.parquet`` (one row per *planned* sample: written, filtered or quarantined), then an index with random
access, a pure mix order, a sequential stream, ``verify`` and ``inspect``.

``writer`` and ``manifest`` write one file each, ``unit`` joins them, ``sample`` builds the JSON of a sample, ``index``
and ``read`` find and open samples, ``mix`` orders them, ``verify`` and ``inspect`` check and describe. Nothing here
packs, batches or knows a rank (that is ``model.training``), and nothing ever unpickles. Imports ``pipelines.core``
only.
"""
