"""Choice of samples: test rows only, fair order, and a wrong picture that is really another page."""

import random

import pytest

from model.evaluation.select import chunked, derangement, fair_order, refuse_all_but_test
from pipelines.core.errors import DataError
from pipelines.shards.index import SampleRef


def ref(key: str, split: str = "test") -> SampleRef:
    return SampleRef("cards", "/s.tar", key, 0, 0, split, "document", 1, 0, 0, ())


def test_a_row_of_another_split_is_refused():
    refuse_all_but_test([ref("a")])
    with pytest.raises(DataError, match="'b' is of 'train'"):
        refuse_all_but_test([ref("a"), ref("b", "train")])


def test_the_order_is_a_function_of_the_samples_alone():
    refs = [ref(f"k{i}") for i in range(50)]
    shuffled = random.Random(0).sample(refs, 50)
    assert fair_order(refs, 1) == fair_order(shuffled, 1) != fair_order(refs, 2)
    kept = set(refs[:30])
    assert [r for r in fair_order(refs, 1) if r in kept] == fair_order(refs[:30], 1)


@pytest.mark.parametrize("seed", range(20))
def test_every_sample_gets_the_picture_of_another_page_once(seed):
    draw = random.Random(seed)
    groups = [i // 2 for i in range(draw.randint(4, 60))]
    sizes = [group % 4 + 1 for group in groups]
    draw.shuffle(order := list(range(len(groups))))
    groups, sizes = [groups[i] for i in order], [sizes[i] for i in order]
    partner = derangement(groups, sizes)
    assert sorted(partner) == list(range(len(groups)))
    assert all(groups[i] != groups[j] for i, j in enumerate(partner))


def test_the_wrong_picture_mostly_has_as_many_lines():
    draw = random.Random(3)
    sizes = [draw.randint(1, 4) for _ in range(200)]
    partner = derangement(list(range(200)), sizes)
    assert sum(sizes[i] == sizes[j] for i, j in enumerate(partner)) >= 196


def test_one_page_alone_has_no_wrong_picture():
    assert derangement("abc", [1, 1, 1]) == [1, 2, 0]
    with pytest.raises(ValueError, match="2 of 3"):
        derangement("aab", [1, 1, 1])


def test_chunks_cover_everything_evenly():
    assert list(chunked("abcd", 3)) == [("a", "b"), ("c", "d")]
    assert list(chunked("", 3)) == []
    parts = list(chunked(range(101), 25))
    assert [item for part in parts for item in part] == list(range(101))
    assert {len(part) for part in parts} <= {20, 21}
    with pytest.raises(ValueError, match="at least 1"):
        list(chunked("ab", 0))
