"""Architectures that differ from Llama's, or another one here, in a few settings. `unused` names tensors that llama.cpp
loads but ignores, so that files that hold them mean the same here."""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.spec import ClassifierSpec, Spec, not_every

_ADJACENT = Spec("", rope="adjacent")
_HALVES = Spec("", rope="halves")
_LAYERS_OF_BAICHUAN_7B, _LAYERS_OF_BAICHUAN_13B = 32, 40
_FREQS = r"rope_freqs\.weight"


def _deci_mixers(c: Config, i: int) -> tuple[str, ...]:
    """Some layers have a product alone in the place of an attention, some nothing."""
    if not c.n_head[i]:
        return ()
    return ("attention",) if c.n_head_kv[i] else ("per_token",)


SPECS = {
    "internlm2": replace(_ADJACENT, about="InternLM 2 and 2.5"),
    "xverse": replace(_ADJACENT, about="XVERSE"),
    "arcee": replace(_ADJACENT, about="Arcee AFM", activation="relu2"),
    "smollm3": replace(_ADJACENT, about="SmolLM 3", rope_layers=not_every(4)),
    "nanbeige": replace(_ADJACENT, about="Nanbeige", n_loops=lambda keys: keys.integer("num_loops", 1)),
    "maincoder": replace(_ADJACENT, about="Maincoder", qk_norm_after_rope=True),
    "chatglm": replace(_ADJACENT, about="ChatGLM 3, GLM 4 9B, GLM-Edge"),
    "deci": replace(_ADJACENT, about="DeciLM, Llama 3.1 Nemotron", mixers=_deci_mixers),
    # The 7B has RoPE; the 13B has ALiBi instead; of other sizes llama.cpp does neither.
    "baichuan": replace(
        _ADJACENT,
        about="Baichuan 1 and 2",
        rope_layers=lambda c, i: c.n_layer == _LAYERS_OF_BAICHUAN_7B,
        alibi=lambda c: 8.0 if c.n_layer == _LAYERS_OF_BAICHUAN_13B else 0.0,
    ),
    "llada": replace(_ADJACENT, about="LLaDA", causal=False, unused=(_FREQS, r"blk\.\d+\.(attn_output|ffn_\w+)\.bias")),
    "ernie4_5": replace(_ADJACENT, about="ERNIE 4.5 0.3B", unused=(r"blk\.\d+\.attn_output\.bias",)),
    "paddleocr": replace(_HALVES, about="PaddleOCR-VL, text", sections="blocks"),
    "exaone": replace(_HALVES, about="EXAONE 3"),
    "seed_oss": replace(_HALVES, about="Seed-OSS", ffn_norm="post_attention_norm"),
    "pangu-embedded": replace(_HALVES, about="openPangu Embedded", unused=(_FREQS,)),
    # The file's feed_forward_length counts both matrices of the gated block.
    "qwen": replace(_HALVES, about="Qwen 1", n_ff=lambda c, i: c.n_ff[i] // 2),
    "dream": replace(_HALVES, about="Dream", causal=False, unused=(r"output\.bias",)),
    "qwen2vl": replace(
        _HALVES, about="Qwen 2 and 2.5 VL, text", sections="blocks", eps_default=0.0, unused=(r"output\.bias",)
    ),
    "qwen3vl": replace(
        _HALVES, about="Qwen 3 VL, text", sections="interleaved", classifier=ClassifierSpec(softmax=True)
    ),
    "qwen3vlmoe": replace(_HALVES, about="Qwen 3 VL MoE, text", sections="interleaved"),
    "qwen3tts": replace(_HALVES, about="Qwen 3 TTS", sections="interleaved"),
    "plamo": replace(_HALVES, about="PLaMo", parallel=lambda c, has_norm: True),
    "bitnet": replace(_HALVES, about="BitNet b1.58"),
    "openelm": replace(_HALVES, about="OpenELM"),
    # Its RoPE is llama.cpp's default, whatever the file says.
    "cogvlm": replace(
        _HALVES,
        about="CogVLM, text",
        rope_base=lambda c: 10000.0,
        rope_scaling=False,
        unused=(_FREQS, r"blk\.\d+\.vis_.*"),
    ),
}
