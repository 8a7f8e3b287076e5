"""H.264 without an encoder: a new picture is written raw (I_PCM macroblocks), a repeated one as "all skipped".

x264 has given other bytes for equal pictures now and then (docs/log.md), and the corpus promises its bytes. This is
integer code of a page and fits clips whose picture seldom changes. Syntax: ITU-T H.264, 7.3 (baseline profile, CAVLC).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
_PCM = "000011010"  # ue(25), the type of a raw macroblock in a slice of intra pictures


def stream(pictures: Iterable[NDArray[np.uint8]], width: int, height: int) -> Iterator[bytes]:
    """Access units (Annex B) of pictures in 4:2:0: planes Y, Cb, Cr in rows of ``width``, [height * 3 / 2, width].

    Both sides are multiples of 16 pixels, else ValueError. Equal neighbours cost 10 bytes, others 1.5 a pixel."""
    if width % BLOCK or height % BLOCK:
        raise ValueError(
            f"H.264 of whole macroblocks needs sides that are multiples of {BLOCK}, not {width} x {height}"
        )
    across, down = width // BLOCK, height // BLOCK
    before: NDArray[np.uint8] | None = None
    keys = number = 0
    for picture in pictures:
        if before is None or not np.array_equal(picture, before):
            before, number = picture, 0
            # Slice header: first macroblock, type I, parameter set, frame_num, idr_pic_id, two flags, quantiser.
            head = _ue(0) + _ue(7) + _ue(0) + "0000" + _ue(keys % 2) + "00" + _ue(0)
            blocks = _blocks(picture, across, down)
            raw = _bytes(head + _PCM) + bytes(blocks[0]) + b"".join(b"\x0d\x00" + bytes(block) for block in blocks[1:])
            yield _parameters(across, down) + _unit(0x65, raw + b"\x80")
            keys += 1
        else:
            number += 1
            head = _ue(0) + _ue(5) + _ue(0) + f"{number % 16:04b}" + "000" + _ue(0)
            yield _unit(0x41, _closed(head + _ue(across * down)))


def _blocks(picture: NDArray[np.uint8], across: int, down: int) -> NDArray[np.uint8]:
    """Macroblocks in reading order, each 256 values of Y, 64 of Cb and 64 of Cr: [across * down, 384]."""
    luma, *halves = np.split(picture.reshape(-1), [256 * across * down, 320 * across * down])

    def cut(plane: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        tiles = plane.reshape(down, side, across, side).swapaxes(1, 2)
        return tiles.reshape(across * down, side * side)

    return np.concatenate([cut(luma, BLOCK), *(cut(half, BLOCK // 2) for half in halves)], axis=1)


def _parameters(across: int, down: int) -> bytes:
    """Sequence and picture parameter sets: level 2, one reference picture, output in the order of decoding."""
    size = _ue(across - 1) + _ue(down - 1)
    sequence = bytes([66, 0xC0, 20]) + _closed(_ue(0) + _ue(0) + _ue(2) + _ue(1) + "0" + size + "1" + "1" + "0" + "0")
    picture = _closed(_ue(0) + _ue(0) + "00" + _ue(0) * 3 + "000" + _ue(0) * 3 + "000")
    return _unit(0x67, sequence) + _unit(0x68, picture)


def _unit(kind: int, payload: bytes) -> bytes:
    """A NAL unit behind its start code; nothing inside may look like one."""
    return b"\x00\x00\x00\x01" + bytes([kind]) + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", payload)


def _ue(value: int) -> str:
    """Exp-Golomb code (9.1) as bits: 0 -> 1, 1 -> 010, 2 -> 011, 3 -> 00100."""
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def _closed(bits: str) -> bytes:
    return _bytes(bits + "1")


def _bytes(bits: str) -> bytes:
    """Bits as bytes, zeros behind them."""
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
