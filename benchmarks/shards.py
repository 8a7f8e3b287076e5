"""Reading shards for training: ours at random by index, against plain ``webdataset`` and Megatron-Energon on the very same
tars, with the same decode (JPEG to RGB by Pillow, JSON by the standard library); one process, no workers, imports left out.

    python -m benchmarks.shards                # 200 shards of 20 samples, 3 rounds; then the first batch of 1,000 shards
    python -m benchmarks.shards --shards 50 --rounds 1

Counts first: every contestant reads each sample once and names as many different keys; our index and mix are part of our
time. ``first`` is the wall time from the start of this file to the first 32 decoded samples, imports included. ``rss
slope`` is what a further sample costs in resident bytes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

try:
    from benchmarks import harness
except ImportError:  # run as a file by a peer's python
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks import harness

START = time.perf_counter()
FIRST = 32
MANY, FEW = 1000, 3  # shards and samples of each where the first batch is timed


def make_shards(folder: Path, shards: int, per_shard: int) -> int:
    """Tars of ``per_shard`` samples: a 448 x 448 page-like JPEG and a JSON of half a kilobyte. How many in all."""
    from PIL import Image, ImageDraw

    from pipelines.shards.manifest import Row
    from pipelines.shards.sample import encode_jpeg, image_content, sample_json, text_content, turn
    from pipelines.shards.unit import Item, write_unit

    draws = random.Random(0)
    pages = []
    for _ in range(16):
        page = Image.new("RGB", (448, 448), "white")
        pen = ImageDraw.Draw(page)
        for line in range(28):
            pen.text((10, 8 + 15 * line), "".join(draws.choices("abcdefghij klmnop qrstuv", k=66)), "black")
        pages.append(encode_jpeg(page))

    def item(number: int) -> Item:
        text = "".join(draws.choices("abcdefghij ", k=300))
        messages = turn([image_content(), text_content("Read.")], text)
        row = Row(f"s{number:07d}", "ok", "bench", "made", "0" * 64, "train", "document", number, views=1, width=448)
        return row, {
            "jpg": pages[number % 16],
            "json": sample_json("document", "train", "none", messages, {"number": number}),
        }

    for shard in range(shards):
        first = shard * per_shard
        write_unit(folder, f"train-{shard:06d}", map(item, range(first, first + per_shard)))
    return shards * per_shard


def read_ours(folder: Path, passes: int) -> Iterator[tuple[str, object, object]]:
    from pipelines.shards.index import Folder, ShardIndex
    from pipelines.shards.mix import mix
    from pipelines.shards.read import decode_parts, read_sample

    refs = ShardIndex.from_artifacts([Folder(folder, "set")]).select(split="train")
    for epoch in range(passes):
        for ref in mix({"set": refs}, {"set": 1}, 0, epoch, len(refs)):
            parts = decode_parts(read_sample(ref))
            yield ref.key, parts["jpg"], parts["json"]


def read_webdataset(folder: Path, passes: int) -> Iterator[tuple[str, object, object]]:
    import webdataset as wds

    urls = sorted(str(path) for path in (folder / "shards").glob("*.tar"))
    for epoch in range(passes):
        data = wds.WebDataset(urls, shardshuffle=len(urls), seed=epoch, empty_check=False)
        for sample in data.shuffle(100).decode("pilrgb"):
            yield sample["__key__"], sample["jpg"], sample["json"]


def read_energon(folder: Path, passes: int) -> Iterator[tuple[str, object, object]]:
    """In order and unshuffled: its training stream mixes epochs in the shuffle buffer, so its counts are not exact. This is
    the less work of the two."""
    from megatron.energon import SampleDecoder, TaskEncoder, WorkerConfig, get_loader, get_val_dataset

    class Plain(TaskEncoder):
        decoder = SampleDecoder(image_decode="pilrgb")

    for _ in range(passes):
        data = get_val_dataset(
            folder,
            split_part="train",
            worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
            batch_size=None,
            task_encoder=Plain(),
        )
        for sample in get_loader(data):
            yield sample.__key__, sample.sequence[0], sample.sequence[-1]


READERS: dict[str, Callable[[Path, int], Iterator[tuple[str, object, object]]]] = {
    "ours": read_ours,
    "webdataset": read_webdataset,
    "energon": read_energon,
}


MODULES = {
    "ours": ("pipelines.shards.index", "pipelines.shards.mix", "pipelines.shards.read"),
    "webdataset": ("webdataset",),
    "energon": ("megatron.energon",),
}


def contestant(name: str, folder: Path, passes: int, most: int | None) -> None:
    """Read everything ``passes`` times, or the first ``most`` samples, and tell what it took."""
    from PIL import Image

    keys: set[str] = set()
    points: list[tuple[float, float]] = []
    first_s, number = 0.0, 0
    for module in MODULES[name]:
        importlib.import_module(module)
    with harness.Meter(every_s=0.2) as meter:
        for number, (key, picture, about) in enumerate(islice(READERS[name](folder, passes), most), 1):
            assert isinstance(picture, Image.Image) and picture.mode == "RGB" and picture.width == 448 and about
            picture.load()
            keys.add(key)
            if number == FIRST:
                first_s = time.perf_counter() - START
            if number % 250 == 0:
                points.append((number, harness.tree_rss(os.getpid())))
    settled = points[len(points) // 3 :]
    figures = {"first s": first_s, "rss slope B/sample": harness.slope(settled) if len(settled) > 2 else 0.0}
    harness.emit({"samples": number, "keys": len(keys)}, meter.usage, figures)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--per-shard", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--most", type=int)
    parser.add_argument("--contestant", choices=sorted(READERS))
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    if chosen.contestant:
        contestant(chosen.contestant, chosen.folder, chosen.passes, chosen.most)
        return 0
    from benchmarks import energon_layout as energon
    from benchmarks.peers import find_peer
    from pipelines.shards.index import Folder

    with tempfile.TemporaryDirectory(prefix="cookhouse-shards-") as made:
        ours, theirs = Path(made) / "set", Path(made) / "energon"
        count = make_shards(ours, chosen.shards, chosen.per_shard)
        python = find_peer("energon")
        note = ""
        if isinstance(python, Path):
            energon.lay_out([Folder(ours, "set")], theirs)
            energon.index(theirs, str(python.with_name("energon")))
        else:
            note = python

        def command(name: str, python: Path | str, folder: Path) -> list[str]:
            arguments = ["--contestant", name, "--folder", str(folder), "--passes", str(chosen.passes)]
            return [str(python), str(Path(__file__).resolve()), *arguments]

        rows = harness.compare(
            [
                harness.Contestant("cookhouse", lambda: harness.run_command(command("ours", sys.executable, ours))),
                harness.Contestant(
                    "webdataset", lambda: harness.run_command(command("webdataset", sys.executable, ours))
                ),
                harness.Contestant(
                    "Energon",
                    None if note else (lambda: harness.run_command(command("energon", python, theirs))),
                    note,
                ),
            ],
            count="samples",
            expected={"samples": count * chosen.passes, "keys": count},
            rounds=chosen.rounds,
        )
        make_shards(Path(made) / "many", MANY, FEW)
        early = [
            harness.run_command([*command("ours", sys.executable, Path(made) / "many"), "--most", str(FIRST)])
            for _ in range(chosen.rounds)
        ]
        first = statistics.median(outcome.figures["first s"] for outcome in early)
        spent = statistics.median(outcome.usage.cpu_s for outcome in early)
        print(f"first {FIRST} of {MANY:,} shards: {first:.2f} s wall, {spent:.2f} CPU-s without imports")
        mine = rows[0]
        bars = [
            harness.Bar("samples per core-second against webdataset", mine.over(rows[1]), ">=", 1.0),
            harness.Bar("samples per core-second against Energon", mine.over(rows[2]), ">=", 1.0),
            harness.Bar(f"first {FIRST} samples of {MANY:,} shards", first, "<=", 3.0, "s"),
            harness.Bar("memory of a further sample", mine.figures["rss slope B/sample"], "<=", 512.0, "bytes"),
        ]
        return harness.finish("shards", rows, bars, "samples")


if __name__ == "__main__":
    sys.exit(main())
