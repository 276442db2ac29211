"""MiniMax-01 and M1 (arXiv 2501.08313, 2506.13585): seven layers of lightning attention for one of softmax attention,
experts in all of them, and a residual stream that holds the normed inputs.

MiniMax-M3 (model card): attention over blocks that an indexer chooses, but in the leading dense layers; gpt-oss's
bounded SwiGLU; sigmoid gating.
"""

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, Spec


def _mixers_of_01(c: Config, i: int) -> tuple[str, ...]:
    recurrent = c.keys.flags("attention.recurrent_layers", c.n_block)
    if recurrent is None:
        every = c.keys.integer("full_attention_interval", 8)
        recurrent = tuple((j + 1) % every != 0 for j in range(c.n_block))
    return ("lightning",) if recurrent[i] else ("attention",)


def _mixers_of_m3(c: Config, i: int) -> tuple[str, ...]:
    is_dense = i < c.keys.integer("leading_dense_block_count", 0, high=c.n_block)
    return ("attention",) if is_dense else ("block_sparse",)


SPECS = {
    "minimax-01": Spec("MiniMax-01 and M1", rope="halves", mixers=_mixers_of_01, stack="normed"),
    "minimax-m3": Spec(
        "MiniMax-M3",
        rope="halves",
        mixers=_mixers_of_m3,
        activation="swiglu_oai",
        experts=ExpertsSpec(gating="sigmoid", normed=False, activation="swiglu_oai"),
    ),
}
