"""Videos to frames: the unit of the videos stage against a bare PyAV loop and Ray's ``read_videos``.

    python -m benchmarks.videos             both bars
    python -m benchmarks.videos ours 1 all  one contestant by itself: name, frames a second, decode mode

Fixture: four clips of 40 s at 1280x720 and 30 frames a second in H.264, two with a keyframe every 250 frames, two every
30, made by code once. Everybody decodes them and keeps one frame a second at 602x336 pixels (a view of the model).

Bars. *Whole decode*: our unit (child process, JPEG by simplejpeg as ``recipe=data`` sets it, tar, sha256, manifest) reaches
0.9 times the speed of a loop that only decodes and resizes. A unit of one frame runs before it, unmeasured: a worker keeps
its child and imports from unit to unit. *Few frames wanted* (one in 10 s): our automatic choice of keyframes or seeking is
8 times as fast as that loop. ``loop + JPEG`` shows what encoding the kept frames adds; Ray's reader decodes every frame
into its object store and resizes them in a map.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.harness import Bar, Contestant, Meter, compare, emit, finish, run_command
from benchmarks.peers import find_peer

SECONDS, RATE, SIZE, VIEW = 40, 30, (1280, 720), (602, 336)
CLIPS = ((250, 0), (30, 1), (250, 2), (30, 3))
FIXTURE = Path(tempfile.gettempdir()) / "cookhouse-bench-videos-2"
SOURCE_FRAMES = len(CLIPS) * SECONDS * RATE


def make_fixture() -> list[Path]:
    """The clips, encoded when they are not there yet (about a minute of one core)."""
    import av
    import numpy as np
    from PIL import Image

    paths = []
    for gop, seed in CLIPS:
        path = FIXTURE / f"gop{gop}-{seed}.mp4"
        paths.append(path)
        if path.exists():
            continue
        FIXTURE.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((2000, 1100), Image.Resampling.BICUBIC)).astype(np.int16)
        scene = (smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
        partial = path.with_suffix(".part.mp4")
        options = {"preset": "veryfast", "g": str(gop), "keyint_min": str(gop), "sc_threshold": "0", "crf": "26"}
        with av.open(str(partial), "w") as container:
            stream: Any = container.add_stream("libx264", rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            for number in range(SECONDS * RATE):
                left, top = number * 5 % (2000 - SIZE[0]), number * 2 % (1100 - SIZE[1])
                picture = np.ascontiguousarray(scene[top : top + SIZE[1], left : left + SIZE[0]])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        partial.replace(path)
    return paths


def ours(fps: float, mode: str) -> None:
    """One unit of the videos stage, as a worker runs it."""
    from pipelines.shards.manifest import read_manifest
    from pipelines.shards.plan import SourceItem, plan_units
    from pipelines.videos.clips import ClipJob, build_clip_unit
    from pipelines.videos.settings import VideoShards

    items = [
        SourceItem(str(path), path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), "train")
        for path in make_fixture()
    ]
    settings = VideoShards(fps=fps, decode=mode, jpeg_encoder="simplejpeg")  # type: ignore[arg-type, call-arg]
    with tempfile.TemporaryDirectory() as directory:
        (unit,) = plan_units(items, len(items), "videos")
        first = replace(unit, name="first", items=unit.items[:1])
        few = settings.model_copy(update={"max_decoded": 1, "decode": "all"})
        for job in (ClipJob(first, few), ClipJob(unit, settings)):
            with Meter() as meter:
                build_clip_unit(job, Path(directory))
        rows = read_manifest(Path(directory) / "manifest" / f"{unit.name}.parquet")
    assert {(row.width, row.height) for row in rows} == {VIEW}
    emit({"source_frames": SOURCE_FRAMES, "kept": sum(row.frames for row in rows)}, meter.usage)


def loop(fps: float, jpeg: bool) -> None:
    """What anybody writes first: decode everything, keep the first frame of each slot, resize it."""
    import av
    from PIL import Image

    from pipelines.shards.sample import encode_jpeg

    decoded = kept = 0
    with Meter() as meter:
        for path in make_fixture():
            with av.open(str(path)) as container:
                container.streams.video[0].codec_context.thread_count = 1
                slot = -1
                for frame in container.decode(video=0):
                    decoded += 1
                    assert frame.pts is not None and frame.time_base is not None
                    found = (frame.pts * frame.time_base * Fraction(fps)).__floor__()
                    if found > slot:
                        slot = found
                        small = frame.reformat(*VIEW, format="rgb24", interpolation="AREA", threads=1).to_ndarray()
                        kept += 1
                        if jpeg:
                            encode_jpeg(Image.fromarray(small), 92)
    emit({"source_frames": decoded, "kept": kept}, meter.usage)


_RAY = """
import sys
sys.path.insert(0, {root!r})
from benchmarks.harness import Meter, emit
import ray
ray.init(address="local", num_cpus=2, object_store_memory=2 << 30, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
def small(batch):
    import numpy as np
    from PIL import Image
    keep = [n for n, index in enumerate(batch["frame_index"]) if index % {stride} == 0]
    pictures = [np.asarray(Image.fromarray(batch["frame"][n]).resize({view}, Image.Resampling.BOX)) for n in keep]
    seen = [len(batch["frame_index"])] + [0] * (len(keep) - 1)
    blank = [np.zeros(({view}[1], {view}[0], 3), np.uint8)]  # a batch without a wanted frame is counted by a row of its own
    return {{"frame": np.stack(pictures or blank), "seen": np.array(seen),
             "kept": np.array([1] * len(keep) or [0])}}
with Meter() as meter:
    kept = seen = 0
    rows = ray.data.read_videos({paths!r}, override_num_blocks=2)
    for batch in rows.map_batches(small, batch_size=30).iter_batches(batch_size=None):
        kept, seen = kept + int(batch["kept"].sum()), seen + int(batch["seen"].sum())
emit({{"source_frames": seen, "kept": kept}}, meter.usage)
"""


def ray_videos() -> Contestant:
    """Ray's reader in the peer environment (it needs decord)."""
    name, python = "Ray read_videos", find_peer("ray-videos")
    if isinstance(python, str):
        return Contestant(name, None, python)
    paths = [str(path) for path in make_fixture()]
    script = _RAY.format(root=str(Path(__file__).parents[1]), stride=RATE, view=VIEW, paths=paths)
    return Contestant(name, lambda: run_command([str(python), "-c", script]))


def _contestant(name: str, *arguments: str) -> Contestant:
    return Contestant(name, lambda: run_command([sys.executable, "-m", "benchmarks.videos", *arguments]))


def main(arguments: list[str]) -> int:
    if arguments:
        name, fps, how = arguments
        if name == "ours":
            ours(float(fps), how)
        else:
            loop(float(fps), how == "jpeg")
        return 0
    make_fixture()
    whole = compare(
        [
            _contestant("unit of the videos stage", "ours", "1", "all"),
            _contestant("bare PyAV loop", "loop", "1", "plain"),
            _contestant("bare PyAV loop + JPEG", "loop", "1", "jpeg"),
            ray_videos(),
        ],
        "source_frames",
        {"source_frames": SOURCE_FRAMES, "kept": len(CLIPS) * SECONDS},
    )
    few = compare(
        [
            _contestant("unit of the videos stage, auto", "ours", "0.1", "auto"),
            _contestant("bare PyAV loop", "loop", "0.1", "plain"),
        ],
        "source_frames",
        {"source_frames": SOURCE_FRAMES, "kept": len(CLIPS) * SECONDS // 10},
    )
    missed = finish("videos, whole decode", whole, [Bar("whole decode", whole[0].over(whole[1]), ">=", 0.9)], "frames")
    bar = Bar("keyframes or seeking", few[0].over(few[1]), ">=", 8)
    return finish("videos, one frame in 10 s wanted", few, [bar], "frames") or missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
