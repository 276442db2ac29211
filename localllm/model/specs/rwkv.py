"""RWKV (Peng et al., arXiv 2404.05892 and 2503.14456): no attention, a state of fixed size. Others are Qwen 2
with its attention exchanged for RWKV's time mix.
"""

from dataclasses import replace

from localllm.model.spec import Spec

_V_OF_THE_FIRST_LAYER = (r"blk\.0\.time_mix_v[012]\.weight",)
"""Converters write them, for llama.cpp asks for them; there is nothing to draw its values towards."""

_RWKV = Spec("", rope="none", norm="layer", eps_default=0.0, stack="rwkv", n_ff=lambda c, i: 0)
_QWEN = Spec("", rope="none", eps_default=0.0)

SPECS = {
    "rwkv6": replace(_RWKV, about="RWKV 6 Finch", mixers=lambda c, i: ("rwkv6", "channel_mix")),
    "rwkv7": replace(
        _RWKV, about="RWKV 7 Goose", mixers=lambda c, i: ("rwkv7", "channel_mix"), unused=_V_OF_THE_FIRST_LAYER
    ),
    "rwkv6qwen2": replace(_QWEN, about="QRWKV 6", mixers=lambda c, i: ("rwkv6",)),
    "arwkv7": replace(_QWEN, about="ARWKV 7", mixers=lambda c, i: ("rwkv7",), unused=_V_OF_THE_FIRST_LAYER),
}
