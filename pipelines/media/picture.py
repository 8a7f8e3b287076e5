"""Open one picture safely: runs inside ``pipelines.core.sandbox``, because image parsers meet hostile bytes too."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass

from pipelines.core.sandbox import SandboxError
from pipelines.shards.sample import encode_jpeg


@dataclass(frozen=True)
class Picture:
    """JPEG bytes (RGB, upright), size in pixels, and the size and mode of the source."""

    jpeg: bytes
    width: int
    height: int
    source_width: int
    source_height: int
    mode: str


def read_picture(path: str | bytes, max_pixels: int, most_source_pixels: int, quality: int) -> Picture:
    """Decode a file or its bytes, turn upright by EXIF, put transparency on white, shrink to at most ``max_pixels``,
    encode 4:4:4.

    Raises SandboxError: ``parse`` (not a picture), ``decode`` (broken data), ``policy`` (more than
    ``most_source_pixels``), ``source_unavailable``."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as opened:
            if opened.width * opened.height > most_source_pixels:
                raise SandboxError("policy", f"{opened.width}x{opened.height} pixels are over {most_source_pixels}")
            source = (opened.width, opened.height, opened.mode)
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except FileNotFoundError as error:
        raise SandboxError("source_unavailable", str(error)) from error
    except UnidentifiedImageError as error:
        raise SandboxError("parse", "not a picture in a known format") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SandboxError("decode", f"{type(error).__name__}: {error}") from error
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    image = image.convert("RGB")
    if image.width * image.height > max_pixels:
        scale = math.sqrt(max_pixels / (image.width * image.height))
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return Picture(encode_jpeg(image, quality), image.width, image.height, *source)
