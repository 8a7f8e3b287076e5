"""OCR in a child process: one picture in, lines out. The only module that imports paddleocr or rapidocr.

It runs in a ``Sandbox`` of its own, so seconds of imports are paid once per worker and only when a scan turns up, and
its memory growth ends with the child. Both engines run the same two ONNX files; PaddleOCR is the default."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.corruption.arrays import coloured
from pipelines.documents.ocr import NAMES

TARGET = "pipelines.documents.ocr_reader:read"
Task = Literal["all", "detect", "recognise"]
BATCH = 6  # lines recognised at a time; PaddleOCR's own default


@dataclass(frozen=True)
class OcrSetup:
    """Which ``engine`` on which ``device`` (cpu, gpu), model folders, CPU ``threads``, longest ``side`` in
    pixels for detection."""

    engine: str
    device: str
    detection_dir: str
    recognition_dir: str
    threads: int
    side: int


@dataclass(frozen=True)
class OcrLines:
    """Lines found: ``quads`` [N, 4, 2] and the ``boxes`` [N, 4] around them (float32 pixels); ``texts`` and ``scores``
    in [0, 1] are empty after mere detection."""

    quads: NDArray[np.float32]
    boxes: NDArray[np.float32]
    texts: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    @classmethod
    def of(cls, quads: Sequence[Any], texts: Sequence[str] = (), scores: Sequence[float] = ()) -> OcrLines:
        """From quadrilaterals, or polygons of four points."""
        corners = np.array([np.asarray(quad) for quad in quads], dtype=np.float32).reshape(-1, 4, 2)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return cls(corners, boxes, tuple(texts), tuple(round(float(score), 2) for score in scores))


class PaddleEngine:
    """PaddleOCR 3.x on ONNX Runtime. Detection and recognition alone are its own single-model predictors. Images are BGR
    [H, W, 3], here as in ``RapidEngine``."""

    def __init__(self, setup: OcrSetup) -> None:
        os.environ.setdefault("PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK", "True")
        self.setup = setup
        self._runtime: dict[str, Any] = {
            "engine": "onnxruntime",
            "engine_config": {"intra_op_num_threads": setup.threads, "inter_op_num_threads": 1},
            "device": setup.device,
            "cpu_threads": setup.threads,
        }

    @cached_property
    def _pipeline(self) -> Any:
        from paddleocr import PaddleOCR

        return PaddleOCR(
            text_detection_model_name=NAMES["detection"],
            text_detection_model_dir=self.setup.detection_dir,
            text_recognition_model_name=NAMES["recognition"],
            text_recognition_model_dir=self.setup.recognition_dir,
            use_doc_orientation_classify=False,
            use_doc_unwarping=False,
            use_textline_orientation=False,
            text_det_limit_side_len=self.setup.side,
            text_det_limit_type="max",
            **self._runtime,
        )

    @cached_property
    def _detector(self) -> Any:
        from paddleocr import TextDetection

        folder, side = self.setup.detection_dir, self.setup.side
        return TextDetection(
            model_name=NAMES["detection"], model_dir=folder, limit_side_len=side, limit_type="max", **self._runtime
        )

    @cached_property
    def _recogniser(self) -> Any:
        from paddleocr import TextRecognition

        folder = self.setup.recognition_dir
        return TextRecognition(model_name=NAMES["recognition"], model_dir=folder, **self._runtime)

    def all(self, image: NDArray[np.uint8]) -> OcrLines:
        result = self._pipeline.predict(image)[0]
        return OcrLines.of(result["rec_polys"], result["rec_texts"], result["rec_scores"])

    def detect(self, image: NDArray[np.uint8]) -> OcrLines:
        """Top to bottom, then left to right."""
        quads = self._detector.predict(image)[0]["dt_polys"]
        return OcrLines.of(sorted(quads, key=lambda quad: (float(quad[0][1]) // 10, float(quad[0][0]))))

    def recognise(self, crops: list[NDArray[np.uint8]]) -> tuple[list[str], list[float]]:
        found = self._recogniser.predict(crops, batch_size=BATCH)
        return [one["rec_text"] for one in found], [one["rec_score"] for one in found]


class RapidEngine:
    """RapidOCR: the same models on ONNX Runtime, a lighter install."""

    def __init__(self, setup: OcrSetup) -> None:
        from rapidocr import RapidOCR

        self._engine: Any = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.text_score": 0.0,
                "EngineConfig.onnxruntime.intra_op_num_threads": setup.threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "EngineConfig.onnxruntime.use_cuda": setup.device == "gpu",
                "Det.model_path": str(Path(setup.detection_dir) / "inference.onnx"),
                "Det.limit_side_len": setup.side,
                "Det.limit_type": "max",
                "Rec.model_path": str(Path(setup.recognition_dir) / "inference.onnx"),
            }
        )

    def all(self, image: NDArray[np.uint8]) -> OcrLines:
        found = self._engine(image, use_det=True, use_cls=False, use_rec=True)
        return OcrLines.of([]) if found.boxes is None else OcrLines.of(found.boxes, found.txts, found.scores)

    def detect(self, image: NDArray[np.uint8]) -> OcrLines:
        found = self._engine(image, use_det=True, use_cls=False, use_rec=False)
        return OcrLines.of([]) if found.boxes is None else OcrLines.of(found.boxes)

    def recognise(self, crops: list[NDArray[np.uint8]]) -> tuple[list[str], list[float]]:
        found = self._engine.recognize_txt(crops)
        return list(found.txts or ()), list(found.scores)


Engine = PaddleEngine | RapidEngine
ENGINES: dict[str, type[Engine]] = {"paddleocr": PaddleEngine, "rapidocr": RapidEngine}


@cache
def _engine(setup: OcrSetup) -> Engine:
    logging.disable(logging.WARNING)
    return ENGINES[setup.engine](setup)


def read(setup: OcrSetup, image: NDArray[np.uint8], task: Task, quads: NDArray[np.float32] | None) -> OcrLines:
    """Lines of an RGB or grey picture [H, W, 3 or 1], top to bottom: found and read (``all``), only found (``detect``),
    or read where ``quads`` [N, 4, 2] say (``recognise``)."""
    picture = coloured(image)[:, :, ::-1].copy()
    engine = _engine(setup)
    if task == "all":
        return engine.all(picture)
    if task == "detect":
        return engine.detect(picture)
    assert quads is not None
    texts, scores = engine.recognise([cut_line(picture, quad) for quad in quads])
    return OcrLines.of(list(quads), texts, scores)


def cut_line(image: NDArray[np.uint8], quad: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture inside a quadrilateral (clockwise from the upper left), upright; a tall one is turned to the left, as
    PP-OCR was trained."""
    import cv2

    width = max(1, int(max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[2] - quad[3]))))
    height = max(1, int(max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2]))))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(quad.astype(np.float32), corners)
    crop = cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC)
    turned = np.rot90(crop) if height >= 1.5 * width else crop
    return np.ascontiguousarray(turned, dtype=np.uint8)
