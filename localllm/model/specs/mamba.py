"""Mamba (arXiv 2312.00752), FalconMamba (arXiv 2410.05355), Mamba-2 (arXiv 2405.21060), and Jamba (arXiv 2403.19887),
which has a few attention layers without RoPE between those of Mamba: layers without key-value heads are Mamba's.
"""

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, Spec


def _jamba_mixers(c: Config, i: int) -> tuple[str, ...]:
    return ("attention",) if c.n_head_kv[i] else ("mamba",)


SPECS = {
    # A file's feed_forward_length and head counts, if they are not 0, mean nothing.
    "mamba": Spec("Mamba, FalconMamba", rope="none", mixers=lambda c, i: ("mamba",), n_ff=lambda c, i: 0),
    "mamba2": Spec("Mamba-2, Codestral Mamba", rope="none", mixers=lambda c, i: ("mamba2",), n_ff=lambda c, i: 0),
    "jamba": Spec(
        "Jamba",
        rope="none",
        mixers=_jamba_mixers,
        experts=ExpertsSpec(normed=False),
    ),
}
