"""Side-by-side measurements: ours, our kernels, and the peers, on the same inputs in the same minute.

``harness`` is the house's one stopwatch. It counts CPU seconds of the whole process tree (children and Ray workers
included), lets contestants take turns A, B, B, A, asserts the counts before it shows any time, and prints medians and
ratios as one table and one JSON line. ``peers`` makes a virtual environment for each peer (``make peers``); a peer that
cannot be installed has a row that says *not compared*. One module per part of the pipeline holds its contestants and its
bars, and is a command: ``python -m benchmarks.documents``; it ends with 0 only if every bar holds.

Figures that were measured stand in docs/performance.md with date and method, the bad ones too. Ratios of one run mean
something on a shared machine; absolute times do not. Nothing of the product imports this package.
"""
