"""What a person writes on the first day with Ray Data: ``read_binary_files -> flat_map(render, text, JPEG) ->
write_webdataset``. No sandbox, no manifest, no ink check, no counts, another key order every time.

    python -m benchmarks.naive_ray FOLDER WARM_UP_FOLDER DPI QUALITY pillow      # the usual encoder, or simplejpeg
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Meter, emit


def make_pages(dpi: int, quality: int, encoder: str) -> Any:
    """The function of ``flat_map``: a row with the bytes of a PDF in, one row a page out."""

    def pages(row: dict[str, Any]) -> list[dict[str, Any]]:
        import numpy as np
        import pymupdf
        import simplejpeg
        from PIL import Image

        document = pymupdf.open(stream=row["bytes"], filetype="pdf")
        found = []
        for number in range(document.page_count):
            page = document[number]
            pixmap = page.get_pixmap(dpi=dpi)
            words = [[*word[:5]] for word in page.get_text("words")]
            if encoder == "simplejpeg":
                image = np.frombuffer(pixmap.samples, np.uint8).reshape(pixmap.height, pixmap.width, 3)
                data = simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="444")
            else:
                buffer = io.BytesIO()
                picture = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)
                picture.save(buffer, "JPEG", quality=quality, subsampling=0)
                data = buffer.getvalue()
            key = f"{Path(row['path']).stem}-{number:05d}"
            found.append({"__key__": key, "jpg": data, "json": json.dumps({"words": words, "page": number}).encode()})
        return found

    return pages


def write_pages(folder: str, out: str, dpi: int, quality: int, encoder: str) -> None:
    import ray

    dataset = ray.data.read_binary_files(folder, include_paths=True)
    dataset.flat_map(make_pages(dpi, quality, encoder)).write_webdataset(out, encoder=None)


def count_pages(path: Path) -> int:
    with tarfile.open(path) as tar:
        return sum(name.endswith(".jpg") for name in tar.getnames())


def main(folder: str, warm: str, dpi: int, quality: int, encoder: str) -> None:
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    out = tempfile.mkdtemp()
    try:
        write_pages(warm, f"{out}/warm", dpi, quality, encoder)  # workers started, modules imported
        with Meter() as meter:
            write_pages(folder, f"{out}/pages", dpi, quality, encoder)
        emit({"pages": sum(count_pages(path) for path in Path(f"{out}/pages").glob("*.tar"))}, meter.usage)
    finally:
        shutil.rmtree(out, ignore_errors=True)
        ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
