"""One layer: its blocks and the norms around them, read from the file."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gate import tensors
from localllm.model.blocks import Mixer, read_block
from localllm.model.experts import Experts, read_experts
from localllm.model.experts_apart import ExpertsApart, read_experts_apart
from localllm.model.feed_forward import ActivationAlone, FeedForward, read_feed_forward
from localllm.model.layer_reader import LayerReader, read_norm
from localllm.model.recorder import Norm

Ffn = FeedForward | ActivationAlone | Experts | ExpertsApart


@dataclass(frozen=True)
class Layer:
    """The blocks of one layer and the norms around them; what is None is absent."""

    attn_norm: Norm | None
    attn_norm_2: Norm | None
    mixers: tuple[Mixer, ...]
    """What mixes the tokens: attention, a recurrent block, or both beside each other; none where the layer is a
    feed-forward block alone."""
    post_attention_norm: Norm | None
    ffn_norm: Norm | None
    ffn: Ffn | None
    post_ffw_norm: Norm | None
    parallel: bool
    residual_factor: float
    parallel_experts: tuple[Norm, Experts] | None = None
    """Experts that read the layer's input, through a norm of their own."""
    skip_factor: float = 0.0
    loop_norm: Norm | None = None


def read_layer(f: LayerReader) -> Layer:
    """The layer, its tensors checked. Raises FormatError or UnsupportedError naming one."""
    c, spec, n = f.config, f.spec, f.config.n_embd
    post_eps = f.eps if spec.post_norm_eps is None else spec.post_norm_eps
    ffn, parallel_experts = _feed_forward(f)
    kinds = spec.mixers(c, f.i)
    mixers = tuple(read_block(name, f) for name in kinds)
    attn_norm = f.norm("attn_norm", n) if spec.pre_norm and mixers else None
    if spec.pre_norm and mixers and f.i not in spec.bare_layers:
        _require(f, "attn_norm", attn_norm)
    ffn_norm = f.norm(spec.ffn_norm, n) if spec.pre_norm and ffn else None
    parallel = spec.parallel(c, ffn_norm is not None)
    if spec.pre_norm and ffn and not parallel:
        _require(f, spec.ffn_norm, ffn_norm)
    return Layer(
        attn_norm=attn_norm,
        attn_norm_2=f.norm("attn_norm_2", n) if f.has("attn_norm_2.weight") and "attention" in kinds else None,
        mixers=mixers,
        post_attention_norm=_post_norm(f, spec.post_attention_norm, post_eps),
        ffn_norm=ffn_norm,
        ffn=ffn,
        post_ffw_norm=_post_norm(f, spec.post_ffw_norm, post_eps),
        parallel=parallel,
        residual_factor=spec.residual_factor(c),
        parallel_experts=parallel_experts,
        skip_factor=f.scalar("layer_output_scale.weight") if spec.embedding_skip else 0.0,
        loop_norm=_loop_norm(f),
    )


def _require(f: LayerReader, name: str, norm: Norm | None) -> None:
    tensors.present(f.at(f"{name}.weight"), norm)


def _loop_norm(f: LayerReader) -> Norm | None:
    """Between two passes through the layers: the norm that also follows the last one."""
    c = f.config
    if (f.i + 1) % c.n_block or f.i + 1 >= c.n_layer or c.keys.flag("skip_loop_final_norm", False):
        return None
    return read_norm(f.weights, f.spec, f.spec.output_norm, c.n_embd, f.eps)


def _post_norm(f: LayerReader, name: str, eps: float) -> Norm | None:
    """A norm after a block is there where it has weights."""
    if name == f.spec.ffn_norm or not f.has_norm(name):
        return None
    return f.norm(name, f.config.n_embd, eps)


def _feed_forward(f: LayerReader) -> tuple[Ffn | None, tuple[Norm, Experts] | None]:
    """The layer's block, and experts parallel to it."""
    c = f.config
    if not f.has("ffn_gate_inp.weight"):
        return (read_feed_forward(f) if f.spec.n_ff(c, f.i) else None), None
    if f.has("pre_ffw_norm_2.weight"):
        return read_experts_apart(f), None
    if not f.spec.experts.used:
        f.weights.leave(rf"blk\.{f.i}\.ffn_(gate_inp|\w+_exps)\.weight")
        return ActivationAlone(f"blk.{f.i}.ffn", f.spec.activation), None
    if f.spec.experts.dense == "ignored":
        f.weights.leave(rf"blk\.{f.i}\.ffn_(gate|up|down)\.weight")
    if not f.has("ffn_norm_exps.weight"):
        return read_experts(f), None
    norm = f.norm("ffn_norm_exps", c.n_embd)
    assert norm is not None
    return read_feed_forward(f), (norm, read_experts(f))
