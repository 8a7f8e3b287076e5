"""Batched decoding equals the full forward pass, token by token."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from transformers import DynamicCache

from model.decode import generate
from model.pack import Encoded, pack
from model.sampling import Sampling

EOS = (258, 256)


@pytest.fixture
def prompts(make_sample):
    return [
        make_sample(0, 9, ((2, 3), (4, 2))),
        make_sample(1, 3),
        make_sample(2, 7, ((2, 2), (2, 2), (2, 2)), ((0, 4), (9,))),
        make_sample(3, 20),
    ]


def scored(model, sample, tokens):
    """log p of each token by one full forward pass."""
    ids = torch.cat([sample.input_ids, torch.tensor(tokens)])
    labels = torch.cat([torch.full_like(sample.input_ids, -100), torch.tensor(tokens)])
    full = Encoded(**(vars(sample) | {"input_ids": ids, "labels": labels}))
    with torch.no_grad():
        return model(pack([full]))


def test_greedy_equals_the_released_model(golden, golden_model):
    spec = golden.json("model/manifest.json")
    cases = ("text_only", "sliced_image", "video_7_frames")
    rows = generate(golden_model, [golden.sample(case)[0] for case in cases], max_new_tokens=12, eos_ids=())
    for case, (completion,) in zip(cases, rows, strict=True):
        assert list(completion.token_ids) == spec[case]["greedy_12"]
        assert completion.finish == "length"


def test_logprobs_equal_the_full_forward(small_model, prompts):
    rows = generate(small_model, prompts, n=3, max_new_tokens=9, temperature=1.0, seed=4, eos_ids=EOS)
    for sample, completions in zip(prompts, rows, strict=True):
        for completion in completions:
            expected = scored(small_model, sample, completion.token_ids).logprobs()
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-5, rtol=0)


def test_temperature_scales_the_distribution_sampled_from(small_model, prompts):
    ((completion,), *_) = generate(small_model, prompts[:1], max_new_tokens=5, temperature=0.5, seed=1, eos_ids=())
    out = scored(small_model, prompts[0], completion.token_ids)
    expected = (out.logits / 0.5).log_softmax(-1).gather(1, out.targets[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-5, rtol=0)


def test_batching_and_early_ends_change_no_completion(small_model, prompts):
    """Greedy alone equals greedy together; rows end at different times and are compacted away."""
    stops = tuple(range(0, 256, 3))
    together = generate(small_model, prompts * 4, max_new_tokens=12, eos_ids=stops)
    alone = [generate(small_model, [sample], max_new_tokens=12, eos_ids=stops)[0] for sample in prompts]
    assert len({len(row[0].token_ids) for row in alone}) > 1
    for i, (got,) in enumerate(together):
        (expected,) = alone[i % len(prompts)]
        assert (got.token_ids, got.finish) == (expected.token_ids, expected.finish)
        assert got.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_stops_at_the_end_token_and_keeps_it(small_model, prompts):
    free = generate(small_model, prompts[:1], max_new_tokens=6, eos_ids=())[0][0]
    third = free.token_ids[2]
    stopped = generate(small_model, prompts[:1], max_new_tokens=6, eos_ids=(third,))[0][0]
    assert stopped.token_ids == free.token_ids[: free.token_ids.index(third) + 1]
    assert (stopped.finish, len(stopped.logprobs)) == ("stop", len(stopped.token_ids))


def test_the_same_seed_gives_the_same_answers_in_any_batch_size(small_model, prompts):
    options = {"n": 2, "max_new_tokens": 6, "temperature": 1.0, "eos_ids": EOS}
    first = generate(small_model, prompts, seed=7, **options)
    again = generate(small_model, prompts, seed=7, **options)
    other = generate(small_model, prompts, seed=8, **options)
    assert [[c.token_ids for c in row] for row in first] == [[c.token_ids for c in row] for row in again]
    assert [[c.token_ids for c in row] for row in first] != [[c.token_ids for c in row] for row in other]
    assert any(row[0].token_ids != row[1].token_ids for row in first)


def test_forbidden_ids_never_appear(small_model, prompts):
    banned = tuple(range(0, 250))
    rows = generate(small_model, prompts, max_new_tokens=20, temperature=2.0, eos_ids=(), forbid=banned)
    assert all(token >= 250 for row in rows for completion in row for token in completion.token_ids)
    assert all(p > float("-inf") for row in rows for completion in row for p in completion.logprobs)


def test_sampling_follows_the_distribution(small_model, make_sample):
    """400 first tokens of one prompt against its probabilities: total variation within sampling noise."""
    prompt = make_sample(5, 6)
    rows = generate(small_model, [prompt], n=400, max_new_tokens=1, temperature=0.2, seed=0, eos_ids=(), batch_rows=400)
    with torch.no_grad():
        logits = small_model.llm.lm_head(small_model.hidden(pack([prompt]))[-1])
    p = (logits / 0.2).softmax(-1)
    counts = torch.bincount(torch.tensor([c.token_ids[0] for c in rows[0]]), minlength=len(p)) / 400
    assert 0.5 * (counts - p).abs().sum() < 0.5 * (p * (1 - p) / 400).sqrt().sum() * 2


def test_tokens_are_told_as_they_come(small_model, prompts):
    """Every token of every row in order, with batches and rows that end early; nothing after an end."""
    stops = tuple(range(0, 256, 5))
    heard: dict[int, list[int]] = {}
    rows = generate(
        small_model,
        prompts,
        n=2,
        max_new_tokens=10,
        temperature=1.0,
        eos_ids=stops,
        batch_rows=4,
        on_token=lambda row, token: heard.setdefault(row, []).append(token),
    )
    assert len({len(c.token_ids) for row in rows for c in row}) > 1
    assert heard == {2 * i + j: list(c.token_ids) for i, row in enumerate(rows) for j, c in enumerate(row)}


def test_a_step_equals_the_modules_of_transformers(small_model, make_sample):
    """Written-out step and module calls agree to the last bit, in float32 and under autocast."""
    sample = make_sample(1, 11)
    for context in (nullcontext(), torch.autocast("cpu", torch.bfloat16)):
        with torch.no_grad(), context:
            (completion,) = generate(small_model, [sample], max_new_tokens=5, eos_ids=())[0]
            ids = torch.cat([sample.input_ids, torch.tensor(completion.token_ids[:-1])])
            cache, out = DynamicCache(), None
            small_model.llm.set_attn_implementation("sdpa")
            logps = []
            for part in (ids[: len(sample)], *ids[len(sample) :].split(1)):
                out = small_model.llm(input_ids=part[None], past_key_values=cache, use_cache=True).logits[0, -1]
                logps.append(out.float().log_softmax(-1).max().item())
            small_model.llm.set_attn_implementation("cookhouse_packed")
        tolerance = 1e-5 if isinstance(context, nullcontext) else 0.02
        assert completion.logprobs == pytest.approx(logps, abs=tolerance)


def test_repetition_penalty_reaches_the_sampler(small_model, prompts):
    plain = generate(small_model, prompts[:1], max_new_tokens=12, eos_ids=())[0][0]
    barred = generate(
        small_model, prompts[:1], max_new_tokens=12, sampling=Sampling(repetition_penalty=1e6), eos_ids=()
    )[0][0]
    assert len(set(plain.token_ids)) < 12
    assert barred.token_ids[0] == plain.token_ids[0]


def test_training_mode_is_given_back_and_gradients_are_off(small_model, prompts):
    small_model.train()
    generate(small_model, prompts[:1], max_new_tokens=2, eos_ids=())
    assert small_model.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 1020}, "exceed the limit of 1024"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0"),
        ({"max_new_tokens": 4, "n": 0}, "n = 0"),
    ],
)
def test_bad_requests_are_refused(small_model, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        generate(small_model, prompts, eos_ids=EOS, **options)


def test_nothing_to_do(small_model):
    assert generate(small_model, [], max_new_tokens=3, eos_ids=EOS) == []


def test_inference_mode_leaves_nothing_behind_that_breaks_training(small_model, make_sample):
    """Tables cached during inference are ordinary tensors."""
    sample = make_sample(9, 17, ((5, 7), (3, 11)), ((2, 6),))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        generate(small_model, [sample], max_new_tokens=2, eos_ids=())
    with torch.autocast("cpu", torch.bfloat16):
        (-small_model(pack([sample])).logprobs().mean()).backward()
    assert all(p.grad is not None for p in small_model.parameters())


def test_bfloat16_decoding_agrees_with_its_own_forward(small_model, prompts):
    with torch.autocast("cpu", torch.bfloat16):
        rows = generate(small_model, prompts, max_new_tokens=6, temperature=1.0, eos_ids=EOS)
        for sample, (completion,) in zip(prompts, rows, strict=True):
            expected = scored(small_model, sample, completion.token_ids).logprobs()
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=0.1, rtol=0)
