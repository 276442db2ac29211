"""Which tokens end an answer, and which tokens are control tokens although their file does not say so.

GGUF files often name one of several end tokens alone, and mark some of them as plain text. The names and the rules are
those of llama.cpp (`llama_vocab::impl::load`, src/llama-vocab.cpp, "auto-detect special tokens by text").
"""

from __future__ import annotations

from collections.abc import Mapping

from localllm.text.vocabulary import CONTROL, NORMAL, USER_DEFINED, Vocabulary

END_OF_GENERATION = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
)
"""A token of one of these names ends the answer, whatever its type."""

# Fill-in-the-middle tokens: the first name of a row that the vocabulary holds is a control token, unless a key names
# another.
_FIM = {
    "fim_pre_token_id": (
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>",
        "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>",
    ),
    "fim_suf_token_id": (
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>",
        "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>",
    ),
    "fim_mid_token_id": (
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>",
        "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>",
    ),
    "fim_pad_token_id": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep_token_id": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep_token_id": ("<|file_sep|>",),
}  # fmt: skip
_FIM_ENDS = ("fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id")

_OLD_KEYS = {
    "fim_pre_token_id": "prefix_token_id",
    "fim_suf_token_id": "suffix_token_id",
    "fim_mid_token_id": "middle_token_id",
}

# gpt-oss writes its answers between these, and they must be seen by who parses them
_ALWAYS_SHOWN = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")

# With all tokens of a row at hand, <|end|> only ends a message, not the answer (gpt-oss, Solar)
_END_IS_NOT_THE_END = (
    ("<|return|>", "<|call|>"),
    ("<|return|>", "<|calls|>"),
    ("<|call|>", "<|flush|>"),
    ("<|calls|>", "<|flush|>"),
)

# With one of these, </s> is plain text (Gemma 4, PLaMo)
_S_IS_TEXT = ("<|tool_response>", "<|plamo:eos|>")


def find_infill(vocab: Vocabulary) -> dict[str, int]:
    """Fill-in-the-middle tokens that are there, by the names of their keys. Sets types where no key names them."""
    tokens: dict[str, int] = {}
    for key, names in _FIM.items():
        found = vocab.special_id(key)
        if found is None and key in _OLD_KEYS:
            found = vocab.special_id(_OLD_KEYS[key])
        if found is None:
            found = next((vocab.ids[name] for name in names if name in vocab.ids), None)
            if found is not None:
                vocab.types[found] = CONTROL
        if found is not None:
            tokens[key] = found
    return tokens


def find_endings(vocab: Vocabulary, eos_id: int | None, infill: Mapping[str, int]) -> frozenset[int]:
    """Ids that end an answer. Sets the types of control tokens that the file calls something else.

    `eos_id` is the end of sequence; `eot_token_id` and `eom_token_id` of the file count too, and of `infill`'s tokens
    those that begin what belongs to no answer.
    """
    ids, types = vocab.ids, vocab.types
    ends = {infill[key] for key in _FIM_ENDS if key in infill}
    for name in END_OF_GENERATION:
        if name in ids:
            ends.add(ids[name])
            types[ids[name]] = CONTROL
    for name in _ALWAYS_SHOWN:
        if name in ids:
            types[ids[name]] = USER_DEFINED
    ends.update(
        found
        for found in (eos_id, vocab.special_id("eot_token_id"), vocab.special_id("eom_token_id"))
        if found is not None
    )

    def ending(name: str) -> bool:
        return ids.get(name) in ends

    if ending("<|end|>") and any(all(map(ending, row)) for row in _END_IS_NOT_THE_END):
        ends.discard(ids["<|end|>"])
        types[ids["<|end|>"]] = USER_DEFINED
    if ending("</s>") and any(map(ending, _S_IS_TEXT)):
        ends.discard(ids["</s>"])
        types[ids["</s>"]] = NORMAL
    return frozenset(ends)
