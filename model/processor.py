"""Messages and pictures to an ``Encoded`` sample: ids, loss mask, patches, packages, spans.

The visual markup of one image is ``<image_id>k</image_id><image>`` Q x ``<unk>`` ``</image>`` and, when sliced, rows of
``<slice>`` Q x ``<unk>`` ``</slice>`` with newlines between rows. A video is one ``<image>...</image>`` per *package*
of 1-6 frames, packages separated by newlines (paper.md 2.7, 2.8). Spans are recorded while the ids are written, never
searched for, and masks come from lengths: id 0 is an ordinary token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from model.chat import Message, Mode, Piece, control, render, text
from model.config import ModelConfig
from model.images import View, cut, patchify
from model.pack import IGNORE, IMAGE_VIEW, Encoded
from model.slicing import Size
from model.tokenizer import SpecialIds, special_ids
from model.video import check_ticks, group_ticks
from pipelines.core.errors import DataError

_PLACEHOLDERS = control("<unk>")  # stands for Q placeholders


class Processor:
    """Encodes for one model configuration with one tokenizer; holds no other state."""

    def __init__(self, config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.ids: SpecialIds = special_ids(tokenizer)
        if len(tokenizer) > config.language.vocab_size:
            raise DataError(
                f"the tokenizer has {len(tokenizer)} tokens, the model {config.language.vocab_size}",
                do="set language.vocab_size, or use the tokenizer of this model",
            )

    def encode(
        self,
        messages: Sequence[Message],
        images: Mapping[str, Image.Image],
        mode: Mode = "short",
        generation: bool = False,
        *,
        package: int = 1,
        temporal: bool | None = None,
        max_slice_nums: int | None = None,
        use_image_id: bool | None = None,
        video_slices: int = 1,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Encoded:
        """One sample. ``images`` holds the pictures by the names the parts use.

        ``generation``: the prompt only; a final assistant message is left out, an assistant turn in ``mode`` is opened
        and no label is set. ``package``: frames per package of video parts (1-6); ``temporal``: whether frames carry
        their ticks (default: only in packages of more than one, the 3D form). ``max_slice_nums`` applies to images,
        ``video_slices`` to frames. Raises DataError for what ``model/images.py``, ``model/chat.py`` and
        ``model/video.py`` refuse, and for a picture that is missing.
        """
        if not 1 <= package <= self.config.max_package_frames:
            raise DataError(f"package = {package}", why=f"a package has 1 to {self.config.max_package_frames} frames")
        if generation and messages and messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        temporal = package > 1 if temporal is None else temporal
        show_id = self.config.use_image_id if use_image_id is None else use_image_id
        views: list[View] = []
        packages: list[tuple[int, ...]] = []
        stream: list[Piece] = []
        count = 0
        for piece in render(messages, mode, generation=generation, tools=tools):
            if piece.kind != "visual" or piece.part is None:
                stream.append(piece)
            elif piece.part["type"] == "image":
                pictures, grid = self._cut(piece.part["part"], images, max_slice_nums)
                stream += _image_markup(grid, count if show_id else None)
                views += pictures
                packages += [IMAGE_VIEW] * len(pictures)
                count += 1
            else:
                stream += self._video(piece.part, images, package, temporal, video_slices, views, packages)
        ids, kept, bounds = self._write(stream)
        input_ids = torch.tensor(ids)
        labels = torch.where(torch.tensor(kept, dtype=torch.bool), input_ids, IGNORE)
        return Encoded(
            input_ids=input_ids,
            labels=torch.full_like(input_ids, IGNORE) if generation else labels,
            patches=torch.cat([torch.zeros(0, self.config.vision.patch_dim), *(view.patches for view in views)]),
            tgt_sizes=torch.tensor([(view.rows, view.cols) for view in views], dtype=torch.long).view(-1, 2),
            packages=tuple(packages),
            image_bound=torch.tensor(bounds, dtype=torch.long).view(-1, 2),
        )

    def decode(self, ids: Sequence[int] | torch.Tensor) -> str:
        """Text of a completion, control tokens dropped (``<think>`` is kept: ``chat.split_thought`` reads it)."""
        return str(self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=True))

    def encode_text(self, value: str) -> list[int]:
        """Ids of plain text; strings that look like special tokens stay letters."""
        return self._data_ids(value)[0]

    def _cut(self, name: str, images: Mapping[str, Image.Image], slices: int | None) -> tuple[list[View], Size | None]:
        if name not in images:
            raise DataError(
                f"the sample names a picture {name!r} that it does not hold", why=f"it has {sorted(images)[:8]}"
            )
        settings = self.config.slicing
        if slices is not None:
            settings = settings.model_copy(update={"max_slice_nums": slices})
        pictures, grid = cut(images[name], settings, name)
        return [patchify(picture, settings.patch_size) for picture in pictures], grid

    def _video(
        self,
        part: Mapping[str, Any],
        images: Mapping[str, Image.Image],
        package: int,
        temporal: bool,
        slices: int,
        views: list[View],
        packages: list[tuple[int, ...]],
    ) -> list[Piece]:
        """Markup of a video; its views and packages are appended. Frames of a package go view by view: all thumbnails,
        then all first slices, and so on, each such row one package."""
        names, ticks = part["parts"], [int(tick) for tick in part["ticks"]]
        groups = group_ticks(ticks, package)
        check_ticks(ticks, len(names), len(groups), self.config.max_packages)
        stream: list[Piece] = []
        start = 0
        for group in groups:
            frames = [self._cut(name, images, slices) for name in names[start : start + len(group)]]
            start += len(group)
            grid = frames[0][1]
            if any(other != grid for _, other in frames):
                raise DataError("frames of one package are cut into different grids", do="give frames of one size")
            for row in zip(*(pictures for pictures, _ in frames), strict=True):
                views += row
                packages.append(group if temporal else IMAGE_VIEW * len(group))
            stream += [text("\n")] if stream else []
            stream += _image_markup(grid, None)
        return stream

    def _write(self, stream: Iterable[Piece]) -> tuple[list[int], list[bool], list[tuple[int, int]]]:
        """Ids, loss mask and placeholder spans of a stream of text and control pieces."""
        ids: list[int] = []
        kept: list[bool] = []
        bounds: list[tuple[int, int]] = []
        run: list[Piece] = []

        def flush() -> None:
            new, mask = self._run_ids(run)
            ids.extend(new)
            kept.extend(mask)
            run.clear()

        for piece in stream:
            if piece.kind == "text":
                run.append(piece)
                continue
            flush()
            if piece is _PLACEHOLDERS:
                bounds.append((len(ids), len(ids) + self.config.query_num))
                ids += [self.ids.placeholder] * self.config.query_num
                kept += [False] * self.config.query_num
            else:
                ids.append(self.ids[piece.text])
                kept.append(piece.supervised)
        flush()
        return ids, kept, bounds

    def _run_ids(self, run: Sequence[Piece]) -> tuple[list[int], list[bool]]:
        """Neighbouring texts are encoded as one (a merge may cross them); a token is supervised when its first
        character is."""
        value = "".join(piece.text for piece in run)
        if not value:
            return [], []
        ids, starts = self._data_ids(value)
        marks = {piece.supervised for piece in run if piece.text}
        if len(marks) == 1:
            return ids, list(marks) * len(ids)
        mask = [piece.supervised for piece in run for _ in piece.text]
        return ids, [mask[start] for start in starts]

    def _data_ids(self, value: str) -> tuple[list[int], list[int]]:
        """Ids and the index of each token's first character. The text is cut inside every special-token string, so the
        tokenizer never sees one whole."""
        ids: list[int] = []
        starts: list[int] = []
        cuts = [0, *(match.start() + 1 for match in self._special_strings.finditer(value)), len(value)]
        for begin, end in pairwise(cuts):
            coded = self.tokenizer.backend_tokenizer.encode(value[begin:end], add_special_tokens=False)
            ids += coded.ids
            starts += [begin + offset[0] for offset in coded.offsets]
        return ids, starts

    @cached_property
    def _special_strings(self) -> re.Pattern[str]:
        names = sorted({*self.ids.by_name, *self.tokenizer.all_special_tokens}, key=len, reverse=True)
        return re.compile("|".join(f"(?={re.escape(name)})." for name in names))


def _image_markup(grid: Size | None, index: int | None) -> list[Piece]:
    """Thumbnail, then slices row by row; ``index`` adds the image id."""
    out = [] if index is None else [control("<image_id>"), text(str(index)), control("</image_id>")]
    out += [control("<image>"), _PLACEHOLDERS, control("</image>")]
    if grid is not None:
        cols, rows = grid
        for row in range(rows):
            out += [text("\n")] if row else []
            out += [control("<slice>"), _PLACEHOLDERS, control("</slice>")] * cols
    return out
