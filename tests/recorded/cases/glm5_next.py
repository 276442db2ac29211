"""GLM 5.3: delta-nets, and attention over latents, sparse by groups: few are chosen, so that the choice binds."""

from tests.recorded.models import N_VOCAB, Case

STREAMS = 4


def kv(attends, **more):
    """attends: for each layer whether it has attention, or else a delta-net."""
    return {
        "embedding_length": 64, "block_count": len(attends), "feed_forward_length": 96, "attention.head_count": 2,
        "attention.head_count_kv": [int(a) for a in attends], "attention.key_length": 32,
        "attention.value_length": 32, "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.layer_norm_epsilon": 1e-6, "attention.q_lora_rank": 48, "attention.kv_lora_rank": 32,
        "attention.key_length_mla": 24, "attention.value_length_mla": 16, "attention.indexer.head_count": 6,
        "attention.indexer.key_length": 32, "attention.indexer.top_k": 8, "attention.indexer.kpool": 4,
        "hyper_connection.count": STREAMS, "hyper_connection.sinkhorn_iterations": 4,
        "hyper_connection.epsilon": 1e-6, "rope.dimension_count": 0, "ssm.conv_kernel": 4, "kda.head_dim": 32,
        "kda.gate_lower_bound": -5.0, "leading_dense_block_count": 1, "expert_feed_forward_length": 32,
        "expert_count": 6, "expert_used_count": 2, "expert_shared_count": 1,
    } | more  # fmt: skip


def attention(n, heads, kv, has_indexer):
    rank, q_rank = kv["attention.kv_lora_rank"], kv["attention.q_lora_rank"]
    k, v = kv["attention.key_length_mla"], kv["attention.value_length_mla"]
    dim, n_indexer, kpool = (kv[f"attention.indexer.{name}"] for name in ("key_length", "head_count", "kpool"))
    out = {
        "attn_q_a.weight": [n, q_rank], "attn_q_a_norm.weight": [q_rank], "attn_q_b.weight": [q_rank, heads * k],
        "attn_kv_a_mqa.weight": [n, rank], "attn_kv_a_norm.weight": [rank], "attn_k_b.weight": [k, rank, heads],
        "attn_v_b.weight": [rank, v, heads], "attn_output.weight": [heads * v, n],
    }  # fmt: skip
    if has_indexer:
        out |= {
            "indexer.k_norm.weight": [dim], "indexer.k_norm.bias": [dim], "indexer.proj.weight": [n, n_indexer],
            "indexer.attn_k.weight": [n, dim], "indexer.attn_q_b.weight": [q_rank, n_indexer * dim],
            "indexer_compressor_gate.weight": [n, dim], "indexer_compressor_ape.weight": [dim, kpool],
        }  # fmt: skip
    return out


def delta_net(n, heads, kv):
    dim = kv["kda.head_dim"]
    width = heads * dim
    out = {
        "ssm_a": [heads], "ssm_dt.bias": [width], "ssm_f_a.weight": [n, dim], "ssm_f_b.weight": [dim, width],
        "ssm_beta.weight": [n, heads], "ssm_g_a.weight": [n, dim], "ssm_g_b.weight": [dim, width],
        "ssm_norm.weight": [dim], "attn_output.weight": [width, n],
    }  # fmt: skip
    for part in "qkv":
        out |= {f"attn_{part}.weight": [n, width], f"ssm_conv1d_{part}.weight": [kv["ssm.conv_kernel"], 1, width]}
    return out


def layer(i, attends, kv):
    n, n_ff, experts = kv["embedding_length"], kv["expert_feed_forward_length"], kv["expert_count"]
    out = {"attn_norm.weight": [n], "ffn_norm.weight": [n]}
    types = kv.get("attention.indexer.types", [True] * len(attends))
    heads = kv["attention.head_count"]
    out |= attention(n, heads, kv, types[i]) if attends[i] else delta_net(n, heads, kv)
    for part in ("attn", "ffn") if i < len(attends) - kv.get("nextn_predict_layers", 0) else ():
        name = f"hc_{part}"
        out |= {f"{name}_fn.weight": [STREAMS * n, 24], f"{name}_base.weight": [24], f"{name}_scale.weight": [3]}
    if i < kv["leading_dense_block_count"]:
        wide = kv["feed_forward_length"]
        out |= {"ffn_gate.weight": [n, wide], "ffn_up.weight": [n, wide], "ffn_down.weight": [wide, n]}
    else:
        shared = n_ff * kv["expert_shared_count"]
        out |= {
            "ffn_gate_inp.weight": [n, experts], "exp_probs_b.bias": [experts],
            "ffn_gate_exps.weight": [n, n_ff, experts], "ffn_up_exps.weight": [n, n_ff, experts],
            "ffn_down_exps.weight": [n_ff, n, experts], "ffn_gate_shexp.weight": [n, shared],
            "ffn_up_shexp.weight": [n, shared], "ffn_down_shexp.weight": [shared, n],
        }  # fmt: skip
    return {f"blk.{i}.{name}": shape for name, shape in out.items()}


def case(attends, without=(), extra=None, **more):
    values = kv(attends, **{key.replace("__", "."): value for key, value in more.items()})
    n = values["embedding_length"]
    tensors = {"token_embd.weight": [n, N_VOCAB], "output_norm.weight": [n], "output.weight": [n, N_VOCAB]}
    for i in range(len(attends)):
        tensors |= layer(i, attends, values)
    values = {key: value for key, value in values.items() if key not in without}
    return Case("glm5-next", values, tensors | (extra or {}), scales={"hc_": 3.0, "_base": 0.3, "ape": 2.0})


BOUNDS = {"swiglu_clamp_exp": [0.0, 0.5, 0.25], "swiglu_clamp_shexp": [0.4, 0.3, 0.0]}
NEXTN = {"nextn.eh_proj.weight": [128, 64], "nextn.enorm.weight": [64], "nextn.hnorm.weight": [64]}

CASES = {
    "glm5-next": case([False, True, True], expert_weights_scale=1.5, expert_weights_norm=True),
    # A layer that shares the choice of one before it, with a delta-net between them; softplus decays; bounds.
    "glm5-next-shared": case(
        [True, False, True], without=("kda.gate_lower_bound",), attention__indexer__types=[True, True, False],
        expert_gating_func=1, **BOUNDS,
    ),
    # Sizes that are no multiples of 16, groups of 3; bounds of the shared experts that are those of the others.
    "glm5-next-odd": case(
        [True, False], extra={f"blk.1.attn_{part}.bias": [48] for part in "qkv"},
        embedding_length=72, attention__head_count=3, attention__kv_lora_rank=40,
        attention__key_length=40, attention__value_length=40, attention__key_length_mla=20,
        attention__value_length_mla=12, attention__q_lora_rank=36, attention__indexer__head_count=3,
        attention__indexer__key_length=20, attention__indexer__kpool=3, attention__indexer__top_k=6, kda__head_dim=16,
        expert_feed_forward_length=24, expert_shared_count=2, swiglu_clamp_exp=0.3, ssm__conv_kernel=3,
        hyper_connection__sinkhorn_iterations=1, attention__indexer__kpool_select_tail=True,
    ),
    "glm5-next-nextn": case(
        [False, True, True], extra={f"blk.2.{name}": shape for name, shape in NEXTN.items()}, nextn_predict_layers=1,
        attention__indexer__top_k=512,
    ),
}  # fmt: skip
