"""A prompt that asks for what stands between two texts, of models that were trained on such (arXiv:2207.14255)."""

from __future__ import annotations

from localllm.gate import vocabulary as gate
from localllm.text.tokenizer import Tokenizer

_NEEDED = ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id")


def infill_prompt(tokenizer: Tokenizer, prefix: str, suffix: str) -> list[int]:
    """Ids of a prompt after which the model writes the middle: prefix, suffix, middle, as llama.cpp's server orders
    them (format_prompt_infill, tools/server/server-common.cpp). Control tokens in the texts are plain text.

    Raises UnsupportedError for a vocabulary without fill-in-the-middle tokens.
    """
    gate.infill([name for name in _NEEDED if name not in tokenizer.infill_ids])
    before, after, middle = (tokenizer.infill_ids[name] for name in _NEEDED)
    begin = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
    return [*begin, before, *tokenizer.encode(prefix), after, *tokenizer.encode(suffix), middle]
