"""Chameleon 7B (arXiv 2405.09818), text: like Llama, with a LayerNorm for each head of queries and keys. Tokens of
images are never generated (llama.cpp, chameleon.cpp).

The 34B (swin_norm) has norms after the blocks; llama.cpp's feed-forward block then reads the attention's result without
the residual stream, unlike the model's own code, so that there is nothing to hold it against.
"""

from localllm.model.spec import Spec

SPECS = {
    "chameleon": Spec(
        "Chameleon 7B, text",
        rope="adjacent",
        qk_norm=("layer", 1e-5),
        suppressed=range(4, 8196),
        refused_keys=("swin_norm",),
    ),
}
