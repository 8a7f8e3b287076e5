"""Pictures and videos opened, inside the sandbox, so that a hang or a crash costs one file: what the families share.

``picture`` decodes one picture (upright, RGB, bounded size), ``likeness`` finds pictures that look alike. ``video`` gives
the clips of one file: ``reader`` hands over frames with their times, ``sampling`` (pure) chooses frames by presentation time
and rounds ticks, ``modes`` says how much has to be decoded for them, ``split`` where a clip ends, ``shape`` makes the
pictures. Imports ``pipelines.shards`` and ``pipelines.core``; used by ``images``, ``videos`` and ``text``.
"""
