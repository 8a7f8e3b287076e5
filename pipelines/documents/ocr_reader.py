"""PaddleOCR in a child process: one picture in, lines out. The only module that imports paddleocr.

It runs in a ``Sandbox`` of its own, so its five seconds of imports are paid once per worker and only when a scan
turns up, and its memory growth ends with the child."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

TARGET = "pipelines.documents.ocr_reader:read_lines"


@dataclass(frozen=True)
class OcrSetup:
    """Model folders and names, CPU ``threads``, longest ``side`` in pixels for detection."""

    detection_dir: str
    recognition_dir: str
    detection_name: str
    recognition_name: str
    threads: int
    side: int


@dataclass(frozen=True)
class OcrLines:
    """Lines found: ``boxes`` [N, 4] float32 pixels, ``texts``, ``scores`` [N] in [0, 1]."""

    boxes: NDArray[np.float32]
    texts: tuple[str, ...]
    scores: tuple[float, ...]


@cache
def _engine(setup: OcrSetup) -> Any:
    os.environ.setdefault("PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK", "True")
    logging.disable(logging.WARNING)
    from paddleocr import PaddleOCR

    return PaddleOCR(
        text_detection_model_name=setup.detection_name,
        text_detection_model_dir=setup.detection_dir,
        text_recognition_model_name=setup.recognition_name,
        text_recognition_model_dir=setup.recognition_dir,
        use_doc_orientation_classify=False,
        use_doc_unwarping=False,
        use_textline_orientation=False,
        text_det_limit_side_len=setup.side,
        text_det_limit_type="max",
        engine="onnxruntime",
        engine_config={"intra_op_num_threads": setup.threads, "inter_op_num_threads": 1},
        device="cpu",
        cpu_threads=setup.threads,
    )


def read_lines(setup: OcrSetup, image: NDArray[np.uint8]) -> OcrLines:
    """Lines of an RGB picture [H, W, 3], in the order PaddleOCR gives them (top to bottom)."""
    result = _engine(setup).predict(np.ascontiguousarray(image[:, :, ::-1]))[0]
    polygons = [np.asarray(polygon, dtype=np.float32) for polygon in result["rec_polys"]]
    boxes = [[*polygon.min(axis=0), *polygon.max(axis=0)] for polygon in polygons]
    return OcrLines(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        tuple(result["rec_texts"]),
        tuple(round(float(score), 2) for score in result["rec_scores"]),
    )
