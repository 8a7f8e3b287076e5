"""Every stage that promises bytes, small and on odd sizes; run in a process of its own by ``test_same_bytes.py``.

    python bytes_stages.py SOURCES STORE

prints a JSON object: stage -> content digest of its result in the store at STORE.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 301, 417  # points, and pixels at 72 dpi


def write_sources(folder: Path) -> None:
    """A paper of grey and coloured pages, pictures of every mode, clips, tables and texts; hardly a side is even."""
    for name in ("papers", "pictures", "clips", "lines", "asked", "chats", "essays", "tars"):
        (folder / name).mkdir(parents=True)
    write_pictures(folder / "pictures")
    write_paper(folder / "papers" / "odd.pdf", folder / "pictures" / "c.jpg")
    write_clip(folder / "clips" / "odd.mkv", "ffv1", 101, 75)
    write_clip(folder / "clips" / "odd.mov", "mjpeg", 75, 33)
    (folder / "lines" / "a.jsonl").write_text("".join(f'{{"text": "line {n} of the text"}}\n' for n in range(20)))
    for place in ("asked", "chats", "essays"):
        for name in ("papers/odd.pdf", "pictures/c.jpg", "clips/odd.mkv"):
            shutil.copy(folder / name, folder / place)
    asked = {"question": "What?", "answer": "It."}
    rows: list[dict[str, Any]] = [{"file": "odd.pdf", "page": 1, **asked}, {"file": "c.jpg", **asked}]
    (folder / "asked" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chat = [{"role": "user", "content": "<image><video>What?"}, {"role": "assistant", "content": "It."}]
    row = {"messages": chat, "images": ["c.jpg"], "videos": ["odd.mkv"]}
    (folder / "chats" / "a.jsonl").write_text(json.dumps(row) + "\n")
    essay = {"texts": ["First.", None, "Then."], "images": [None, "c.jpg", None]}
    (folder / "essays" / "a.jsonl").write_text(json.dumps(essay) + "\n")
    with tarfile.open(folder / "tars" / "a.tar", "w") as tar:
        for name, data in (("x.jpg", (folder / "pictures" / "c.jpg").read_bytes()), ("x.txt", b"A picture.")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def write_pictures(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (47, 33, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels[:, :, 0]).convert("P").save(folder / "b.png")
    smooth = Image.fromarray(pixels[:7, :9, :3]).resize((131, 95))
    smooth.save(folder / "c.jpg", quality=90, subsampling=2)
    smooth.convert("CMYK").save(folder / "d.jpg", quality=90)
    Image.fromarray(pixels[:, :, 0].astype(np.int32) * 257).convert("I;16").save(folder / "e.png")
    smooth.save(folder / "f.webp")
    for name in "abcdef":
        (folder / f"{name}.txt").write_text(f"Picture {name}.")


def write_paper(path: Path, picture: Path) -> None:
    """A page of grey text, one with colours and a picture, one as small as a card."""
    sys.modules.setdefault("pymupdf.layout", None)  # type: ignore[arg-type]
    import pymupdf

    paper = pymupdf.open()
    for number, (width, height) in enumerate(((WIDTH, HEIGHT), (HEIGHT, WIDTH), (149, 75))):
        page = paper.new_page(width=width, height=height)
        for row in range(int(height - 40) // 14):
            words = f"words {number} of line {row}"
            page.insert_text((19.3, 31 + 14 * row), words, fontsize=9, color=(0.7, 0, 0) if number == 1 else (0, 0, 0))
        if number == 1:
            page.insert_image(pymupdf.Rect(201.5, 33.5, 362.2, 151.7), filename=str(picture))
    paper.save(path)


def write_clip(path: Path, codec: str, width: int, height: int) -> None:
    import av
    import numpy as np

    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=5)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(11):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 5)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path.with_suffix(".txt").write_text("Something moves.")


def steps(folder: Path) -> Iterator[tuple[str, str, dict[str, Any], dict[str, str]]]:
    """(name, stage, configuration, inputs): every stage once, those with several ways to write several times."""
    papers = {"source": str(folder / "papers"), "views_per_page": 3, "ocr": False}
    clips = {"source": str(folder / "clips"), "view_pixels": 77 * 77}
    yield "sample_corpus", "sample_corpus", {"train_cards": 8, "test_cards": 4}, {}
    yield "documents", "documents", papers, {}
    yield "documents-compact", "documents", {**papers, "jpeg_colour": "compact", "dpi": 91}, {}
    yield "documents-pypdfium2", "documents", {**papers, "jpeg_colour": "compact", "engine": "pypdfium2"}, {}
    yield "documents-online", "documents", {**papers, "form": "online", "views_per_page": 1}, {}
    yield "videos", "videos", {**clips, "jpeg_encoder": "simplejpeg", "drop_similar": 0}, {}
    yield "videos-clip", "videos", {**clips, "store": "clip"}, {}
    yield "captions", "captions", {"source": str(folder / "pictures"), "dedup": "near"}, {}
    yield "captions-small", "captions", {"source": str(folder / "pictures"), "max_pixels": 63 * 63}, {}
    yield "text", "text", {"source": str(folder / "lines")}, {}
    yield "questions", "questions", {"source": str(folder / "asked"), "dpi": 91}, {}
    yield "conversations", "conversations", {"source": str(folder / "chats"), "view_pixels": 77 * 77}, {}
    yield "interleaved", "interleaved", {"source": str(folder / "essays")}, {}
    yield "adopt", "adopt", {"source": str(folder / "tars")}, {}
    drawn = {"photos": str(folder / "pictures"), "count": 6, "min_side": 65, "max_side": 301}
    yield "synthetic_ocr", "synthetic_ocr", drawn, {}
    yield "tokenizer", "tokenizer", {"merges": 40}, {"shards": "text"}


def main() -> None:
    from stage_runs import run_stage_inprocess

    from cookhouse.stages import STAGES
    from pipelines.workflow.stage import load_stage

    made: dict[str, Any] = {}
    for name, stage, config, inputs in steps(Path(sys.argv[1])):
        definition = load_stage(STAGES[stage])
        made[name] = run_stage_inprocess(
            definition.function,
            definition.config(**config),
            {port: made[step] for port, step in inputs.items()},
            Path(sys.argv[2]),
            step=name,
        )
    for name, item in made.items():
        assert item.stats.get("quarantined", 0) == 0, f"{name}: {item.stats}"
    sys.stdout.write(json.dumps({name: [str(item.root), item.content_digest] for name, item in made.items()}))


if __name__ == "__main__":
    main()
