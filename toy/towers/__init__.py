"""What ``recipe=tiny`` starts from in place of SigLIP2 and Qwen3: a tower that knows glyphs (``vision``, ``glyphs``), a
decoder that knows generated text and the habit of reading (``language``, ``textcards``), the linear map between them and
the resampler's first weights (``reading``). Towers learn in the loop of ``model.training``."""
