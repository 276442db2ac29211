"""GLM 5.3 Flash (model card; llama.cpp's glm5-next.cpp): four residual streams; layers of Kimi Delta Attention, then
one of sparse multi-head latent attention. Layers without key-value heads are the former. llama.cpp reads biases
of the former's queries, keys and values, and ignores them.
"""

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, KdaSpec, Spec


def _mixers(c: Config, i: int) -> tuple[str, ...]:
    return ("pooled_attention",) if c.n_head_kv[i] else ("kda",)


SPECS = {
    "glm5-next": Spec(
        "GLM 5.3 Flash",
        rope="none",
        mixers=_mixers,
        stack="hyper_mean",
        activation="silu_clamped",
        unused=(r"blk\.\d+\.attn_(q|k|v|qkv)\.bias",),
        experts=ExpertsSpec(gating="sigmoid", normed=False, activation="silu_clamped"),
        kda=KdaSpec(eps=1e-6),
    ),
}
