"""Qwen3-Next and Qwen 3.5: delta-nets with as many heads of keys as of values, or fewer; the matrices of older files;
experts; gated attention; a layer of multi-token prediction, which is left out."""

from tests.recorded.models import N_VOCAB, Case

N, FF, HEAD = 96, 160, 32
N_HEAD, N_HEAD_KV = 4, 2


def kv(dim, n_key, n_value, width=4, **more):
    return {
        "embedding_length": N, "block_count": 3, "feed_forward_length": FF, "attention.head_count": N_HEAD,
        "attention.head_count_kv": N_HEAD_KV, "attention.key_length": HEAD, "attention.value_length": HEAD,
        "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0, "rope.dimension_count": 16,
        "ssm.conv_kernel": width, "ssm.state_size": dim, "ssm.group_count": n_key, "ssm.time_step_rank": n_value,
        "ssm.inner_size": dim * n_value,
    } | more  # fmt: skip


DENSE = {"ffn_gate.weight": [N, FF], "ffn_up.weight": [N, FF], "ffn_down.weight": [FF, N]}
ROUTER = {
    "ffn_gate_inp.weight": [N, 4], "ffn_down_exps.weight": [48, N, 4], "ffn_gate_inp_shexp.weight": [N],
    "ffn_gate_shexp.weight": [N, 64], "ffn_up_shexp.weight": [N, 64], "ffn_down_shexp.weight": [64, N],
}  # fmt: skip
EXPERTS = ROUTER | {"ffn_gate_exps.weight": [N, 48, 4], "ffn_up_exps.weight": [N, 48, 4]}
FUSED_EXPERTS = ROUTER | {"ffn_gate_up_exps.weight": [N, 96, 4]}
OF_EXPERTS = {
    "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 48,
    "expert_shared_feed_forward_length": 64,
}  # fmt: skip
NORMS = {"attn_norm.weight": [N], "post_attention_norm.weight": [N]}
ATTENTION = {
    "attn_q.weight": [N, 2 * N_HEAD * HEAD], "attn_k.weight": [N, N_HEAD_KV * HEAD],
    "attn_v.weight": [N, N_HEAD_KV * HEAD], "attn_output.weight": [N_HEAD * HEAD, N],
    "attn_q_norm.weight": [HEAD], "attn_k_norm.weight": [HEAD],
}  # fmt: skip
FUSED_ATTENTION = {name: shape for name, shape in ATTENTION.items() if name[5:7] not in ("q.", "k.", "v.")} | {
    "attn_qkv.weight": [N, 2 * N_HEAD * HEAD + 2 * N_HEAD_KV * HEAD]
}
MTP = {
    "nextn.eh_proj.weight": [2 * N, N], "nextn.enorm.weight": [N], "nextn.hnorm.weight": [N],
    "nextn.shared_head_norm.weight": [N],
}  # fmt: skip


def delta_net(dim, n_key, n_value, width, *inputs):
    n, values = (2 * n_key + n_value) * dim, n_value * dim
    shapes = {
        "attn_qkv": [N, n], "attn_gate": [N, values], "ssm_in": [N, n + values], "ssm_ba": [N, 2 * n_value],
        "ssm_alpha": [N, n_value], "ssm_beta": [N, n_value],
    }  # fmt: skip
    return {
        "ssm_conv1d.weight": [width, n], "ssm_dt.bias": [n_value], "ssm_a": [n_value], "ssm_norm.weight": [dim],
        "ssm_out.weight": [values, N],
    } | {f"{name}.weight": shapes[name] for name in inputs}  # fmt: skip


def model(*layers, tied=False):
    """layers: the tensors of each."""
    top = {"token_embd.weight": [N, N_VOCAB], "output_norm.weight": [N]}
    top |= {} if tied else {"output.weight": [N, N_VOCAB]}
    return top | {f"blk.{i}.{name}": shape for i, layer in enumerate(layers) for name, shape in layer.items()}


def hybrid(mixer, ffn, attention=ATTENTION):
    return [NORMS | mixer | ffn, NORMS | mixer | ffn, NORMS | attention | ffn]


SECTIONS = {"rope.dimension_sections": [3, 3, 2, 0]}
OF_35, OF_NEXT = ("attn_qkv", "attn_gate", "ssm_alpha", "ssm_beta"), ("attn_qkv", "attn_gate", "ssm_ba")
EVERY_THIRD = {"full_attention_interval": 3}

CASES = {
    "qwen35": Case(
        "qwen35",
        kv(32, 2, 4, **SECTIONS, **EVERY_THIRD) | {"block_count": 4, "nextn_predict_layers": 1},
        model(*hybrid(delta_net(32, 2, 4, 4, *OF_35), DENSE), NORMS | ATTENTION | DENSE | MTP, tied=True),
    ),
    # Three heads of 20 to a head of keys: columns and channels that are no multiples of 16.
    "qwen35-odd": Case(
        "qwen35",
        kv(20, 1, 3, 3, **SECTIONS, **{"attention.recurrent_layers": [True, True, False]}),
        model(*hybrid(delta_net(20, 1, 3, 3, *OF_35), DENSE, FUSED_ATTENTION)),
    ),
    "qwen35moe": Case(
        "qwen35moe",
        kv(16, 2, 2, **SECTIONS, **EVERY_THIRD, **OF_EXPERTS),
        model(*hybrid(delta_net(16, 2, 2, 4, *OF_35), FUSED_EXPERTS)),
    ),
    "qwen3next": Case(
        "qwen3next",
        kv(40, 2, 4, **EVERY_THIRD, **OF_EXPERTS),
        model(*hybrid(delta_net(40, 2, 4, 4, *OF_NEXT), EXPERTS)),
    ),
    "qwen3next-old": Case(
        "qwen3next",
        kv(16, 2, 6, **EVERY_THIRD, **OF_EXPERTS),
        model(*hybrid(delta_net(16, 2, 6, 4, "ssm_in", "ssm_ba"), EXPERTS)),
    ),
}
