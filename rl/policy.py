"""The network as RL uses it: ``MiniCPMV`` that also reads a ``TreePack``. Same parts, same state-dict names."""

from __future__ import annotations

from torch import Tensor, nn

from model.minicpmv import MiniCPMV, Supervised
from model.pack import Pack
from rl.tree import TreePack


class Policy(MiniCPMV):
    """``forward(pack)`` is the base's; ``forward(tree)`` predicts every token of every completion of the tree."""

    @classmethod
    def adopt(cls, network: MiniCPMV) -> Policy:
        """The same parts under this class; nothing is copied."""
        policy = cls.__new__(cls)
        nn.Module.__init__(policy)
        policy.config = network.config
        policy.llm, policy.vpm, policy.resampler = network.llm, network.vpm, network.resampler
        return policy.train(network.training)

    def forward(self, pack: Pack | TreePack) -> Supervised:
        if isinstance(pack, Pack):
            return super().forward(pack)
        embeds = self._tree_embeds(pack)
        hidden = self.decode(embeds, pack.position_ids, pack.predictors, attention_mask=pack.allowed)
        return Supervised(self.llm.lm_head(hidden), pack.targets, pack.sample, pack.predictors)

    def _tree_embeds(self, tree: TreePack) -> Tensor:
        """``[B, L, D]``: text embeddings, with resampler rows at the visual positions of the prompts."""
        rows, columns = tree.input_ids.shape
        flat = self.llm.model.embed_tokens(tree.input_ids).flatten(0, 1)
        if tree.prompts is not None:
            flat = flat.index_copy(0, tree.prompt_positions, self.embed(tree.prompts).to(flat.dtype))
        elif tree.visual is not None and len(tree.visual):
            flat = flat.index_copy(0, tree.visual_positions, tree.visual.to(flat.dtype))
        return flat.unflatten(0, (rows, columns))
