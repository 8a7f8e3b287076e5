"""The network: everything that knows a tensor.

In: messages with pictures (``processor``) or samples of shards; out: logits, completions, folders of weights.
On the way: ``slicing`` -> ``images`` -> patches; ``chat`` -> ids and the loss mask; ``pack`` lays samples end to end;
``vision`` (NaViT tower) -> ``resampler`` (64 tokens per image view or video package) -> ``minicpmv`` (Qwen3 reads them
in place of placeholders); ``decode`` samples; ``checkpoint`` reads and writes the released folder layout.
Nothing is ever padded: views, packages and documents lie end to end, and attention stays inside each of them.
Sizes are (rows, cols) in patches, pictures (width, height) in pixels, times in ticks of 0.1 s.
May import ``pipelines.{shards,corruption,core}``; imported by ``rl`` and ``cookhouse``.
"""
