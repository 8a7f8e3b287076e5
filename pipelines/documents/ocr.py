"""OCR models as files: found, described by digest, laid out the way PaddleOCR reads them. Nothing is ever downloaded.

Models come from the two ``*_model_dir`` settings (folders with ``inference.yml`` and ``inference.onnx``), else from
the PP-OCRv6 ONNX files that the ``rapidocr`` wheel carries (Apache-2.0). The wheel has no ``inference.yml``, so one
is written beside a copy of each file in the user's cache; the characters stand in the metadata of the ONNX file."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigError
from pipelines.core.storage import put, sha256_of

PACKAGED = {"detection": "PP-OCRv6_det_small.onnx", "recognition": "PP-OCRv6_rec_small.onnx"}
NAMES = {"detection": "PP-OCRv6_small_det", "recognition": "PP-OCRv6_small_rec"}
RUNS = {"paddleocr": ("paddleocr", "paddlex", "onnxruntime"), "rapidocr": ("rapidocr", "onnxruntime")}
"""Engine -> the packages that run the models."""

LAYOUT_VERSION = 1  # of the inference.yml written here
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@dataclass(frozen=True)
class OcrModels:
    """Two files and where they come from: ``config``, ``rapidocr`` or ``missing`` (then both are None)."""

    origin: str
    detection: Path | None = None
    recognition: Path | None = None


def find_models(detection_dir: str | None = None, recognition_dir: str | None = None) -> OcrModels:
    """The models to use. Raises ConfigError when only one folder is given or a folder lacks its files."""
    if (detection_dir is None) != (recognition_dir is None):
        raise ConfigError("give both ocr_detection_model_dir and ocr_recognition_model_dir, or neither")
    if detection_dir is not None and recognition_dir is not None:
        return OcrModels("config", _model_file(detection_dir), _model_file(recognition_dir))
    spec = importlib.util.find_spec("rapidocr")
    if spec is None or spec.origin is None:
        return OcrModels("missing")
    folder = Path(spec.origin).parent / "models"
    files = [folder / PACKAGED[part] for part in ("detection", "recognition")]
    return OcrModels("rapidocr", *files) if all(file.is_file() for file in files) else OcrModels("missing")


def _model_file(folder: str) -> Path:
    for name in ("inference.onnx", "inference.yml"):
        if not (Path(folder) / name).is_file():
            raise ConfigError(
                f"the OCR model folder has no {name}",
                where=folder,
                do="give a folder in PaddleOCR's form (inference.onnx, inference.yml), or none for the packaged models",
            )
    return Path(folder) / "inference.onnx"


@cache
def _sha256(path: Path, size: int, time_ns: int) -> str:
    return sha256_of(path)


def file_digest(path: Path) -> str:
    """sha256 of a model file, remembered while the file does not change."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


def describe_models(
    engine: str = "paddleocr", detection_dir: str | None = None, recognition_dir: str | None = None
) -> dict[str, Any]:
    """For ``cookhouse doctor`` and for keys: origin, paths and sha256 of both models, versions of what runs them under
    ``engine`` (``paddleocr`` or ``rapidocr``), ``ready`` when a scanned page can be read."""
    models = find_models(detection_dir, recognition_dir)
    engines = {name: package_version(name) for name in RUNS[engine]}
    files = {
        part: {"path": str(path), "sha256": file_digest(path), "bytes": path.stat().st_size}
        for part, path in (("detection", models.detection), ("recognition", models.recognition))
        if path is not None
    }
    ready = models.origin != "missing" and "absent" not in engines.values()
    return {"ready": ready, "origin": models.origin, "engines": engines, **files}


def models_digest(
    engine: str = "paddleocr", detection_dir: str | None = None, recognition_dir: str | None = None
) -> str:
    """What of the OCR decides the bytes of the shards: one line for the step's key."""
    told = describe_models(engine, detection_dir, recognition_dir)
    if not told["ready"]:
        return "absent"
    marks = [told[part]["sha256"][:16] for part in ("detection", "recognition")]
    marks += [f"{name} {version}" for name, version in told["engines"].items()]
    return " ".join([*marks, f"layout {LAYOUT_VERSION}"])


def package_version(package: str) -> str:
    """Of an installed package, "absent" for none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def model_folders(models: OcrModels) -> tuple[Path, Path]:
    """Folders that ``PaddleOCR(text_*_model_dir=...)`` reads offline. The packaged models are laid out once under
    ``$XDG_CACHE_HOME/cookhouse/ocr`` (or the temporary folder where that cannot be written)."""
    if models.detection is None or models.recognition is None:
        raise ConfigError("there are no OCR models", do="install the extra 'ocr', or give ocr_*_model_dir")
    if models.origin == "config":
        return models.detection.parent, models.recognition.parent
    base = cache_folder()
    return _laid_out(base, "detection", models.detection), _laid_out(base, "recognition", models.recognition)


def cache_folder() -> Path:
    """Where laid-out models are kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cookhouse" / "ocr"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if os.access(home, os.W_OK):
            return home
    except OSError:
        pass
    return Path(tempfile.gettempdir()) / f"cookhouse-{os.getuid()}" / "ocr"


def _laid_out(base: Path, part: str, model: Path) -> Path:
    folder = base / f"{NAMES[part]}-{file_digest(model)[:12]}-v{LAYOUT_VERSION}"
    if not ((folder / "inference.yml").is_file() and (folder / "inference.onnx").is_file()):
        import yaml

        text = yaml.safe_dump(_inference(part, model), allow_unicode=True, sort_keys=False)
        put(folder / "inference.onnx", model.read_bytes())  # another process writes the same
        put(folder / "inference.yml", text.encode())
    return folder


def _inference(part: str, model: Path) -> dict[str, Any]:
    """What PaddleOCR asks of ``inference.yml``."""
    mean, std = IMAGENET
    if part == "detection":
        steps: list[dict[str, Any]] = [
            {"DetResizeForTest": {"resize_long": 960}},
            {"NormalizeImage": {"mean": mean, "std": std, "order": "hwc", "scale": "1./255."}},
            {"ToCHWImage": None},
        ]
        keep = ["image", "shape"]
        after = {
            "name": "DBPostProcess",
            "thresh": 0.3,
            "box_thresh": 0.6,
            "max_candidates": 1000,
            "unclip_ratio": 1.5,
        }
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        characters = session.get_modelmeta().custom_metadata_map["character"].split("\n")
        steps, keep = [{"RecResizeImg": {"image_shape": [3, 48, 320]}}], ["image"]
        after = {"name": "CTCLabelDecode", "character_dict": characters}
    decode = {"DecodeImage": {"channel_first": False, "img_mode": "BGR"}}
    return {
        "Global": {"model_name": NAMES[part]},
        "PreProcess": {"transform_ops": [decode, *steps, {"KeepKeys": {"keep_keys": keep}}]},
        "PostProcess": after,
    }
