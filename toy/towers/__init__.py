"""Pretrained towers for the tiny model: the recipe's first phase trains only the resampler, so both ends must already
know something. ``vision`` teaches the tower glyphs by dense labels per patch, ``language`` teaches the decoder generated
text. Arrays and strings come in (``toy.towers.stage`` makes them), one safetensors file each goes out."""
