"""Transformers with experts, without windows."""

from dataclasses import replace

from tests.recorded.shapes import ALL, FREE, NARROW, SQUARE, row

SAME = replace(FREE, ff=40)
"""Where the experts have the feed-forward length of the file."""
PAIR = replace(FREE, exps=(6, 2, 40, 80))
"""Two shared experts of the others' size."""
TWO = replace(SQUARE, exps=PAIR.exps)
GROUPS = {"expert_group_count": 4, "expert_group_used_count": 2}
EIGHT = replace(PAIR, exps=(8, 3, 24, 48))
SECTIONS = {"rope.dimension_sections": [3, 5, 5, 3]}
ARCTIC = replace(SQUARE, ff=40)
FACTORS = {"rope_factors_long.weight": [16], "rope_factors_short.weight": [16]}
GROK_NAMES = {"post_attention_norm": "attn_output_norm", "post_ffw_norm": "layer_output_norm"}
YARN = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 16,
    "rope.scaling.yarn_ext_factor": 0.75, "rope.scaling.yarn_attn_factor": 1.25, "rope.scaling.yarn_beta_fast": 4.0,
    "rope.scaling.yarn_beta_slow": 0.5,
}  # fmt: skip
CHUNKS = {f"ffn_{part}_chexps.weight": [FREE.n, 16, 3] for part in ("gate", "up")} | {
    "ffn_down_chexps.weight": [16, FREE.n, 3]
}


def shared(count):
    return {"expert_shared_count": count}


def arctic():
    """Dense blocks as wide as the embedding, beside experts of another width."""
    case, n = row("arctic", "moe", ARCTIC, more={"ffn_norm_exps.weight": [96]}), ARCTIC.n
    dense = {f"blk.{i}.ffn_{part}.weight": [n, n] for i in range(2) for part in ("gate", "up", "down")}
    return replace(case, tensors=case.tensors | dense)


CASES = {
    "qwen2moe": row("qwen2moe", "b.qkv moe shared", SQUARE, more={"ffn_gate_inp_shexp.weight": [96]}),
    "qwen3moe": row("qwen3moe", "qk moe", NARROW),
    "qwen3vlmoe": row("qwen3vlmoe", "qk moe", kv=SECTIONS),
    "rnd1": row("rnd1", "qk moe"),
    "olmoe": row("olmoe", "qk.row moe", replace(ALL, ff=40)),
    "phimoe": row("phimoe", "b.norm b.qkv b.o moe b.output", ARCTIC, top_more=FACTORS),
    "deepseek": row("deepseek", "moe shared", TWO, shared(2) | {"expert_weights_scale": 2.0}, n_layer=3, n_dense=1),
    "deepseek2-ocr": row("deepseek2-ocr", "moe shared", replace(ALL, exps=(6, 2, 40, 80)), shared(2), n_dense=1),
    "dots1": row(
        "dots1",
        "qk moe shared choice",
        replace(EIGHT, heads=(3, 3)),
        shared(2) | GROUPS | {"expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 2.5},
        n_dense=1,
    ),
    "ernie4_5-moe": row(
        "ernie4_5-moe", "b.o moe shared choice", kv={"interleave_moe_layer_step": 2}, n_dense=1, step=2
    ),
    "ernie4_5-moe-all": row("ernie4_5-moe", "moe choice", kv={"interleave_moe_layer_step": 1}),
    "hunyuan-moe": row("hunyuan-moe", "qk moe shared", SAME),
    "bailingmoe": row("bailingmoe", "moe shared", PAIR, shared(2) | {"expert_weights_norm": True}),
    "bailingmoe2": row(
        "bailingmoe2",
        "qkv qk moe shared choice",
        replace(EIGHT, n=128, rot=16),
        GROUPS | {"expert_shared_count": 1, "expert_gating_func": 2, "expert_weights_norm": True},
        n_dense=1,
    ),
    "minimax-m2": row("minimax-m2", "qk.row moe choice", replace(SAME, rot=16), {"expert_gating_func": 2}),
    "arctic": arctic(),
    "dbrx": row(
        "dbrx", "layer qkv moe", ARCTIC, {"attention.clamp_kqv": 0.5}, names={"ffn_norm": "attn_output_norm"}
    ),
    "grok": row(
        "grok",
        "moe dense post",
        replace(SQUARE, ff=104),
        YARN | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "attention.output_scale": 0.25},
        names=GROK_NAMES,
    ),
    "grok-1": row("grok", "moe post tied", ARCTIC, names=GROK_NAMES),
    "grovemoe": row(
        "grovemoe",
        "qk moe",
        kv={"experts_per_group": 2, "expert_group_scale": 0.5, "expert_chunk_feed_forward_length": 16},
        more=CHUNKS,
    ),
    "hy_v3": row(
        "hy_v3",
        "qk moe shared dense fused.exps",
        kv={"expert_weights_norm": True, "expert_weights_scale": 1.5},
        more={"exp_probs_b": [6]},
    ),
    "glm4moe": row(
        "glm4moe",
        "qk b.qkv moe shared choice",
        replace(EIGHT, rot=16),
        GROUPS | shared(2) | {"expert_weights_norm": True},
        n_dense=1,
        names={"ffn_norm": "post_attention_norm"},
    ),
    "llada-moe": row("llada-moe", "qk moe", SQUARE),
    "llama4": row(
        "llama4",
        "freqs moe shared",
        replace(FREE, exps=(6, 1, 40, 40)),
        {"interleave_moe_layer_step": 2},
        n_layer=4,
        step=2,
    ),
}  # fmt: skip
