"""Font faces to set text in, by split. Names are PyMuPDF font codes: the built-in base 14 and the ``pymupdf-fonts``
package (OFL, Ubuntu Font Licence). Whole families are held out for ``test``, not single weights."""

from __future__ import annotations

TRAIN_FACES = (
    "helv", "hebo", "heit", "tiro", "tibo", "tiit", "cour", "cobo", "figo", "figbo", "figit",
    "ubuntu", "ubuntubo", "ubuntuit", "cascadia", "cascadiab", "ubuntm", "ubuntmbo",
)  # fmt: skip
TEST_FACES = ("notos", "notosbo", "fimo", "fimbo", "spacemo")


def faces(split: str) -> tuple[str, ...]:
    """Font codes of ``train`` or ``test``."""
    return TEST_FACES if split == "test" else TRAIN_FACES
