"""NeMo Curator's PDF page stage on a folder, in Curator's own environment (``make peers``): pages rendered in a forked
child, PNG, one row a page. Only the stage's ``process`` is measured; no Ray, no writer.

    .peers/nemo-curator/bin/python -m benchmarks.curator_pages FOLDER DPI
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.harness import Meter, emit


def main(folder: str, dpi: int) -> None:
    from loguru import logger
    from nemo_curator.stages.interleaved.pdf.nemotron_parse.preprocess import PDFPreprocessStage
    from nemo_curator.tasks import FileGroupTask

    logger.remove()
    stage = PDFPreprocessStage(pdf_dir=folder, dpi=dpi, max_pages=10_000)
    names = sorted(path.name for path in Path(folder).glob("*.pdf"))
    entries = [json.dumps({"file_name": name}) for name in names]
    stage.process(FileGroupTask(dataset_name="warm", data=entries[:1]))
    with Meter() as meter:
        batches = [stage.process(FileGroupTask(dataset_name="pages", data=[entry])) for entry in entries]
    pages = sum(batch.data.num_rows for batch in batches if batch is not None)
    emit({"pages": pages}, meter.usage)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
