"""The GPT family: LayerNorm, plain feed-forward blocks, learned positions, ALiBi or RoPE. What each adds:

GPT-2 and StarCoder: learned positions. BLOOM and Refact: ALiBi, always. MPT and Jais: ALiBi where the file says so; MPT
bounds queries, keys and values. GPT-NeoX and Falcon: both blocks beside each other, with a norm each; StableLM: beside
each other where the second has no norm. Nemotron, Jais 2: squared ReLU. Orion, StableLM, Jais: gated. (arXiv
2211.05100, 2305.06161, 2402.19173, 2204.06745, 2311.16867, 2402.17834, 2402.16819, 2308.16149; GPT-2's report.)
"""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, Spec

_PLAIN = Spec("", rope="none", norm="layer", activation="gelu")


def _max_alibi_bias(c: Config) -> float:
    return c.keys.number("attention.max_alibi_bias", 0.0)


def _beside(c: Config, has_ffn_norm: bool) -> bool:
    return c.keys.flag("use_parallel_residual", True)


SPECS = {
    "gpt2": replace(_PLAIN, about="GPT-2"),
    "starcoder": replace(_PLAIN, about="StarCoder 1"),
    "starcoder2": replace(_PLAIN, about="StarCoder 2", rope="halves"),
    "gptneox": replace(_PLAIN, about="GPT-NeoX, Pythia", rope="halves", parallel=_beside),
    "falcon": replace(_PLAIN, about="Falcon 1 and 2", rope="halves", parallel=lambda c, has_norm: True),
    "bloom": replace(_PLAIN, about="BLOOM", alibi=lambda c: 8.0),
    "mpt": replace(_PLAIN, about="MPT", alibi=_max_alibi_bias, qk_norm_paired=True),
    "stablelm": replace(
        _PLAIN, about="StableLM", rope="halves", activation="silu", parallel=lambda c, has_norm: not has_norm
    ),
    "codeshell": replace(_PLAIN, about="CodeShell", rope="halves"),
    "orion": replace(_PLAIN, about="Orion", rope="halves", activation="silu"),
    "nemotron": replace(_PLAIN, about="Nemotron 3 and 4, Minitron", rope="halves", activation="relu2"),
    "jais": replace(
        _PLAIN,
        about="Jais",
        activation="silu",
        alibi=_max_alibi_bias,
        attention_scale=lambda c, i: 1.0 / c.n_embd_head_k[i],
    ),
    "jais2": replace(_PLAIN, about="Jais 2", rope="halves", activation="relu2"),
    "refact": Spec(
        "Refact",
        rope="none",
        alibi=lambda c: 8.0,
        unused=(r"rope_freqs\.weight", r"blk\.\d+\.(attn_output|ffn_\w+)\.bias"),
        experts=ExpertsSpec(used=False),
    ),
    "pockettts": replace(_PLAIN, about="Pocket TTS", rope="adjacent"),
}
