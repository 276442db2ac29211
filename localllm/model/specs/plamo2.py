"""PLaMo 2 (Preferred Networks' model card): attention in every other layer, a variant of Mamba in those without
key-value heads; norms before and after each block, and a gate fused with the feed-forward block's other matrix.
"""

from localllm.gguf.config import Config
from localllm.model.spec import Spec


def _mixers(c: Config, i: int) -> tuple[str, ...]:
    return ("attention",) if c.n_head_kv[i] else ("plamo2",)


SPECS = {
    "plamo2": Spec("PLaMo 2", rope="halves", mixers=_mixers, attention_scale=lambda c, i: c.n_embd_head_v[i] ** -0.5),
}
