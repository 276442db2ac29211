"""gpt-oss (arXiv 2508.10925): a sliding window in every other layer, attention sinks, experts with
biases, a clamped SwiGLU, and a softmax over the chosen experts only.
"""

from localllm.model.spec import ExpertsSpec, Spec, sliding

SPECS = {
    "gpt-oss": Spec(
        "gpt-oss 20B and 120B",
        rope="halves",
        ffn_norm="post_attention_norm",
        window=sliding(2),
        experts=ExpertsSpec(gating="softmax_weight", normed=False, activation="swiglu_oai"),
    )
}
