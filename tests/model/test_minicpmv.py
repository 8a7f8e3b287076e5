"""The whole model against the released one; packed against alone; gradients; bfloat16; the 8.7B shapes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.padded import padded_visual
from model import minicpmv
from model.checkpoint import empty_model
from model.pack import pack
from model.resampler import init_resampler

CASES = ["text_only", "sliced_image", "two_images", "video_7_frames", "image_and_video"]
BATCHES = ["batch_images", "batch_video_first", "batch_image_first"]


def logits_of(model, packed):
    with torch.no_grad():
        return model.llm.lm_head(model.hidden(packed))


@pytest.mark.parametrize("case", CASES)
def test_logits_and_visual_rows_equal_the_released_model(golden, golden_model, case):
    spec = golden.json("model/manifest.json")[case]
    sample, data = golden.sample(case)
    packed = pack([sample])
    got = logits_of(golden_model, packed)[data["logit_positions"]]
    torch.testing.assert_close(got, data["logits"], atol=spec["tolerance_abs_logits"], rtol=0)
    if sample.packages:
        with torch.no_grad():
            rows = golden_model.visual(packed)
        tolerance = spec["tolerance_abs_vision_embeds"]
        torch.testing.assert_close(rows, data["vision_embeds"], atol=tolerance, rtol=0)


@pytest.mark.parametrize("case", [case for case in CASES if case != "two_images"])
def test_loss_and_gradient_norms_equal_the_released_model(golden, golden_model, case):
    expected = golden.json(f"model/{case}.grads.json")
    sample, _ = golden.sample(case, supervise="own")
    golden_model.zero_grad()
    loss = -golden_model(pack([sample])).logprobs().mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-4)
    norms = {n: p.grad.norm().item() for n, p in golden_model.named_parameters() if p.grad is not None}
    wanted = {name: norm for name, norm in expected["grad_l2_norms"].items() if norm}
    assert wanted.keys() <= norms.keys()
    for name, norm in wanted.items():
        assert norms[name] == pytest.approx(norm, rel=1e-3, abs=1e-6), name
    golden_model.zero_grad()


def test_chosen_rows_are_the_rows_of_the_whole(small_model, make_sample):
    """What follows the last attention is computed for chosen rows only: the same states, and the same gradients."""
    packed = pack([make_sample(9, 5), make_sample(30, 12), make_sample(7, 8)])
    chosen = torch.tensor([3, 20, 21, len(packed.input_ids) - 1, 0])

    def states_and_gradients(rows):
        small_model.zero_grad()
        states = small_model.hidden(packed, rows) if rows is not None else small_model.hidden(packed)[chosen]
        states.square().sum().backward()
        return states.detach(), {n: p.grad.clone() for n, p in small_model.named_parameters() if p.grad is not None}

    whole, wanted = states_and_gradients(None)
    part, got = states_and_gradients(chosen)
    torch.testing.assert_close(part, whole, atol=1e-5, rtol=1e-5)
    assert wanted.keys() == got.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, atol=1e-4, rtol=1e-4, msg=name)
    small_model.zero_grad()


@pytest.mark.parametrize("batch", BATCHES)
def test_batches_equal_their_members(golden, golden_model, batch):
    """Also after a packed video, where the released code takes wrong rows (trap 6), and with id 0 as a token (7)."""
    spec = golden.json("model/manifest.json")[batch]
    members = [golden.sample(case) for case in spec["members"]]
    packed = pack([sample for sample, _ in members])
    logits = logits_of(golden_model, packed).split(packed.lengths)
    for got, (_, data) in zip(logits, members, strict=True):
        torch.testing.assert_close(
            got[data["logit_positions"]], data["logits"], atol=spec["tolerance_abs_logits"], rtol=0
        )


def test_a_packed_video_before_an_image(golden, golden_model):
    """The same with the committed cases only."""
    members = [golden.sample(case) for case in ("video_7_frames", "sliced_image", "text_only")]
    packed = pack([sample for sample, _ in members])
    for got, (_, data) in zip(logits_of(golden_model, packed).split(packed.lengths), members, strict=True):
        torch.testing.assert_close(got[data["logit_positions"]], data["logits"], atol=3e-4, rtol=0)


def samples_of(make_sample):
    return [
        make_sample(0, 9, ((2, 3), (4, 2))),
        make_sample(1, 11),
        make_sample(2, 7, ((2, 2), (2, 2), (2, 2)), ((0, 4), (9,))),
        make_sample(3, 9, ((3, 1),), answer=1),
    ]


def test_packed_equals_alone_in_value_and_gradient(small_model, make_sample):
    samples = samples_of(make_sample)
    together = small_model(pack(samples))
    alone = [small_model(pack([sample])) for sample in samples]
    torch.testing.assert_close(together.logits, torch.cat([one.logits for one in alone]), atol=1e-5, rtol=0)
    assert together.sample.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3]
    grads = []
    for loss in (-together.logprobs().sum(), -torch.cat([one.logprobs() for one in alone]).sum()):
        small_model.zero_grad()
        loss.backward()
        grads.append([p.grad.clone() for p in small_model.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_predictions_belong_to_the_next_token_of_the_same_sample(small_model, make_sample):
    samples = samples_of(make_sample)
    packed = pack(samples)
    out = small_model(packed)
    assert torch.equal(out.targets, packed.input_ids[out.positions])
    assert len(out.targets) == packed.supervised
    logits = logits_of(small_model, packed)
    torch.testing.assert_close(out.logits, logits[out.positions - 1])
    torch.testing.assert_close(
        out.logprobs(), out.logits.log_softmax(-1).gather(1, out.targets[:, None])[:, 0], atol=1e-6, rtol=0
    )


def test_a_supervised_first_token_is_skipped(small_model, make_sample):
    sample = make_sample(0, 6)
    everything = type(sample)(sample.input_ids, sample.input_ids.clone())
    out = small_model(pack([everything, everything]))
    assert len(out.targets) == 2 * (len(sample) - 1)


def test_a_pack_without_pictures_still_gives_every_parameter_a_gradient(small_model, make_sample):
    packed = pack([make_sample(0, 9)])
    plain = small_model.eval()(packed).logprobs()
    small_model.train()
    out = small_model(packed).logprobs()
    torch.testing.assert_close(out, plain)
    (-out.mean()).backward()
    assert all(p.grad is not None for p in small_model.parameters())
    assert all(not p.grad.any() for p in small_model.vpm.parameters())


def test_inputs_are_not_written_to(small_model, make_sample):
    """The visual rows go into a fresh tensor: embeddings keep their gradient and their values."""
    packed = pack([make_sample(0, 9, ((2, 3),))])
    before = small_model.llm.model.embed_tokens.weight.clone()
    embeds = small_model.embed(packed)
    embeds.sum().backward()
    assert torch.equal(small_model.llm.model.embed_tokens.weight, before)
    placeholder_rows = packed.input_ids[packed.visual_positions].unique()
    others = packed.input_ids.unique()
    grad = small_model.llm.model.embed_tokens.weight.grad
    assert all(grad[token].any() for token in others if token not in placeholder_rows)


def test_rows_and_placeholders_must_agree(small_model, make_sample):
    with pytest.raises(ValueError, match="visual rows for"):
        small_model(pack([make_sample(0, 9, ((2, 3),), queries=3)]))


def test_long_videos_go_through_in_runs(small_model, make_sample, monkeypatch):
    """Without gradients at most VISUAL_RUN patches a run, cut between packages; the same rows."""
    sizes = ((2, 3), (4, 2), *((2, 2),) * 7, (5, 5))
    packed = pack([make_sample(0, 9, sizes, ((-1,), (-1,), (0, 1, 2), (3, 4, 5), (6,), (-1,)))])
    with torch.no_grad():
        whole = small_model.visual(packed)
    seen = []
    small_model.vpm.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    monkeypatch.setattr(minicpmv, "VISUAL_RUN", 20)
    with torch.no_grad():
        torch.testing.assert_close(small_model.visual(packed), whole, atol=1e-6, rtol=0)
    assert seen == [6 + 8, 12, 12 + 4, 25]
    small_model.visual(packed)
    assert seen[-1] == len(packed.patches)  # one run where gradients are needed


def padded_language(model, embeds):
    """Text embeddings ``[T, D]`` of each sample, right-padded, under one ``[B, 1, T, T]`` mask -> hidden of each."""
    lengths = torch.tensor([len(rows) for rows in embeds])
    x = pad_sequence(list(embeds), batch_first=True)
    seen = torch.arange(x.shape[1])[None] < lengths[:, None]
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    mask = (causal & seen[:, None]) | torch.eye(x.shape[1], dtype=torch.bool)
    positions = torch.arange(x.shape[1])[None].expand(len(x), -1)
    out = model(
        inputs_embeds=x, position_ids=positions, attention_mask={"full_attention": mask[:, None]}, use_cache=False
    )
    return [row[:length] for row, length in zip(out.last_hidden_state, lengths.tolist(), strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padded_layout_gives_the_same_model(small_model, make_sample, dtype):
    """The released layout (views, packages and samples padded and masked, benchmarks/padded.py) to 1e-5; in float64
    to 1e-7 (position terms stay float32, and their sum is taken in another order)."""
    tolerance = 1e-5 if dtype == torch.float32 else 1e-7
    init_resampler(small_model.resampler, torch.Generator().manual_seed(3))
    small_model.to(dtype)
    packed = pack(samples_of(make_sample)).to("cpu", dtype)
    with torch.no_grad():
        rows = padded_visual(
            small_model.vpm, small_model.resampler, packed.patches, packed.tgt_sizes.tolist(), packed.packages
        )
        torch.testing.assert_close(small_model.visual(packed), rows, atol=tolerance, rtol=0)
        embeds = small_model.embed(packed).split(packed.lengths)
        padded = torch.cat(padded_language(small_model.llm.model, embeds))
        logits = small_model.llm.lm_head(padded)
        torch.testing.assert_close(logits_of(small_model, packed), logits, atol=tolerance, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_weights_drift_little_from_the_released_logits(golden, golden_model, case):
    """Everything in bfloat16, as for serving: within 4 % of the largest logit, 1 % on average (measured below half)."""
    sample, data = golden.sample(case)
    model = copy.deepcopy(golden_model).bfloat16()
    got = logits_of(model, pack([sample]).to("cpu", torch.bfloat16))[data["logit_positions"]].float()
    drift = (got - data["logits"]).abs() / data["logits"].abs().max()
    assert drift.max() < 0.04
    assert drift.mean() < 0.01


def test_rotary_frequencies_stay_float32(small_model):
    before = small_model.llm.model.rotary_emb.inv_freq.clone()
    for cast in (small_model.bfloat16, small_model.double, small_model.float):
        assert torch.equal(cast().llm.model.rotary_emb.inv_freq, before)


def test_bfloat16_stays_near_float32(small_model, make_sample):
    """Autocast, as in training: logits within 0.1 (their scale is 1) and log-probabilities within 0.05 on average."""
    packed = pack(samples_of(make_sample))
    exact = small_model(packed)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = small_model(packed)
    drift = (rounded.logits.float() - exact.logits).abs().max() / exact.logits.abs().max()
    assert drift < 0.1
    assert (rounded.logprobs() - exact.logprobs()).abs().mean() < 0.05


def test_float64_runs_through(small_model, make_sample):
    out = small_model.double()(pack(samples_of(make_sample)).to("cpu", torch.float64))
    assert out.logits.dtype == torch.float64


def test_the_released_size_has_exactly_the_released_tensors(golden, released_config):
    """849 names and shapes, 8,695,895,280 parameters, without allocating them."""
    listed = golden.json("released_tensors.json")
    shapes = {name: list(tensor.shape) for name, tensor in empty_model(released_config).state_dict().items()}
    assert shapes == listed["tensors"]
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == listed["element_count"] == 8_695_895_280
