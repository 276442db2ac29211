"""The line of GPT: LayerNorm, plain feed-forward blocks, learned positions, ALiBi or RoPE."""

from dataclasses import replace

from tests.recorded.shapes import ALL, FREE, SQUARE, row

BIASES = "layer b.norm b.qkv b.o b.ffn"
SIX = replace(SQUARE, n=192, heads=(6, 2))
"""A number of heads that is no power of two, past the first of which ALiBi's slopes are others."""
EXPERTS = replace(SQUARE, ff=40)
ALIBI = {"attention.max_alibi_bias": 8.0}
SECOND_NORM = {"attn_norm_2.weight": [96], "attn_norm_2.bias": [96]}
NORM_OF_KEYS = {"attn_k_norm.weight": [96], "attn_k_norm.bias": [96]}
"""llama.cpp aborts where there is one of queries, too."""

CASES = {
    "gpt2": row("gpt2", f"{BIASES} qkv plain positions tied", SQUARE),
    "starcoder": row("starcoder", f"{BIASES} qkv plain positions", replace(SQUARE, heads=(3, 1))),
    "starcoder2": row("starcoder2", f"{BIASES} plain tied", SQUARE),
    "gptneox": row("gptneox", f"{BIASES} qkv plain", replace(SQUARE, rot=8), {"use_parallel_residual": True}),
    "gptneox-in-turn": row("gptneox", f"{BIASES} qkv plain", ALL, {"use_parallel_residual": False}),
    "falcon": row("falcon", "layer b.norm qkv plain no.ffn_norm tied", SQUARE),
    "falcon-40b": row("falcon", "layer b.norm qkv plain no.ffn_norm", SQUARE, more=SECOND_NORM),
    "bloom": row("bloom", f"{BIASES} qkv plain embd.norm", SIX),
    "mpt": row("mpt", "layer qkv plain tied", SIX, ALIBI | {"attention.clamp_kqv": 0.5}),
    "mpt-positions": row("mpt", f"{BIASES} qkv plain positions", ALL, more={"ffn.act.scales": [ALL.ff]}),
    "mpt-norm-of-keys": row("mpt", f"{BIASES} qkv plain", ALL, ALIBI, more=NORM_OF_KEYS),
    "stablelm": row("stablelm", "layer b.norm b.qkv qk.heads", replace(SQUARE, rot=8)),
    "stablelm-parallel": row("stablelm", "layer b.norm no.ffn_norm", replace(SQUARE, rot=16)),
    "codeshell": row("codeshell", f"{BIASES} plain", SQUARE),
    "orion": row("orion", "layer b.norm", SQUARE),
    "nemotron": row("nemotron", f"{BIASES} plain", replace(SQUARE, rot=16)),
    "jais": row("jais", f"{BIASES} qkv", SQUARE, ALIBI),
    "jais2": row("jais2", f"{BIASES} plain", FREE),
    "refact": row("refact", "b.o b.ffn freqs", SIX),
    "refact-moe": row("refact", "moe", EXPERTS),
    "pockettts": row("pockettts", "layer b.norm b.qkv plain tied", SQUARE),
}
