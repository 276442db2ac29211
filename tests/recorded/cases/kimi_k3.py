"""Kimi K3: attention residuals, experts in rows of another length, SiTU, gates on both kinds of layers."""

from tests.recorded.models import N_VOCAB, Case

N, FF, FF_EXP, N_HEAD, LATENT = 96, 160, 48, 3, 64
RANK, NOPE, ROT, V_DIM, Q_RANK, DIM = 32, 24, 8, 20, 40, 20
LAYERS = "kkmkm"
"""k: Kimi Delta Attention, m: attention over latents."""


def kv(**more):
    return {
        "embedding_length": N, "block_count": len(LAYERS), "feed_forward_length": FF, "attention.head_count": N_HEAD,
        "attention.head_count_kv": [int(kind == "m") for kind in LAYERS], "attention.key_length": RANK + ROT,
        "attention.value_length": RANK, "attention.key_length_mla": NOPE + ROT, "attention.value_length_mla": V_DIM,
        "attention.kv_lora_rank": RANK, "rope.dimension_count": ROT, "rope.freq_base": 10000.0,
        "attention.layer_norm_rms_epsilon": 1e-5, "ssm.conv_kernel": 4, "kda.head_dim": DIM,
        "leading_dense_block_count": 1, "expert_count": 4, "expert_used_count": 2,
        "expert_feed_forward_length": FF_EXP, "expert_shared_count": 1, "expert_gating_func": 2,
        "activation.situ_beta": 0.7,
    } | {key.replace("__", "."): value for key, value in more.items()}  # fmt: skip


def layer(kind, i, residuals, latent, gate, q_rank, n_shared, biases):
    n = N_HEAD * DIM
    out = {"attn_norm": [N], "ffn_norm": [N]}
    if residuals:
        out |= {"attn_res_score": [N], "ffn_res_score": [N]}
    if kind == "k":
        out |= {f"attn_{part}": [N, n] for part in "qkv"} | {f"ssm_conv1d_{part}": [4, 1, n] for part in "qkv"}
        out |= {
            "ssm_f_a": [N, DIM], "ssm_f_b": [DIM, n], "ssm_beta": [N, N_HEAD], "ssm_g": [N, n], "ssm_norm": [DIM],
            "attn_output": [n, N],
        }  # fmt: skip
    else:
        n_q = N_HEAD * (NOPE + ROT)
        out |= (
            {"attn_q_a": [N, q_rank], "attn_q_a_norm": [q_rank], "attn_q_b": [q_rank, n_q]}
            if q_rank
            else {"attn_q": [N, n_q]}
        )
        out |= {
            "attn_kv_a_mqa": [N, RANK + ROT], "attn_kv_a_norm": [RANK], "attn_k_b": [NOPE, RANK, N_HEAD],
            "attn_v_b": [RANK, V_DIM, N_HEAD], "attn_output": [N_HEAD * V_DIM, N],
        }  # fmt: skip
        if gate:
            out["attn_gate"] = [N, N_HEAD * V_DIM]
    if i < 1:
        out |= {"ffn_gate": [N, FF], "ffn_up": [N, FF], "ffn_down": [FF, N]}
    else:
        k = latent or N
        out |= {
            "ffn_gate_inp": [N, 4], "ffn_gate_exps": [k, FF_EXP, 4], "ffn_up_exps": [k, FF_EXP, 4],
            "ffn_down_exps": [FF_EXP, k, 4],
        }  # fmt: skip
        if latent:
            out |= {"ffn_routed_down": [N, k], "ffn_routed_up": [k, N]}
        if n_shared:
            n_ff = n_shared * FF_EXP
            out |= {"ffn_gate_shexp": [N, n_ff], "ffn_up_shexp": [N, n_ff], "ffn_down_shexp": [n_ff, N]}
        if latent and n_shared:
            out["ffn_routed_norm"] = [k]
    full = {f"blk.{i}.{name}.weight": shape for name, shape in out.items()}
    if kind == "k":
        full |= {f"blk.{i}.ssm_a": [N_HEAD], f"blk.{i}.ssm_dt.bias": [n]}
        full |= {f"blk.{i}.attn_{part}.bias": [n] for part in "qkv" if biases}
    return full | ({f"blk.{i}.exp_probs_b.bias": [4]} if i else {})


def tensors(residuals=True, latent=LATENT, gate=True, q_rank=Q_RANK, n_shared=1, biases=False):
    out = {"token_embd.weight": [N, N_VOCAB], "output_norm.weight": [N], "output.weight": [N, N_VOCAB]}
    if residuals:
        out["output_res_score.weight"] = [N]
    for i, kind in enumerate(LAYERS):
        out |= layer(kind, i, residuals, latent, gate, q_rank, n_shared, biases)
    return out


# Bounds that activations reach.
BOUNDED = {"kda__gate_lower_bound": -5.0, "activation__situ_linear_beta": 0.9}

# Streams that begin anew with results of blocks as large as the embedding have errors of int8 activations as large.
SMALL = {"attn_output": 0.2, "ffn_down": 0.3, "ffn_routed_up": 0.3}

CASES = {
    "kimi-k3": Case(
        "kimi-k3",
        kv(attn_res__block_size=2, attention__q_lora_rank=Q_RANK, expert_latent_length=LATENT,
           expert_weights_norm=True, expert_weights_scale=2.5, **BOUNDED),
        tensors(biases=True), scales=SMALL,
    ),
    # One kept stream, no lower bound of decays, no bound of the other branch, no gates, two shared experts.
    "kimi-k3-unbounded": Case(
        "kimi-k3",
        kv(attn_res__block_size=12, expert_shared_count=2, activation__situ_linear_beta=0.0),
        tensors(latent=0, gate=False, q_rank=0, n_shared=2), scales=SMALL,
    ),
    "kimi-k3-plain": Case(
        "kimi-k3",
        kv(attn_res__block_size=0, expert_latent_length=128, expert_shared_count=0, **BOUNDED),
        tensors(residuals=False, latent=128, q_rank=0, n_shared=0),
    ),
}  # fmt: skip
