"""Messages and pictures to an ``Encoded`` sample: ids, loss mask, patches, packages, spans.

The visual markup of one image is ``<image_id>k</image_id><image>`` Q x ``<unk>`` ``</image>`` and, when sliced, rows of
``<slice>`` Q x ``<unk>`` ``</slice>`` with newlines between rows. A video is one ``<image>...</image>`` per *package*
of 1-6 frames, packages separated by newlines (paper.md 2.7, 2.8). Spans are recorded while the ids are written, never
searched for, and masks come from lengths: id 0 is an ordinary token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from model.chat import Message, Mode, Piece, control, render, text
from model.config import ModelConfig
from model.images import View, cut, patches_of, patchify
from model.pack import IGNORE, IMAGE_VIEW, Encoded
from model.slicing import Size
from model.tokenizer import SpecialIds
from model.video import check_ticks, group_ticks
from model.writing import PLACEHOLDERS, Writer, Written
from pipelines.core.errors import DataError

Sample = tuple[Sequence[Message], Mapping[str, Image.Image], Mode]


@dataclass(frozen=True)
class VideoForm:
    """How videos are encoded; see ``Processor.encode``."""

    package: int = 1
    temporal: bool = False
    slices: int = 1


@dataclass
class _Draft:
    """A sample before its texts are ids."""

    stream: list[Piece] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    packages: list[tuple[int, ...]] = field(default_factory=list)


class Processor:
    """Encodes for one model configuration with one tokenizer; holds no other state."""

    def __init__(self, config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.writer = Writer(tokenizer, config.query_num)
        self.ids: SpecialIds = self.writer.ids
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
        video_slices: int = 1,
    ) -> Encoded:
        """One sample. ``images`` holds the pictures by the names the parts use. ``generation``: the prompt only; a final
        assistant message is left out, an assistant turn in ``mode`` is opened and no label is set. ``package``: frames per
        package of video parts (1-6); ``temporal``: whether frames carry their ticks (default: only in packages of more
        than one, the 3D form); ``video_slices``: at most, of a frame. Raises DataError for what ``model/images.py``,
        ``chat.py`` and ``video.py`` refuse, and for a picture that is missing."""
        if not 1 <= package <= self.config.max_package_frames:
            raise DataError(f"package = {package}", why=f"a package has 1 to {self.config.max_package_frames} frames")
        form = VideoForm(package, package > 1 if temporal is None else temporal, video_slices)
        return self.encode_batch([(messages, images, mode)], generation, form)[0]

    def encode_batch(
        self, samples: Sequence[Sample], generation: bool = False, form: VideoForm | None = None
    ) -> list[Encoded]:
        """The same for several (messages, images, mode): their texts take one call of the tokenizer, and the pixels of a
        sample become numbers once."""
        drafts = [self._draft(*sample, generation, form or VideoForm()) for sample in samples]
        written = self.writer.write([draft.stream for draft in drafts])
        return [self._encoded(draft, ids, generation) for draft, ids in zip(drafts, written, strict=True)]

    def _draft(
        self,
        messages: Sequence[Message],
        images: Mapping[str, Image.Image],
        mode: Mode,
        generation: bool,
        form: VideoForm,
    ) -> _Draft:
        """Pictures cut, and the pieces of the prompt with their markup."""
        if generation and messages and messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        draft, count = _Draft(), 0
        for piece in render(messages, mode, generation=generation):
            if piece.kind != "visual" or piece.part is None:
                draft.stream.append(piece)
            elif piece.part["type"] == "image":
                pictures, grid = self._cut(piece.part["part"], images, self.config.slicing.max_slice_nums)
                draft.stream += _image_markup(grid, count if self.config.use_image_id else None)
                draft.views += pictures
                draft.packages += [IMAGE_VIEW] * len(pictures)
                count += 1
            else:
                self._video(piece.part, images, form, draft)
        return draft

    def _encoded(self, draft: _Draft, written: Written, generation: bool) -> Encoded:
        input_ids = torch.from_numpy(written.ids)
        labels = torch.full_like(input_ids, IGNORE)
        if not generation:
            labels = torch.where(torch.from_numpy(written.kept), input_ids, labels)
        return Encoded(
            input_ids=input_ids,
            labels=labels,
            patches=patches_of(draft.views, self.config.vision.patch_dim),
            tgt_sizes=torch.tensor([(view.rows, view.cols) for view in draft.views], dtype=torch.long).view(-1, 2),
            packages=tuple(draft.packages),
            image_bound=torch.tensor(written.bounds, dtype=torch.long).view(-1, 2),
        )

    def decode(self, ids: Sequence[int] | torch.Tensor) -> str:
        """Text of a completion, control tokens dropped (``<think>`` is kept: ``chat.split_thought`` reads it)."""
        return str(self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=True))

    def _cut(self, name: str, images: Mapping[str, Image.Image], slices: int) -> tuple[list[View], Size | None]:
        if name not in images:
            raise DataError(
                f"the sample names a picture {name!r} that it does not hold", why=f"it has {sorted(images)[:8]}"
            )
        settings = self.config.slicing.model_copy(update={"max_slice_nums": slices})
        pictures, grid = cut(images[name], settings, name)
        return [patchify(picture, settings.patch_size) for picture in pictures], grid

    def _video(
        self, part: Mapping[str, Any], images: Mapping[str, Image.Image], form: VideoForm, draft: _Draft
    ) -> None:
        """Append the markup of a video, its views and packages. Frames of a package go view by view: all thumbnails,
        then all first slices, and so on, each such row one package."""
        names, ticks = part["parts"], [int(tick) for tick in part["ticks"]]
        groups = group_ticks(ticks, form.package)
        check_ticks(ticks, len(names), len(groups), self.config.max_packages)
        start = 0
        for group in groups:
            frames = [self._cut(name, images, form.slices) for name in names[start : start + len(group)]]
            start += len(group)
            grid = frames[0][1]
            if any(other != grid for _, other in frames):
                raise DataError("frames of one package are cut into different grids", do="give frames of one size")
            for row in zip(*(pictures for pictures, _ in frames), strict=True):
                draft.views += row
                draft.packages.append(group if form.temporal else IMAGE_VIEW * len(group))
            draft.stream += [text("\n")] if start > len(group) else []
            draft.stream += _image_markup(grid, None)


def _image_markup(grid: Size | None, index: int | None) -> list[Piece]:
    """Thumbnail, then slices row by row; ``index`` adds the image id."""
    out = [] if index is None else [control("<image_id>"), text(str(index)), control("</image_id>")]
    out += [control("<image>"), PLACEHOLDERS, control("</image>")]
    if grid is not None:
        cols, rows = grid
        for row in range(rows):
            out += [text("\n")] if row else []
            out += [control("<slice>"), PLACEHOLDERS, control("</slice>")] * cols
    return out
