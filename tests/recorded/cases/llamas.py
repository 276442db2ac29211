"""Dense transformers of Llama's shape, without windows."""

from dataclasses import replace

from tests.recorded.shapes import ALL, FREE, NARROW, SMALL, SQUARE, row

PARTLY = replace(FREE, rot=16)
"""RoPE on half of each head."""
EXPERTS = replace(FREE, ff=40)
"""Where the experts have as many hidden elements as dense blocks would."""
SECTIONS = {"rope.dimension_sections": [3, 5, 5, 3]}
LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
YARN = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 16,
}  # fmt: skip
GRANITE = {"logit_scale": 8.0, "residual_scale": 0.22, "embedding_scale": 1.5, "attention.scale": 0.1}
XIELU = {"xielu.alpha_p": [0.3, -0.4], "xielu.alpha_n": [0.5, 1.2], "xielu.beta": [0.5, 0.6], "xielu.eps": -1e-6}
FACTORS = {"rope_factors_long.weight": [16], "rope_factors_short.weight": [16]}
LONG = {"rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": 1.25}
CODES = {"token_embd.weight": [72, 3072], "output.weight": [72, 3072]}
"""As many as llama.cpp expects."""


def deci():
    """A whole layer, one with a product in place of attention, one without attention, one that does nothing, a whole
    one."""
    case = row("deci", "b.o b.ffn freqs", n_layer=5)
    product, absent = "blk.1.attn_", ("blk.2.attn_", "blk.3.")
    kept = {
        name: shape
        for name, shape in case.tensors.items()
        if not name.startswith(absent) and not (name.startswith(product) and name[len(product)] in "qkv")
    }
    kept["blk.1.attn_output.weight"] = [FREE.n, FREE.n]
    del kept["blk.1.attn_output.bias"]
    kv = {"attention.head_count": [4, 4, 0, 0, 4], "attention.head_count_kv": [2, 0, 0, 0, 2]}
    return replace(case, kv=case.kv | kv | {"feed_forward_length": [88, 88, 88, 0, 88]}, tensors=kept)


def openelm():
    """Layers of different widths."""
    wide, slim = row("openelm", "qkv qk tied"), row("openelm", "qkv qk tied", replace(FREE, heads=(2, 1), ff=56))
    kv = {"attention.head_count": [4, 2], "attention.head_count_kv": [2, 1], "feed_forward_length": [88, 56]}
    second = {name: shape for name, shape in slim.tensors.items() if name.startswith("blk.1.")}
    return replace(wide, kv=wide.kv | kv, tensors=wide.tensors | second)


VISION = {
    "vis_attn_qkv.weight": [96, 288], "vis_attn_output.weight": [96, 96], "vis_gate.weight": [96, 104],
    "vis_down.weight": [104, 96], "vis_up.weight": [96, 104],
}  # fmt: skip

CASES = {
    "llama": row("llama", "b.qkv b.o b.ffn freqs"),
    "llama-linear": row("llama", "tied", NARROW, LINEAR),
    "llama-old-linear": row("llama", "qkv", kv={"rope.scale_linear": 4.0}),
    "llama-moe": row("llama", "moe", EXPERTS, LINEAR),
    "mistral3": row(
        "mistral3",
        "b.o",
        kv=YARN
        | {"rope.scaling.yarn_beta_fast": 4.0, "rope.scaling.yarn_beta_slow": 0.5}
        | {"rope.scaling.yarn_log_multiplier": 0.7, "attention.temperature_scale": 0.1},
    ),
    "mistral3-moe": row("mistral3", "moe freqs", EXPERTS),
    "internlm2": row("internlm2", "b.qkv", SQUARE),
    "xverse": row("xverse", "", SQUARE),
    "pangu-embedded": row("pangu-embedded", "b.qkv b.o freqs"),
    "exaone": row("exaone", "freqs"),
    "arcee": row("arcee", "plain freqs"),
    "seed_oss": row("seed_oss", "b.qkv", names={"ffn_norm": "post_attention_norm"}),
    "smollm3": row("smollm3", "tied", n_layer=4),
    "nanbeige": row("nanbeige", "freqs", kv={"num_loops": 3}),
    "nanbeige-no-norm": row("nanbeige", "", NARROW, {"num_loops": 2, "skip_loop_final_norm": True}),
    "maincoder": row("maincoder", "qk"),
    "qwen": row("qwen", "qkv b.qkv", ALL, {"feed_forward_length": 208}),
    "chatglm": row("chatglm", "qkv b.qkv fused.ffn", replace(SQUARE, rot=16)),
    "baichuan": row("baichuan", "", SQUARE),
    "baichuan-7b": row("baichuan", "", SMALL, n_layer=32),
    "baichuan-13b": row("baichuan", "", SMALL, n_layer=40),
    "llada": row("llada", "b.o b.ffn freqs", SQUARE),
    "dream": row("dream", "b.qkv b.output", SQUARE),
    "qwen2": row("qwen2", "b.qkv b.output", SQUARE),
    "qwen3": row("qwen3", "qk", NARROW),
    "qwen2vl": row("qwen2vl", "b.qkv b.output", SQUARE, SECTIONS | {"attention.layer_norm_rms_epsilon": None}),
    "qwen3vl": row("qwen3vl", "qk", kv=SECTIONS),
    "qwen3tts": row("qwen3tts", "qk", kv=SECTIONS | {"vocab_size": 3072}, top_more=CODES, first_logit=2976),
    "ernie4_5": row("ernie4_5", "b.o"),
    "paddleocr": row("paddleocr", "", kv=SECTIONS),
    "deci": deci(),
    "plamo": row("plamo", "no.ffn_norm", SQUARE),
    "openelm": openelm(),
    "cogvlm": row("cogvlm", "qkv freqs", ALL, LINEAR | {"rope.freq_base": 500.0}, more=VISION),
    "apertus": row("apertus", "qk plain b.o", kv=XIELU),
    "hunyuan-dense": row("hunyuan-dense", "qk", kv={"rope.scaling.alpha": 10.0}),
    "hunyuan_vl": row("hunyuan_vl", "qk", kv=SECTIONS | {"rope.scaling.alpha": 10.0}),
    "granite": row("granite", "b.qkv b.o b.ffn freqs", kv=GRANITE),
    "granite-no-rope": row("granite", "tied", kv={"logit_scale": 2.0, "rope.scaling.finetuned": False}),
    "granitemoe": row("granitemoe", "moe shared", EXPERTS, GRANITE),
    "granitemoe-no-rope": row("granitemoe", "moe", EXPERTS, GRANITE | {"rope.scaling.finetuned": False}),
    "minicpm": row("minicpm", "tied b.ffn"),
    "minicpm-keys": row("minicpm", "freqs", kv=GRANITE),
    "minicpm-moe": row("minicpm", "moe", EXPERTS),
    "olmo": row("olmo", "layer no.attn_norm no.ffn_norm no.output_norm", SQUARE, {"attention.clamp_kqv": 0.5}),
    "olmo2": row("olmo2", "no.attn_norm no.ffn_norm post qk.row", SQUARE, LINEAR),
    "phi2": row("phi2", "layer b.norm b.qkv b.o b.ffn plain no.ffn_norm b.output", replace(SQUARE, rot=16)),
    "phi3": row("phi3", "qkv fused.ffn", SQUARE, LONG, top_more=FACTORS),
    "phi3-short": row(
        "phi3",
        "fused.ffn tied",
        replace(SQUARE, rot=24),
        {"context_length": 1024, "rope.scaling.attn_factor": 1.25},
        top_more={name: [12] for name in FACTORS},
    ),
    "glm4": row("glm4", "post fused.ffn b.qkv", PARTLY),
    "glm4-sections": row("glm4", "post fused.ffn", PARTLY, {"rope.dimension_sections": [2, 3, 3, 0]}),
    "command-r": row("command-r", "layer no.ffn_norm tied", SQUARE, kv={"logit_scale": 0.25}),
    "exaone4": row("exaone4", "no.attn_norm no.ffn_norm post qk freqs", SQUARE),
    "gemma": row("gemma", "tied"),
    "talkie": row(
        "talkie",
        "no.attn_norm no.ffn_norm no.output_norm",
        replace(ALL, k=24, v=24),
        {"logit_scale": 0.5},
        more={"attn_q_norm.weight": [1, 3], "layer_output_scale.weight": [1]},
    ),
}
