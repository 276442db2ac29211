"""Transformers with sliding windows, of 8 cells, so that they bind."""

from dataclasses import replace

from tests.recorded.shapes import ALL, FREE, NARROW, SMALL, SQUARE, row

WINDOW: dict[str, object] = {"attention.sliding_window": 8}
EVERY_OTHER: dict[str, object] = WINDOW | {"attention.sliding_window_pattern": 2}
FIRST: dict[str, object] = WINDOW | {"attention.sliding_window_pattern": [True, False]}
SECOND: dict[str, object] = WINDOW | {"attention.sliding_window_pattern": [False, True]}
THIRD: dict[str, object] = WINDOW | {"attention.sliding_window_pattern": [False, False, True]}
OWN_BASE = {"rope.freq_base_swa": 500.0}
LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
YARN = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 16,
}  # fmt: skip
GRANITE = {"attention.scale": 0.1, "logit_scale": 8.0, "residual_scale": 0.22, "embedding_scale": 1.5}
EXPERT_BIASES = {
    "ffn_gate_inp.bias": [6], "ffn_gate_exps.bias": [40, 6], "ffn_up_exps.bias": [40, 6], "ffn_down_exps.bias": [72, 6],
}  # fmt: skip
SHORT_NAMES = {"post_attention_norm": [72], "post_ffw_norm": [72]}
"""Without .weight."""
LONG_HEADS = replace(SMALL, k=64, v=64)
UNLIKE = replace(FREE, k=48, v=32)
"""Heads whose keys are longer than their values."""

CASES = {
    "gemma2": row("gemma2", "post tied", NARROW, WINDOW | OWN_BASE),
    "gemma2-27b": row("gemma2", "post tied", LONG_HEADS, WINDOW, n_layer=46),
    "gemma3": row("gemma3", "qk post tied", FREE, WINDOW | LINEAR | {"final_logit_softcapping": 5.0}, n_layer=6),
    "gemma3-27b": row("gemma3", "qk post tied", LONG_HEADS, WINDOW, n_layer=62),
    "gemma3-pattern": row("gemma3", "qk post b.qkv", NARROW, EVERY_OTHER | YARN | OWN_BASE),
    "gpt-oss": row(
        "gpt-oss",
        "b.qkv b.o sinks moe",
        FREE,
        WINDOW | YARN,
        names={"ffn_norm": "post_attention_norm"},
        more=EXPERT_BIASES,
    ),
    "cohere2": row("cohere2", "layer no.ffn_norm tied", SQUARE, EVERY_OTHER | {"logit_scale": 0.25}),
    "cohere2moe": row(
        "cohere2moe",
        "layer no.ffn_norm moe shared fused.exps",
        SQUARE,
        WINDOW | OWN_BASE | {"logit_scale": 0.25, "expert_shared_count": 1, "expert_weights_scale": 1.5},
        n_dense=1,
    ),
    "cohere2moe-rms": row(
        "cohere2moe",
        "no.ffn_norm moe tied",
        FREE,
        EVERY_OTHER | {"logit_scale": 0.5, "expert_gating_func": 1, "expert_weights_norm": True},
        n_layer=3,
        n_dense=1,
    ),
    "olmo2-windows": row("olmo2", "no.attn_norm no.ffn_norm post qk.row", SQUARE, WINDOW | YARN, n_layer=4),
    "exaone4-32b": row("exaone4", "no.attn_norm no.ffn_norm post qk", SMALL, WINDOW, n_layer=64),
    "exaone-moe": row(
        "exaone-moe",
        "qk moe shared choice freqs",
        replace(FREE, exps=(8, 2, 40, 24)),
        EVERY_OTHER
        | {"expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 2.5}
        | {"expert_group_count": 4, "expert_group_used_count": 2, "expert_shared_count": 1},
        n_dense=1,
    ),
    "afmoe": row(
        "afmoe",
        "qk gate post moe shared choice",
        replace(FREE, exps=(6, 2, 40, 40)),
        WINDOW | {"expert_shared_count": 1, "expert_weights_norm": True, "expert_weights_scale": 2.0},
        n_layer=4,
        n_dense=1,
    ),
    "laguna": row(
        "laguna",
        "qk gate.head moe shared choice",
        replace(FREE, rot=16),
        EVERY_OTHER | YARN | OWN_BASE | {"rope.dimension_count_swa": 32, "expert_weights_scale": 2.0},
        n_layer=3,
        n_dense=1,
    ),
    "maple": row("maple", "qk moe", FREE, SECOND | {"swiglu_clamp_exp": [0.5, 0.0]}),
    "mellum": row("mellum", "qk moe", FREE, FIRST | YARN),
    "mimo2": row("mimo2", "b.qkv sinks moe choice dense", UNLIKE, SECOND | LINEAR | {"attention.value_scale": 0.5}),
    "mimo2-dense": row("mimo2", "moe", replace(FREE, k=32, v=16), THIRD | OWN_BASE, n_layer=3, n_dense=1),
    "smallthinker": row("smallthinker", "moe", FREE, {"expert_gating_func": 2}),
    "smallthinker-windows": row("smallthinker", "moe tied", NARROW, WINDOW | {"expert_gating_func": 2}, n_layer=5),
    "plamo3": row("plamo3", "qkv qk fused.ffn", UNLIKE, EVERY_OTHER | LINEAR, more=SHORT_NAMES),
    "muse-glimmer": row("muse-glimmer", "qk gate post", FREE, SECOND | OWN_BASE | LINEAR | {"logit_scale": 0.5}),
    "spark2_5": row("spark2_5", "gate.head", ALL, SECOND | OWN_BASE),
    "granite_swa": row("granite_swa", "b.qkv b.o b.ffn sinks freqs", FREE, SECOND | GRANITE | LINEAR),
    "granite_swa-moe": row(
        "granite_swa",
        "moe sinks fused.exps",
        replace(FREE, ff=40),
        FIRST | GRANITE | {"attention.rope_pattern": [True, False], "expert_feed_forward_length": None},
    ),
}
