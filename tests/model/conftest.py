"""Golden data, the real tokenizer where there is one, and a very small model of our own."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from model.config import LanguageConfig, ModelConfig, SliceConfig, VisionConfig
from model.minicpmv import MiniCPMV
from model.pack import Encoded
from model.processor import Processor
from model.resampler import init_resampler
from model.tokenizer import build_byte_tokenizer, load_tokenizer
from model.vision import init_vision

REPO = Path(__file__).resolve().parents[2]
COMMITTED = REPO / "tests" / "golden"
SHARED = Path(os.environ.get("COOKHOUSE_SHARED", REPO.parent / "shared"))


def pieces_text(pieces) -> str:
    """The prompt as people read it; pictures appear as ``(<image>./</image>)``."""
    return "".join("(<image>./</image>)" if piece.kind == "visual" else piece.text for piece in pieces)


class Golden:
    """Files by their path in the golden folder: the committed copy, else the shared one, else the test is skipped."""

    def bytes(self, name: str) -> bytes:
        for path in (COMMITTED / f"{name}.xz", COMMITTED / name, SHARED / "golden" / name):
            if path.is_file():
                data = path.read_bytes()
                return lzma.decompress(data) if path.suffix == ".xz" else data
        pytest.skip(f"golden/{name} is not committed and there is no shared data folder")

    def json(self, name: str) -> Any:
        return json.loads(self.bytes(name))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Floating tensors in float32 (BF16 only saves space)."""
        loaded = load_safetensors(self.bytes(name))
        return {key: value.float() if value.is_floating_point() else value for key, value in loaded.items()}

    @staticmethod
    def patches(pixels: Tensor) -> Tensor:
        """Released layout ``[3, P, L*P]`` -> ours ``[L, 3*P*P]``."""
        return pixels.unflatten(-1, (-1, pixels.shape[1])).permute(2, 0, 1, 3).flatten(1)

    def sample(self, case: str, supervise: str = "all") -> tuple[Encoded, dict[str, Tensor]]:
        """A case of ``model/`` as a sample: ``supervise`` all tokens, or its own labels."""
        data = self.tensors(f"model/{case}.safetensors")
        ids = data["input_ids"].flatten()
        sizes = data.get("tgt_sizes", torch.zeros(0, 2, dtype=torch.long))
        views = [self.patches(data[f"pixel_values.{view}"]) for view in range(len(sizes))]
        ticks = self.json("model/manifest.json")[case]["temporal_ids"]
        sample = Encoded(
            input_ids=ids,
            labels=ids.clone() if supervise == "all" else data["labels"].flatten(),
            patches=torch.cat([torch.zeros(0, 588), *views]),
            tgt_sizes=sizes,
            packages=tuple(tuple(package) for package in ticks),
            image_bound=data.get("image_bound", torch.zeros(0, 2, dtype=torch.long)).view(-1, 2),
        )
        return sample, data


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="session")
def released_layout() -> Callable[[Tensor], Tensor]:
    """Our patches ``[L, 3*P*P]`` -> the released ``[3, P, L*P]``."""
    return lambda patches: patches.view(-1, 3, 14, 14).permute(1, 2, 0, 3).reshape(3, 14, -1).contiguous()


@pytest.fixture(scope="session")
def golden_config(golden: Golden) -> ModelConfig:
    return ModelConfig.from_released(golden.json("tiny_model/config.json"))


@pytest.fixture(scope="session")
def golden_model(golden: Golden, golden_config: ModelConfig) -> MiniCPMV:
    model = MiniCPMV(golden_config).eval()
    model.load_state_dict(golden.tensors("tiny_model/model.safetensors"), strict=True)
    return model


@pytest.fixture(scope="session")
def released_tokenizer() -> Any:
    folder = SHARED / "tokenizer"
    if not folder.is_dir():
        pytest.skip("the released tokenizer files are not here (set COOKHOUSE_SHARED)")
    return load_tokenizer(folder)


@pytest.fixture(scope="session")
def released_config() -> ModelConfig:
    import yaml

    return ModelConfig(**yaml.safe_load((REPO / "conf" / "model" / "minicpm_v_4_5.yaml").read_text()))


@pytest.fixture(scope="session")
def released_processor(released_config: ModelConfig, released_tokenizer: Any) -> Processor:
    return Processor(released_config, released_tokenizer)


@pytest.fixture(scope="session")
def small_config() -> ModelConfig:
    return ModelConfig(
        language=LanguageConfig(
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            intermediate_size=96,
            vocab_size=288,
            max_position_embeddings=1024,
            bos_token_id=256,
            eos_token_id=258,
        ),
        vision=VisionConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=448
        ),
        slicing=SliceConfig(scale_resolution=112, max_slice_nums=4),
        query_num=4,
        use_image_id=False,
        max_packages=8,
    )


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build_byte_tokenizer(tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="session")
def small_processor(small_config: ModelConfig, byte_tokenizer: Any) -> Processor:
    return Processor(small_config, byte_tokenizer)


@pytest.fixture
def small_model(small_config: ModelConfig) -> MiniCPMV:
    torch.manual_seed(0)
    model = MiniCPMV(small_config)
    generator = torch.Generator().manual_seed(0)
    init_vision(model.vpm, generator)
    init_resampler(model.resampler, generator)
    return model.eval()


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Encoded]:
    """A random sample for ``small_config``: ``views`` of (rows, cols), packages of ticks, last tokens supervised."""

    def make(
        seed: int,
        text: int = 12,
        views: tuple[tuple[int, int], ...] = (),
        packages: tuple[tuple[int, ...], ...] | None = None,
        answer: int = 5,
        queries: int = 4,
    ) -> Encoded:
        generator = torch.Generator().manual_seed(seed)
        packages = ((-1,),) * len(views) if packages is None else packages
        head = 2
        ids = torch.randint(0, 256, (head + len(packages) * (queries + 1) + text,), generator=generator)
        starts = [head + index * (queries + 1) for index in range(len(packages))]
        labels = torch.full_like(ids, -100)
        labels[-answer:] = ids[-answer:]
        patches = torch.randn(sum(r * c for r, c in views), 588, generator=generator)
        return Encoded(
            input_ids=ids,
            labels=labels,
            patches=patches,
            tgt_sizes=torch.tensor(views, dtype=torch.long).view(-1, 2),
            packages=packages,
            image_bound=torch.tensor([(s, s + queries) for s in starts], dtype=torch.long).view(-1, 2),
        )

    return make
