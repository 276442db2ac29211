"""Encoders: BERT's line, T5's encoder, EmbeddingGemma; and decoders that are used as encoders."""

from dataclasses import replace

from tests.recorded.models import N_VOCAB, Case

N, FF, HEAD, N_HEAD = 96, 160, 24, 4
TYPES = {"tokenizer.ggml.token_type_count": 2}
KV = {
    "embedding_length": N, "block_count": 2, "feed_forward_length": FF, "attention.head_count": N_HEAD,
    "context_length": 64,
}  # fmt: skip
LAYER_NORM, RMS = {"attention.layer_norm_epsilon": 1e-5}, {"attention.layer_norm_rms_epsilon": 1e-5}
BOTH_WAYS = {"attention.causal": False}
ALL = ("mean", "cls", "last")

QKV = {f"attn_{x}.weight": [N, N] for x in "qkv"}
FUSED = {"attn_qkv.weight": [N, 3 * N]}
QKV_BIASES = {f"attn_{x}.bias": [N] for x in "qkv"}
OUTPUT = {"attn_output.weight": [N, N]}
POST_NORMS = {f"{x}_output_norm.{y}": [N] for x in ("attn", "layer") for y in ("weight", "bias")}
PRE_NORMS = {"attn_norm.weight": [N], "ffn_norm.weight": [N]}
PLAIN = {"ffn_up.weight": [N, FF], "ffn_down.weight": [FF, N]}
GATED = PLAIN | {"ffn_gate.weight": [N, FF]}
FUSED_GATE = {"ffn_up.weight": [N, 2 * FF], "ffn_down.weight": [FF, N]}
BIASES = {"attn_output.bias": [N], "ffn_up.bias": [FF], "ffn_down.bias": [N]}
EXPERTS = {"ffn_gate_inp.weight": [N, 4], "ffn_up_exps.weight": [N, FF, 4], "ffn_down_exps.weight": [FF, N, 4]}
TOP = {"token_embd.weight": [N, N_VOCAB], "token_embd_norm.weight": [N], "token_embd_norm.bias": [N]}
TOKEN_TYPES = {"token_types.weight": [N, 2]}


def layers(*each, prefix=""):
    return {f"{prefix}blk.{i}.{name}": shape for i, one in enumerate(each) for name, shape in one.items()}


BERT_LAYER = QKV | QKV_BIASES | OUTPUT | POST_NORMS | PLAIN | BIASES
BERT = Case(
    "bert",
    KV | LAYER_NORM | BOTH_WAYS | TYPES,
    TOP | TOKEN_TYPES | {"position_embd.weight": [N, 64]} | layers(BERT_LAYER, BERT_LAYER),
    poolings=ALL,
)
CLS = {"cls.weight": [N, N], "cls.bias": [N], "cls.output.weight": [N, 3], "cls.output.bias": [3]}
LABELS = {"classifier.output_labels": ["a", "b", "c"]}

NOMIC_LAYER = QKV | OUTPUT | POST_NORMS | GATED
NOMIC_MOE = QKV | QKV_BIASES | OUTPUT | {"attn_output.bias": [N]} | POST_NORMS
JINA_LAYER = QKV | QKV_BIASES | OUTPUT | POST_NORMS | BIASES
JINA_NORMS = {f"attn_{x}.{y}": [N] for x in ("q_norm", "k_norm", "norm_2") for y in ("weight", "bias")}
MODERN_LAYER = FUSED | OUTPUT | {"ffn_norm.weight": [N]} | FUSED_GATE
MODERN = Case(
    "modern-bert",
    KV
    | LAYER_NORM
    | BOTH_WAYS
    | {"block_count": 4, "attention.sliding_window": 10, "attention.sliding_window_pattern": 3}
    | {"rope.freq_base": 160000.0, "rope.freq_base_swa": 1000.0},
    {"token_embd.weight": [N, N_VOCAB], "token_embd_norm.weight": [N], "output_norm.weight": [N]}
    | layers(MODERN_LAYER, *(MODERN_LAYER | {"attn_norm.weight": [N]} for _ in range(3))),
    poolings=ALL,
)

T5_KV = KV | RMS | {"attention.key_length": 16, "attention.value_length": 16, "attention.relative_buckets_count": 32}
T5_ATTENTION = {f"attn_{x}.weight": [N, 64] for x in "qkv"} | {"attn_o.weight": [64, N]}
BUCKETS = {"attn_rel_b.weight": [N_HEAD, 32]}
T5_TOP = {"token_embd.weight": [N, N_VOCAB], "enc.output_norm.weight": [N]}

T5_DECODER = (
    T5_ATTENTION
    | {f"cross_{name}": shape for name, shape in T5_ATTENTION.items()}
    | {"cross_attn_norm.weight": [N]}
    | PRE_NORMS
    | PLAIN
    | BUCKETS
)

GEMMA_LAYER = (
    {"attn_q.weight": [N, 128], "attn_k.weight": [N, 32], "attn_v.weight": [N, 32], "attn_output.weight": [128, N]}
    | {"attn_q_norm.weight": [32], "attn_k_norm.weight": [32]}
    | {"post_attention_norm.weight": [N], "post_ffw_norm.weight": [N]}
    | PRE_NORMS
    | GATED
)
GEMMA = Case(
    "gemma-embedding",
    KV
    | RMS
    | {"block_count": 3, "attention.head_count_kv": 1, "attention.key_length": 32, "attention.value_length": 32}
    | {"attention.sliding_window": 11, "attention.sliding_window_pattern": 2, "rope.freq_base": 1e6},
    {"token_embd.weight": [N, N_VOCAB], "output_norm.weight": [N]} | layers(*(GEMMA_LAYER,) * 3),
    poolings=ALL,
)

LLAMA_LAYER = {"attn_q.weight": [N, N], "attn_k.weight": [N, 48], "attn_v.weight": [N, 48]} | OUTPUT | PRE_NORMS | GATED
LLAMA_TOP = {"token_embd.weight": [N, N_VOCAB], "output_norm.weight": [N]}
QWEN_LAYER = LLAMA_LAYER | {"attn_q_norm.weight": [HEAD], "attn_k_norm.weight": [HEAD]}
GQA = {"attention.head_count_kv": 2}

CASES = {
    "bert": BERT,
    "bert-bare": replace(
        BERT,
        tensors=TOP
        | {"position_embd.weight": [N, 64]}
        | layers(*(FUSED | {"attn_qkv.bias": [3 * N]} | OUTPUT | POST_NORMS | PLAIN,) * 2),
    ),
    "bert-rank": replace(BERT, kv=BERT.kv | LABELS, tensors=BERT.tensors | CLS, poolings=("rank",)),
    "bert-classifier": replace(
        BERT, tensors=BERT.tensors | {"cls.output.weight": [N, 1], "cls.output.bias": [1]}, poolings=("rank",)
    ),
    "nomic-bert": Case(
        "nomic-bert",
        KV | LAYER_NORM | BOTH_WAYS | TYPES | {"rope.freq_base": 1000.0},
        TOP | TOKEN_TYPES | layers(NOMIC_LAYER | BIASES, FUSED | OUTPUT | POST_NORMS | GATED),
        poolings=ALL,
    ),
    "nomic-bert-moe": Case(
        "nomic-bert-moe",
        KV | LAYER_NORM | BOTH_WAYS | TYPES | {"moe_every_n_layers": 2, "expert_count": 4, "expert_used_count": 2},
        TOP | TOKEN_TYPES | layers(NOMIC_MOE | PLAIN | BIASES, NOMIC_MOE | EXPERTS),
        # llama.cpp's GELU is a table in binary16: in the 28th row that is enough to take another expert.
        n_ids=27,
        poolings=("mean",),
    ),
    "jina-bert-v2": Case(
        "jina-bert-v2",
        KV | LAYER_NORM | BOTH_WAYS | TYPES,
        TOP
        | TOKEN_TYPES
        | layers(JINA_LAYER | GATED, JINA_LAYER | FUSED_GATE | {"ffn_up.bias": [2 * FF]} | JINA_NORMS),
        poolings=ALL,
    ),
    "jina-bert-v2-rank": Case(
        "jina-bert-v2",
        KV | LAYER_NORM | BOTH_WAYS | TYPES | {"attention.head_count": 6},
        TOP | TOKEN_TYPES | layers(*(JINA_LAYER | PLAIN,) * 2) | {"cls.weight": [N, 1], "cls.bias": [1]},
        poolings=("rank",),
    ),
    "jina-bert-v3": Case(
        "jina-bert-v3",
        KV | LAYER_NORM | BOTH_WAYS | TYPES | {"rope.freq_base": 20000.0},
        TOP | TOKEN_TYPES | layers(BERT_LAYER, BERT_LAYER),
        poolings=("mean",),
    ),
    "modern-bert": MODERN,
    "modern-bert-silu": replace(
        MODERN,
        kv=MODERN.kv
        | {"hidden_activation": "silu", "attention.sliding_window": 7}
        | {"attention.sliding_window_pattern": [False, True, True, False]},
    ),
    "modern-bert-whole": replace(
        MODERN,
        kv={k: v for k, v in MODERN.kv.items() if "sliding" not in k},
        tensors=MODERN.tensors | {"blk.0.attn_norm.weight": [N]},
    ),
    "modern-bert-rank": replace(
        MODERN,
        tensors=MODERN.tensors
        | {"cls.weight": [N, N], "cls.norm.weight": [N], "cls.output.weight": [N, 1], "cls.output.bias": [1]},
        poolings=("rank",),
    ),
    "modern-bert-rank-cls": replace(
        MODERN,
        kv=MODERN.kv | {"classifier.pooling_type": 2},
        tensors=MODERN.tensors | {"cls.weight": [N, N], "cls.output.weight": [N, 1]},
        poolings=("rank",),
    ),
    "neo-bert": Case(
        "neo-bert",
        KV | RMS | BOTH_WAYS | LABELS,
        {"token_embd.weight": [N, N_VOCAB], "enc.output_norm.weight": [N]}
        | layers(*(FUSED | OUTPUT | PRE_NORMS | FUSED_GATE,) * 2)
        | CLS,
        poolings=("cls", "rank"),
    ),
    "eurobert": Case(
        "eurobert",
        KV | RMS | BOTH_WAYS | GQA,
        LLAMA_TOP | layers(*(LLAMA_LAYER,) * 2),
        poolings=("mean", "last"),
    ),
    "gemma-embedding": GEMMA,
    "gemma-embedding-dense": replace(
        GEMMA,
        kv=GEMMA.kv | {"dense_2_feat_in": N, "dense_2_feat_out": 64, "dense_3_feat_in": 64, "dense_3_feat_out": N},
        tensors=GEMMA.tensors | {"dense_2.weight": [N, 64], "dense_3.weight": [64, N], "output.weight": [N, N_VOCAB]},
        poolings=("mean",),
    ),
    "llama-embed": Case(
        "llama-embed",
        KV | RMS | BOTH_WAYS | GQA,
        LLAMA_TOP | layers(*(LLAMA_LAYER,) * 2) | {"rope_freqs.weight": [HEAD // 2]},
        poolings=("mean",),
    ),
    "llama-embed-causal": Case(
        "llama-embed",
        KV | RMS | GQA,
        LLAMA_TOP | layers(*(LLAMA_LAYER,) * 2) | {"output.weight": [N, N_VOCAB]},
        poolings=("mean", "last"),
    ),
    "t5encoder": Case(
        "t5encoder",
        T5_KV,
        T5_TOP | layers(T5_ATTENTION | PRE_NORMS | PLAIN | BUCKETS, T5_ATTENTION | PRE_NORMS | PLAIN, prefix="enc."),
        poolings=("mean",),
    ),
    "t5encoder-gated": Case(
        "t5encoder",
        T5_KV | {"attention.relative_buckets_count": 12},
        T5_TOP
        | layers(*(T5_ATTENTION | PRE_NORMS | GATED | {"attn_rel_b.weight": [N_HEAD, 12]},) * 2, prefix="enc.")
        | {"output.weight": [N, N_VOCAB]},
        poolings=("mean",),
    ),
    "t5": Case(
        "t5",
        T5_KV | {"decoder_block_count": 1},
        T5_TOP
        | layers(*(T5_ATTENTION | PRE_NORMS | PLAIN | BUCKETS,) * 2, prefix="enc.")
        | layers(T5_DECODER, prefix="dec.")
        | {"dec.output_norm.weight": [N]},
        poolings=("mean",),
    ),
    "qwen3-embedding": Case(
        "qwen3",
        KV | RMS | GQA | {"pooling_type": 3},
        LLAMA_TOP | layers(*(QWEN_LAYER,) * 2),
        poolings=("mean", "last"),
    ),
    "qwen3-rank": Case(
        "qwen3",
        KV | RMS | GQA | {"pooling_type": 4, "classifier.output_labels": ["yes", "no"]},
        LLAMA_TOP | layers(*(QWEN_LAYER,) * 2) | {"cls.output.weight": [N, 2]},
        poolings=("rank",),
    ),
    "qwen2-both-ways": Case(
        "qwen2",
        KV | RMS | GQA | BOTH_WAYS | {"pooling_type": 1},
        LLAMA_TOP | layers(*(LLAMA_LAYER,) * 2),
        poolings=("mean",),
    ),
}
