"""MiniMax-01 and M1 (arXiv 2501.08313, 2506.13585): seven layers of lightning attention for one of softmax attention,
experts in all of them, and a residual stream of normed inputs.
"""

from localllm.gguf.config import Config
from localllm.model.spec import Spec


def _mixers_of_01(c: Config, i: int) -> tuple[str, ...]:
    recurrent = c.keys.flags("attention.recurrent_layers", c.n_block)
    if recurrent is None:
        every = c.keys.integer("full_attention_interval", 1, 1 << 16, 8)
        recurrent = tuple((j + 1) % every != 0 for j in range(c.n_block))
    return ("lightning",) if recurrent[i] else ("attention",)


SPECS = {
    "minimax-01": Spec("MiniMax-01 and M1", rope="halves", mixers=_mixers_of_01, stack="normed"),
}
