"""Words to set: a short English list plus pronounceable made-up words, split by hash.

A word belongs to ``train`` or ``test`` by a hash of its letters alone (12 % test), so no module needs a list to keep the
two apart.
"""

from __future__ import annotations

import numpy as np

from pipelines.core.seeds import unit_interval

TEST_SHARE = 0.12

ENGLISH = tuple(
    """
    able about above after again air also animal answer apple area arm autumn away baby back bag ball bank base bath bean
    bear bell best bird blue boat body bone book both bottle bowl box boy brave bread bridge bright bring brother brown
    build butter cake call calm camp card care carry castle cat centre chain chair change cheese child circle city clean
    clear climb clock cloud coat coffee cold colour cook copper corn country cover cow cross cup dance dark day deep desk
    dinner dish doctor dog door down draw dream dress drink drive drop dry duck early earth east easy egg eight empty
    engine evening every eye face fair fall family far farm fast father field fire first fish five flag flat floor flower
    fly food foot forest fork four fox free fresh friend fruit full game garden gate gentle gift girl glass glove goat gold
    good grass green ground group grow guide hair half hand happy hard hat head heart heavy help high hill home honey hope
    horse hot hour house hundred ice idea ink island jacket job join juice jump keep key kind king kitchen kite knee knife
    ladder lake lamp land large last late laugh leaf learn left lemon letter light line lion list little long love lunch
    machine main map market master meadow meal metal middle milk mill mind mirror money month moon morning mother mountain
    mouse mouth music nail name narrow near neck needle nest never new night nine noise north nose note number nut oak
    ocean office oil old olive one onion open orange order other oven over page paint pair paper park path peace pear pen
    pencil people pepper piano picture pillow pine place plain plane plant plate play pocket point pond poor port post
    potato power price print proud pupil purple quick quiet rabbit radio rain red rest rice rich ride right ring river road
    rock roof room root rope rose round row rule run salt sand school sea season seat second seed seven shade shape sharp
    sheep shelf shell ship shirt shoe shop short shoulder side silk silver simple sister six skin sky sleep slow small
    smile smoke snow soap soft soil song soup south space spoon spring square stairs star station steam steel stone store
    storm story street string strong sugar summer sun supper sweet swim table tail tall tea ten tent thing three ticket
    tiger time tin today tomato tool top town toy train tree trip true trust turn twelve two uncle under valley view
    village violin visit voice walk wall warm wash watch water wave weather week west wet wheat wheel white wide wild wind
    window wine winter wise wolf wood wool word work world yard year yellow young zebra zero
    """.split()
)

_ONSETS = tuple("b c d f g h j k l m n p r s t v w z br cl dr fl gr pl pr sh sk sl sn st th tr ch qu".split())
_VOWELS = tuple("a e i o u a e i o ai ea ou oo".split())
_CODAS = ("", "", "", "n", "r", "l", "m", "s", "t", "d", "k", "x", "nd", "rk", "st", "ng", "y", "p")


def split_of(*names: str | int) -> str:
    """``train`` or ``test``, a pure function of the names."""
    return "test" if unit_interval(*names) < TEST_SHARE else "train"


def word_split(word: str) -> str:
    """The split a word belongs to."""
    return split_of("word", word)


def made_up(rng: np.random.Generator) -> str:
    """A pronounceable word of one to three syllables, 2 to 9 letters."""
    while True:
        count = int(rng.integers(1, 4))
        parts = [
            _ONSETS[int(rng.integers(len(_ONSETS)))] + _VOWELS[int(rng.integers(len(_VOWELS)))] for _ in range(count)
        ]
        word = "".join(parts) + _CODAS[int(rng.integers(len(_CODAS)))]
        if 2 <= len(word) <= 9:
            return word


def draw_word(rng: np.random.Generator, split: str) -> str:
    """One word of the split: English one time in four, else made up."""
    while True:
        word = ENGLISH[int(rng.integers(len(ENGLISH)))] if rng.random() < 0.25 else made_up(rng)
        if word_split(word) == split:
            return word


def sentence(rng: np.random.Generator, split: str) -> str:
    """5 to 12 words, a capital and a full stop."""
    text = " ".join(draw_word(rng, split) for _ in range(int(rng.integers(5, 13))))
    return text[0].upper() + text[1:] + "."
