"""DeepSeek-V4 (model card; llama.cpp's deepseek4.cpp): four residual streams, attention to a window and to compressed
entries, experts that the first layers choose by the token id alone. RoPE is handled by the attention block."""

from localllm.gate import numbers
from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, Spec


def _adapt(spec: Spec, c: Config) -> Spec:
    """Without their tensors, llama.cpp takes the layers that predict further tokens for others."""
    name = f"blk.{c.n_block}.nextn.eh_proj.weight"
    if name not in c.keys.file.tensors:
        numbers.one_of(c.keys.place("nextn_predict_layers", f", without the tensor {name}"), c.n_nextn, (0,))
    return spec


SPECS = {
    "deepseek4": Spec(
        "DeepSeek V4",
        rope="adjacent",
        rope_layers=lambda c, i: False,
        mixers=lambda c, i: ("compressed_attention",),
        stack="hyper",
        activation="silu_clamped",
        experts=ExpertsSpec(gating="sqrt_softplus", activation="silu_clamped"),
        adapt=_adapt,
        # For images.
        unused=(r"blk\.\d+\.exp_probs_b_vl\.bias",),
    ),
}
