"""Checks of metadata's numbers by the limits of each key; `numbers` has how some depend on others.

What computes takes a number for a size, a divisor or an index: limits are those of the kernels where these have some
(their scratch memory, mostly), and otherwise what no model comes near. Reals go to kernels as f32: at most 1e30.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from localllm.errors import FormatError
from localllm.gate.check import ROWS, Check, Place

MAX_LAYERS = 1024
"""Applied layers, those that are applied again counted again; llama.cpp's LLAMA_MAX_LAYERS is 512."""
MAX_HEAD = 8192
"""Elements of a head: more would not fit the scratch memory of the attention kernels (attention.scratch_bytes)."""
MAX_INDEXER = 1 << 12
"""Elements of an indexer's head: its queries lie in a thread's scratch memory, eight together."""
MAX_VOCAB = 1 << 24
"""Tokens; numbers of rows are i32."""
_I31 = (1 << 31) - 1
POSITIVE, HUGE = 1e-30, 1e30


@dataclass(frozen=True)
class Limits:
    """Of a key's value, or of each element of its list. reals: the numbers may be such."""

    what: str
    low: float
    high: float
    classes: tuple[int, ...] = ()
    reals: bool = False

    def told(self) -> str:
        if not self.reals:
            return f"{self.low} to {self.high}"
        low = {0: "0 or more", POSITIVE: "above 0", -HUGE: "finite"}.get(self.low, f"{self.low:g} or more")
        return low if self.high == HUGE else f"{low}, at most {self.high:g}"


def _integer(what: str, low: int, high: int, *classes: int) -> Limits:
    return Limits(what, low, high, classes)


def _real(what: str, low: float = -HUGE, high: float = HUGE, *classes: int) -> Limits:
    return Limits(what, low, high, (18, *classes), reals=True)


KEYS: dict[str, Limits] = {
    # all architectures
    "block_count": _integer("layers", 1, MAX_LAYERS, 57),
    "nextn_predict_layers": _integer("layers for further tokens; fewer than block_count", 0, MAX_LAYERS, 57),
    "num_loops": _integer("how often the layers are applied", 1, 64),
    "embedding_length": _integer("width of the residual stream", 1, 1 << 20, 55),
    "context_length": _integer("tokens that the model was trained for", 1, 1 << 31, 61),
    "feed_forward_length": _integer("width of a feed-forward block", 0, 1 << 22, 55),
    "attention.head_count": _integer("heads", 0, 1 << 16, 58),
    "attention.head_count_kv": _integer("key-value heads", 0, 1 << 16, 59),
    "attention.key_length": _integer("elements of a head's key", 1, MAX_HEAD, 55),
    "attention.value_length": _integer("elements of a head's value", 1, MAX_HEAD, 55),
    "attention.key_length_mla": _integer("elements of a head's key, of latents", 1, MAX_HEAD, 55),
    "attention.value_length_mla": _integer("elements of a head's value, of latents", 1, MAX_HEAD, 55),
    "attention.key_length_swa": _integer("the same in layers with a window", 1, MAX_HEAD, 55),
    "attention.value_length_swa": _integer("the same in layers with a window", 1, MAX_HEAD, 55),
    "attention.key_length_mla_swa": _integer("the same in layers with a window", 1, MAX_HEAD, 55),
    "attention.value_length_mla_swa": _integer("the same in layers with a window", 1, MAX_HEAD, 55),
    "attention.sliding_window": _integer("cells of a window; 0, where an architecture knows it: none", 0, _I31, 67),
    "attention.sliding_window_pattern": _integer("layers of a period, or flags", 0, 1 << 16, 67),
    "attention.layer_norm_rms_epsilon": _real("epsilon of RMSNorm; 0 only where it may be missing", 0, 1, 64),
    "attention.layer_norm_epsilon": _real("epsilon of LayerNorm; 0 only where it may be missing", 0, 1, 64),
    "token_shift_count": _integer("blocks that mix a row with the one before", 1, 2),
    "pooling_type": _integer("how rows become one", 0, 4),
    "classifier.pooling_type": _integer("how rows become a classifier's input", 0, 4),
    # RoPE
    "rope.dimension_count": _integer("elements with RoPE: even, at most a head's", 0, MAX_HEAD, 62),
    "rope.dimension_count_swa": _integer("the same in layers with a window", 0, MAX_HEAD, 62),
    "rope.dimension_sections": _integer("pairs of each position (M-RoPE)", 0, 1 << 16, 62),
    "rope.freq_base": _real("base of the frequencies", 1.001, HUGE, 63),
    "rope.freq_base_swa": _real("the same in layers with a window", 1.001, HUGE, 63),
    "attention.compress_rope_freq_base": _real("the same of compressed entries", 1.001, HUGE, 63),
    "rope.scaling.factor": _real("how far contexts are stretched; 0: not", 0, 1e6, 63),
    "rope.scale_linear": _real("the same, in old files", 0, 1e6, 63),
    "rope.scaling.original_context_length": _integer("tokens before the stretching; 0: context_length", 0, 1 << 31, 61),
    "rope.scaling.attn_factor": _real("factor of cosines and sines", POSITIVE),
    "rope.scaling.alpha": _real("factor that raises the base; 0 or less: none", -HUGE, 1e12, 63),
    "rope.scaling.yarn_ext_factor": _real("share of YaRN; below 0: as the scaling's type says"),
    "rope.scaling.yarn_attn_factor": _real("factor of cosines and sines, without YaRN"),
    "rope.scaling.yarn_beta_fast": _real("rotations of fast pairs", POSITIVE),
    "rope.scaling.yarn_beta_slow": _real("rotations of slow pairs", POSITIVE),
    "rope.scaling.yarn_log_multiplier": _real("share of YaRN's logarithm", 0, 1e3),
    # factors
    "embedding_scale": _real("factor of embeddings"),
    "residual_scale": _real("factor of what blocks add"),
    "logit_scale": _real("factor of logits"),
    "attention.scale": _real("factor of scores"),
    "attention.output_scale": _real("factor of scores", POSITIVE),
    "attention.value_scale": _real("factor of what attention gives"),
    "attention.clamp_kqv": _real("bound of queries, keys and values; 0: none", 0),
    "attention.max_alibi_bias": _real("greatest slope by distance; 0: none", 0, 1e3),
    "attn_logit_softcapping": _real("bound of scores", POSITIVE),
    "final_logit_softcapping": _real("bound of logits"),
    "attention.temperature_scale": _real("factor of queries by position"),
    "attention.temperature_length": _integer("positions of one such factor", 1, 1 << 31),
    "attention.relative_buckets_count": _integer("biases by distance", 4, 256),
    # activations
    "swiglu_clamp_exp": _real("bound of experts' activations"),
    "swiglu_clamp_shexp": _real("bound of shared experts' activations"),
    "activation_sparsity_scale": _real("deviations below which activations are 0; -inf: all stay"),
    "activation.situ_beta": _real("number of an activation", POSITIVE),
    "activation.situ_linear_beta": _real("number of an activation"),
    "xielu.alpha_p": _real("number of an activation"),
    "xielu.alpha_n": _real("number of an activation"),
    "xielu.beta": _real("number of an activation"),
    "xielu.eps": _real("number of an activation"),
    # experts
    "expert_count": _integer("experts", 0, 1024, 65),
    "expert_used_count": _integer("experts of a token: at most expert_count", 0, 1024, 65),
    "expert_group_count": _integer("groups of experts: divide expert_count", 0, 1024, 65),
    "expert_group_used_count": _integer("groups that are chosen: fewer than there are", 0, 1024, 65),
    "experts_per_group": _integer("experts of a chunk: divide expert_count", 1, 1024, 65),
    "expert_gating_func": _integer("what becomes of scores", 0, 4, 65),
    "expert_weights_scale": _real("factor of experts' weights", -HUGE, HUGE, 65),
    "expert_group_scale": _real("factor of what chunks add", -HUGE, HUGE, 65),
    "leading_dense_block_count": _integer("first layers, which have no experts: at most all", 0, MAX_LAYERS, 65),
    "hash_layer_count": _integer("first layers, whose experts a table chooses: at most all", 0, MAX_LAYERS, 65),
    # latents, indexers, compressed entries
    "attention.kv_lora_rank": _integer("elements of a latent", 1, 1 << 16, 55),
    "attention.kv_lora_rank_swa": _integer("the same in layers with a window", 1, 1 << 16, 55),
    "attention.q_lora_rank": _integer("elements from which queries are made", 1, 1 << 20, 55),
    "attention.output_lora_rank": _integer("elements of a group's output", 1, 1 << 20, 55),
    "attention.output_group_count": _integer("groups of heads: divide head_count", 1, 1 << 16, 60),
    "attention.compress_ratios": _integer("positions of an entry; 0: none", 0, 1 << 16),
    "attention.indexer.head_count": _integer("heads of an indexer", 1, 1 << 12, 58),
    "attention.indexer.key_length": _integer("elements of an indexer's head: with all of RoPE's", 1, MAX_INDEXER, 55),
    "attention.indexer.top_k": _integer("what an indexer chooses; 0, where an architecture knows it: all", 0, _I31),
    "attention.indexer.block_size": _integer("cells of a block", 1, 1 << 20),
    "attention.indexer.local_blocks": _integer("last blocks, which are chosen in any case", 0, _I31),
    "attention.indexer.kpool": _integer("positions of a group", 2, 1 << 10),
    "attention.indexer.types": _integer("1 where a layer has an indexer of its own", 0, 1),
    "attention.shared_kv_layers": _integer("last layers, without keys of their own: fewer than all", 0, MAX_LAYERS),
    # recurrent blocks
    "full_attention_interval": _integer("layers of a period that ends in attention", 1, 1 << 16),
    "attention.recurrent_layers": _integer("1 where a layer is recurrent", 0, 1),
    "ssm.conv_kernel": _integer("tokens of a convolution", 2, 64, 55),
    "ssm.inner_size": _integer("channels", 1, 1 << 20, 55),
    "ssm.state_size": _integer("elements of a channel's state, or of a head", 1, 1 << 14, 55),
    "ssm.time_step_rank": _integer("heads, or elements of the steps' thin form", 1, 1 << 16, 55),
    "ssm.group_count": _integer("groups of heads: divide their number", 0, 1 << 16, 60),
    "shortconv.l_cache": _integer("tokens of a convolution", 2, 64, 55),
    "kda.head_dim": _integer("elements of a head", 1, 1 << 12, 55),
    "kda.gate_lower_bound": _real("least decay: below 0", -HUGE, -POSITIVE),
    "wkv.head_size": _integer("elements of a head: divide embedding_length", 1, 32752, 60),
    "time_mix_extra_dim": _integer("width between two matrices", 1, 1 << 16, 55),
    "time_decay_extra_dim": _integer("width between two matrices", 1, 1 << 16, 55),
    "attention.decay_lora_rank": _integer("width between two matrices", 1, 1 << 16, 55),
    "attention.iclr_lora_rank": _integer("width between two matrices", 1, 1 << 16, 55),
    "attention.value_residual_mix_lora_rank": _integer("width between two matrices", 1, 1 << 16, 55),
    "attention.gate_lora_rank": _integer("width between two matrices", 1, 1 << 16, 55),
    "rescale_every_n_layers": _integer("layers after which streams are halved; 0: never", 0, 1 << 16),
    # residual streams and further inputs
    "embedding_length_per_layer_input": _integer("elements of a layer's own input; 0: none", 0, 1 << 16, 55),
    "altup.num_inputs": _integer("streams", 2, 4),
    "altup.active_idx": _integer("the stream that layers read: one of them", 0, 3),
    "attn_res.block_size": _integer("layers whose results are kept together; 0: none", 0, 1 << 16),
    "hyper_connection.count": _integer("streams", 1, 64),
    "hyper_connection.low_rank": _integer("elements of the gates' thin form", 1, 1 << 16, 55),
    "hyper_connection.epsilon": _real("what keeps divisors from 0", 0, HUGE, 64),
    "hyper_connection.sinkhorn_iterations": _integer("rounds", 1, 1000),
    "hyper_connection.magnitude": _real("greatest gate"),
    "hrm.layers_per_stack": _integer("layers of a stack: at most all", 1, MAX_LAYERS, 57),
    "hrm.l_cycles": _integer("rounds of the low stack", 1, MAX_LAYERS, 57),
    "hrm.h_cycles": _integer("rounds of both", 1, MAX_LAYERS, 57),
    "ple.conv_kernel": _integer("tokens of a convolution", 1, 64, 55),
    "ple.ngram_size": _integer("tokens of the longest n-gram", 2, 16),
    "ple.heads_per_ngram": _integer("hashes of each n-gram", 1, 256),
    "ple.head_offsets": _integer("first row of a hash", 0, _I31),
    "ple.head_vocab_sizes": _integer("rows of a hash", 1, _I31),
    "ple.layer_multipliers": _integer("multiplier of a hash", 0, (1 << 64) - 1),
    "ple.eos_token_id": _integer("the token that n-grams do not reach over", 0, _I31 - 1, 72),
}
"""Keys, without the architecture's name."""


def integer(place: Place, key: str, value: int, low: int | None = None, high: int | None = None) -> int:
    """low, high: where other numbers leave less room than the table."""
    limits = KEYS[key]
    least = limits.low if low is None else max(low, limits.low)
    most = limits.high if high is None else min(high, limits.high)
    if not least <= value <= most:
        raise place.error(f"is {value}, must be {least} to {most}")
    return value


def real(place: Place, key: str, value: float, low: float | None = None) -> float:
    """low: 0 for a number of which the table would allow negative ones, or `POSITIVE`."""
    limits = KEYS[key]
    least = limits.low if low is None else max(low, limits.low)
    if not math.isfinite(value):
        raise place.error(f"is {value}, must be finite")
    if value < least:
        bound = {0: "0 or more", POSITIVE: "above 0"}.get(least, f"{least:g} or more")
        raise place.error(f"is {value}, must be {bound}")
    if value > limits.high:
        raise place.error(f"is {value}, must be {'below 0' if limits.high < 0 else f'at most {limits.high:g}'}")
    return value


def _row(key: str, limits: Limits) -> Check:
    def run(place: Place, value: float) -> float:
        return real(place, key, value) if limits.reals else integer(place, key, int(value))

    return Check(f"keys.{key}", limits.what, limits.told(), limits.classes, FormatError, run)


ROWS.extend(_row(key, limits) for key, limits in KEYS.items())
