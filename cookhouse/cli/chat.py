"""``cookhouse chat``: ask a checkpoint about pictures and videos, and watch it answer."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cookhouse.cli import options
from cookhouse.model_folder import find_model
from pipelines.core.errors import ConfigError, DataError, did_you_mean
from pipelines.core.sandbox import Sandbox, SandboxError
from pipelines.workflow.compose import compose

if TYPE_CHECKING:
    from PIL.Image import Image

    from model.minicpmv import MiniCPMV
    from model.processor import Processor
    from model.sampling import Sampling

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NAME = re.compile(r"[^\w]")
DECODE_S, DECODE_BYTES = 120.0, 4 << 30


@click.command()
@click.argument("words", nargs=-1, metavar="[QUESTION] [OVERRIDES]...")
@click.option("--model", "name", required=True, metavar="DIR|STEP", help="A model folder, an artifact, or a step.")
@click.option("--image", "images", multiple=True, type=FILE, help="A picture; may be given again.")
@click.option("--video", "videos", multiple=True, type=FILE, help="A video; may be given again.")
@click.option("--think", is_flag=True, help="Long mode: the model thinks first.")
@click.option("--sample", is_flag=True, help="Draw as the released chat does instead of taking the likeliest token.")
@click.option("--seed", default=0, show_default=True, help="Of --sample.")
@click.option("--max-new-tokens", default=2048, show_default=True, type=click.IntRange(min=1))
@click.option("--fps", default=3.0, show_default=True, help="Frames taken from a second of video.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Default: bfloat16 on a GPU, else float32.")
@options.verbose
def chat(
    words: tuple[str, ...],
    name: str,
    images: tuple[Path, ...],
    videos: tuple[Path, ...],
    think: bool,
    sample: bool,
    seed: int,
    max_new_tokens: int,
    fps: float,
    dtype: str | None,
) -> None:
    """Ask QUESTION about the pictures and videos; without QUESTION, talk line by line until Ctrl-D.

    \b
    cookhouse chat --model artifacts/sft/... --image page.png "Read the text."
    cookhouse chat --model rl --video clip.mp4 --think "What happens?"
    cookhouse chat --model sft storage.root=/big/disk "Who are you?"
    """
    question, overrides = question_and_overrides(words)
    import torch

    from model.chat import split_thought
    from model.checkpoint import load_model
    from model.sampling import LONG, SHORT, Sampling

    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = dtype or ("bfloat16" if device == "cuda" else "float32")
    network, processor = load_model(find_model(name, overrides), getattr(torch, wanted))
    network.to(device)
    sampling = (LONG if think else SHORT) if sample else Sampling()
    talk = Talk(network, processor, "long" if think else "short", sampling, seed, max_new_tokens)
    pictures = {f"i{index}": _picture(path) for index, path in enumerate(images)}
    parts: list[dict[str, Any]] = [{"type": "image", "part": part} for part in pictures]
    for index, path in enumerate(videos):
        part, taken = _video(path, f"v{index}", fps, processor)
        parts.append(part)
        pictures |= taken
    messages: list[dict[str, Any]] = []
    for turn, line in enumerate([question] if question is not None else _lines()):
        content = [*(parts if turn == 0 else ()), {"type": "text", "text": line}]
        messages.append({"role": "user", "content": content})
        said = talk.answer(messages, pictures)
        answer = split_thought(f"<think>\n{said}" if think else said)[1]
        messages.append({"role": "assistant", "content": answer})


def question_and_overrides(words: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Overrides are words that begin with the name of a setting (``storage.root=...``); a question may have a ``=`` too.
    Raises ConfigError when two words are left."""
    if not any("=" in word for word in words) and len(words) < 2:
        return (words[0] if words else None), ()
    composed = compose([])
    settings = {*composed.values, *composed.choices, "steps"}
    overrides = tuple(word for word in words if "=" in word and NAME.split(word.lstrip("+~"))[0] in settings)
    questions = [word for word in words if word not in overrides]
    if len(questions) > 1:
        near = (did_you_mean(NAME.split(word)[0], settings) for word in questions if "=" in word)
        raise ConfigError(
            f"there are {len(questions)} questions: {', '.join(map(repr, questions))}",
            do=next(filter(None, near), "") or "put the question in quotes; without one you talk line by line",
        )
    return next(iter(questions), None), overrides


@dataclass(frozen=True)
class Talk:
    """A model and how it answers."""

    network: MiniCPMV
    processor: Processor
    mode: Literal["short", "long"]
    sampling: Sampling
    seed: int
    max_new_tokens: int

    def answer(self, messages: list[dict[str, Any]], pictures: dict[str, Image]) -> str:
        """What the model says, printed as it comes, and what it cost to stderr."""
        from model.decode import generate

        package = self.processor.config.max_package_frames
        prompt = self.processor.encode(messages, pictures, self.mode, generation=True, package=package)
        room = self.network.config.language.max_position_embeddings - len(prompt)
        if room < 1:
            raise DataError(
                f"the prompt has {len(prompt)} tokens, the model reads {room + len(prompt)}",
                do="give fewer pictures, or a lower --fps",
            )
        stream = Stream(self.processor, dim=self.mode == "long")
        began = time.monotonic()
        ((completion,),) = generate(
            self.network,
            [prompt],
            max_new_tokens=min(self.max_new_tokens, room),
            sampling=self.sampling,
            seed=self.seed,
            eos_ids=self.processor.ids.eos,
            forbid=self.processor.ids.visual,
            on_token=stream.take,
        )
        stream.end()
        cut = "" if completion.finish == "stop" else ", cut at the limit"
        took = f"{len(completion.token_ids)} new{cut}, {time.monotonic() - began:.1f} s"
        click.echo(f"{len(prompt)} prompt tokens, {took}", err=True)
        return self.processor.decode(completion.token_ids)


class Stream:
    """Prints a completion token by token. Bytes of an unfinished character wait; a thought is dim."""

    def __init__(self, processor: Processor, dim: bool) -> None:
        self.processor, self.dim = processor, dim
        self.ids: list[int] = []
        self.printed = 0

    def take(self, row: int, token: int) -> None:
        self.ids.append(token)
        text = self.processor.decode(self.ids)
        if not text.endswith("\ufffd"):
            self._print(text)

    def end(self) -> None:
        self._print(self.processor.decode(self.ids) + "\n")

    def _print(self, text: str) -> None:
        thought = text.find("</think>") + len("</think>") if "</think>" in text else len(text)
        if self.dim and self.printed < thought:
            click.secho(text[self.printed : thought], dim=True, nl=False)
            self.printed = thought
        click.echo(text[self.printed :], nl=False)
        self.printed = len(text)
        sys.stdout.flush()


def _lines() -> Any:
    """Questions from the terminal or a pipe; empty lines are passed over."""
    shown = sys.stdin.isatty()
    while True:
        if shown:
            click.secho("> ", fg="green", nl=False)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _picture(path: Path) -> Image:
    """A picture, turned upright (a phone's photo says in EXIF how it was held)."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        return ImageOps.exif_transpose(Image.open(path))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError("a picture cannot be read", where=str(path), why=str(error)) from error


def _video(path: Path, name: str, fps: float, processor: Processor) -> tuple[dict[str, Any], dict[str, Any]]:
    """The part of a video and its frames by name, decoded in the sandbox."""
    import io

    from PIL import Image

    from pipelines.media.video import DecodeSpec

    config, package = processor.config, processor.config.max_package_frames
    spec = DecodeSpec(fps, config.max_packages * package, config.slicing.scale_resolution**2)
    try:
        with Sandbox("pipelines.media.video:read_frames", DECODE_S, DECODE_BYTES) as sandbox:
            taken = sandbox.call(str(path), spec)
    except SandboxError as error:
        raise DataError("a video cannot be read", where=str(path), why=f"{error.category}: {error}") from error
    names = [f"{name}.{index:04d}" for index in range(len(taken.jpegs))]
    pictures = {key: Image.open(io.BytesIO(data)) for key, data in zip(names, taken.jpegs, strict=True)}
    click.echo(f"{path.name}: {len(names)} frames in packages of {package}", err=True)
    return {"type": "video", "parts": names, "ticks": list(taken.ticks)}, pictures
