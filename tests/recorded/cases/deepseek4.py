"""DeepSeek-V4: windows alone, entries of 4 positions that an indexer chooses, entries of 128; experts by a table."""

from tests.recorded.models import N_VOCAB, Case

N, FF, RANK, O_RANK, O_GROUPS = 64, 32, 32, 16, 2
N_EXPERT, N_USED, INDEXER_HEADS, INDEXER = 6, 2, 8, 64
STREAMS = 4


def kv(ratios, **more):
    return {
        "embedding_length": N, "block_count": len(ratios), "feed_forward_length": FF, "attention.head_count": 4,
        "attention.head_count_kv": 1, "attention.key_length": 32, "attention.value_length": 32,
        "attention.layer_norm_rms_epsilon": 1e-5, "attention.q_lora_rank": RANK, "attention.sliding_window": 8,
        "attention.indexer.head_count": INDEXER_HEADS, "attention.indexer.key_length": INDEXER,
        "attention.indexer.top_k": 3, "attention.output_group_count": O_GROUPS,
        "attention.output_lora_rank": O_RANK, "attention.compress_ratios": ratios,
        "attention.compress_rope_freq_base": 160000.0, "rope.dimension_count": 16, "rope.freq_base": 10000.0,
        "hyper_connection.count": STREAMS, "hyper_connection.sinkhorn_iterations": 3,
        "hyper_connection.epsilon": 1e-6, "hash_layer_count": 1, "expert_feed_forward_length": FF,
        "expert_count": N_EXPERT, "expert_used_count": N_USED, "expert_shared_count": 1, "expert_weights_scale": 1.5,
        "expert_weights_norm": True, "expert_gating_func": 4, "swiglu_clamp_exp": 0.5,
    } | more  # fmt: skip


def layer(i, ratio, kv):
    head, heads, groups = kv["attention.key_length"], kv["attention.head_count"], kv["attention.output_group_count"]
    indexer, n_indexer = kv["attention.indexer.key_length"], kv["attention.indexer.head_count"]
    n_ff, n_shared, n = kv["expert_feed_forward_length"], kv["expert_shared_count"], kv["embedding_length"]
    rank, o_rank = kv["attention.q_lora_rank"], kv["attention.output_lora_rank"]
    out = {
        "attn_norm.weight": [n], "attn_sinks.weight": [heads], "attn_q_a.weight": [n, rank],
        "attn_q_a_norm.weight": [rank], "attn_q_b.weight": [rank, heads * head], "attn_kv.weight": [n, head],
        "attn_kv_a_norm.weight": [head], "attn_output_a.weight": [heads * head // groups, groups * o_rank],
        "attn_output_b.weight": [groups * o_rank, n], "ffn_norm.weight": [n],
        "ffn_gate_inp.weight": [n, kv["expert_count"]], "ffn_gate_exps.weight": [n, n_ff, kv["expert_count"]],
        "ffn_up_exps.weight": [n, n_ff, kv["expert_count"]], "ffn_down_exps.weight": [n_ff, n, kv["expert_count"]],
        "ffn_gate_shexp.weight": [n, n_ff * n_shared], "ffn_up_shexp.weight": [n, n_ff * n_shared],
        "ffn_down_shexp.weight": [n_ff * n_shared, n],
    }  # fmt: skip
    for part in ("attn", "ffn"):
        name = f"hc_{part}"
        out |= {f"{name}_fn.weight": [STREAMS * n, 24], f"{name}_base.weight": [24], f"{name}_scale.weight": [3]}
    if i < kv["hash_layer_count"]:
        out["ffn_gate_tid2eid.weight"] = [kv["expert_used_count"], N_VOCAB]
    else:
        out["exp_probs_b.bias"] = [kv["expert_count"]]
    width = head * (2 if ratio == 4 else 1)
    if ratio:
        out |= {
            "attn_compressor_kv.weight": [n, width], "attn_compressor_gate.weight": [n, width],
            "attn_compressor_ape.weight": [width, ratio], "attn_compressor_norm.weight": [head],
        }  # fmt: skip
    if ratio == 4:
        out |= {
            "indexer.proj.weight": [n, n_indexer], "indexer.attn_q_b.weight": [rank, n_indexer * indexer],
            "indexer_compressor_kv.weight": [n, 2 * indexer], "indexer_compressor_gate.weight": [n, 2 * indexer],
            "indexer_compressor_ape.weight": [2 * indexer, 4], "indexer_compressor_norm.weight": [indexer],
        }  # fmt: skip
    return {f"blk.{i}.{name}": shape for name, shape in out.items()}


def nextn(i):
    """What a layer that predicts further tokens has beside the others: left alone."""
    name = f"blk.{i}.nextn"
    return {f"{name}.eh_proj.weight": [2 * N, N], f"{name}.enorm.weight": [N], f"{name}.hnorm.weight": [N]}


def case(ratios, n_ids=40, extra=None, **more):
    values = kv(ratios, **{key.replace("__", "."): value for key, value in more.items()})
    n = values["embedding_length"]
    tensors = {
        "token_embd.weight": [n, N_VOCAB], "output_norm.weight": [n], "output.weight": [n, N_VOCAB],
        "output_hc_fn.weight": [STREAMS * n, STREAMS], "output_hc_base.weight": [STREAMS],
        "output_hc_scale.weight": [1],
    }  # fmt: skip
    for i, ratio in enumerate(ratios):
        tensors |= layer(i, ratio, values)
    return Case("deepseek4", values, tensors | (extra or {}), n_ids, {"hc_": 3.0, "_base": 0.3, "ape": 2.0})


YARN = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32,
}  # fmt: skip

CASES = {
    # llama.cpp divides by zero where no layer has entries of 4.
    "deepseek4": case([0, 4, 4]),
    "deepseek4-yarn": case(
        [4, 0, 4], extra={"blk.1.exp_probs_b_vl.bias": [N_EXPERT]}, **{k.replace(".", "__"): v for k, v in YARN.items()}
    ),
    "deepseek4-long": case([128, 4], n_ids=300, attention__sliding_window=20, attention__indexer__top_k=9),
    "deepseek4-nextn": case([0, 4, 0], extra=nextn(2), nextn_predict_layers=1, hash_layer_count=0),
    # Sizes that are no multiples of 16, more heads than one group takes, every layer by a table, bounds of their own.
    "deepseek4-odd": case(
        [4, 0], embedding_length=72, attention__head_count=6, attention__key_length=40, attention__value_length=40,
        attention__output_group_count=3, attention__output_lora_rank=20, attention__q_lora_rank=36,
        expert_feed_forward_length=24, expert_shared_count=2, hash_layer_count=2, expert_weights_scale=1.0,
        swiglu_clamp_shexp=0.25, attention__indexer__head_count=5, hyper_connection__sinkhorn_iterations=1,
    ),
}  # fmt: skip
