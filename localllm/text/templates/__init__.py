"""Chat templates by name, and which of them a vocabulary asks for where a file has no template of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localllm.errors import UsageError
from localllm.text.templates.named import TEMPLATES, Named

__all__ = ["FALLBACKS", "TEMPLATES", "Fallback", "Named", "fallback_for", "named"]


@dataclass(frozen=True)
class Fallback:
    """The template `name` is for vocabularies that hold all of `signs` as special tokens."""

    name: str
    signs: tuple[str, ...]
    tokenizer: str = ""
    """The value of tokenizer.ggml.model that it takes; "": any."""


FALLBACKS = (
    Fallback("phi4", ("<|im_start|>", "<|im_sep|>", "<|im_end|>")),
    Fallback("smolvlm", ("<|im_start|>", "<end_of_utterance>")),
    Fallback("kimi-k2", ("<|im_user|>", "<|im_assistant|>", "<|im_middle|>")),
    Fallback("chatml", ("<|im_start|>", "<|im_end|>")),
    Fallback("llama3", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    Fallback("llama4", ("<|header_start|>", "<|header_end|>", "<|eot|>")),
    Fallback("gemma4", ("<|turn>", "<turn|>")),
    Fallback("gemma", ("<start_of_turn>", "<end_of_turn>")),
    Fallback("gpt-oss", ("<|start|>", "<|channel|>", "<|message|>")),
    Fallback("mistral-v7-tekken", ("[SYSTEM_PROMPT]", "[INST]", "[/INST]"), tokenizer="gpt2"),
    Fallback("mistral-v7", ("[SYSTEM_PROMPT]", "[INST]", "[/INST]")),
    Fallback("mistral-v3-tekken", ("[INST]", "[/INST]"), tokenizer="gpt2"),
    Fallback("mistral-v3", ("[INST]", "[/INST]")),
    Fallback("phi3", ("<|user|>", "<|assistant|>", "<|end|>")),
    Fallback("chatglm4", ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>")),
    Fallback("command-r", ("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>")),
    Fallback("granite", ("<|start_of_role|>", "<|end_of_role|>")),
    Fallback("deepseek3", ("<｜User｜>", "<｜Assistant｜>")),
    Fallback("exaone4", ("[|user|]", "[|assistant|]", "[|endofturn|]", "[|tool|]")),
    Fallback("exaone3", ("[|user|]", "[|assistant|]", "[|endofturn|]")),
    Fallback("seed_oss", ("<seed:bos>", "<seed:eos>")),
    Fallback("bailing2", ("<role>", "</role>", "<|role_end|>")),
    Fallback("megrez", ("<|role_start|>", "<|role_end|>", "<|turn_end|>")),
    Fallback("dots1", ("<|userprompt|>", "<|endofuserprompt|>", "<|response|>")),
    Fallback("hunyuan-dense", ("<｜hy_User｜>", "<｜hy_Assistant｜>")),
    Fallback("hunyuan-moe", ("<|startoftext|>", "<|extra_0|>", "<|extra_4|>")),
    Fallback("solar-open", ("<|begin|>", "<|content|>", "<|end|>")),
    Fallback("gigachat", ("<|role_sep|>", "<|message_sep|>")),
    Fallback("minicpm", ("<用户>", "<AI>")),
)  # fmt: skip
"""The first that fits counts."""


def fallback_for(is_token: Callable[[str], bool], tokenizer: str = "") -> Fallback | None:
    """What a vocabulary asks for, if it shows it. is_token: whether a text is one special token of it. tokenizer: the
    value of tokenizer.ggml.model."""
    for fallback in FALLBACKS:
        if fallback.tokenizer in ("", tokenizer) and all(map(is_token, fallback.signs)):
            return fallback
    return None


def named(name: str) -> Named:
    """The template of a name. UsageError for one that is not there, with those that are."""
    found = TEMPLATES.get(name)
    if found is None:
        raise UsageError(unknown_name(name))
    return found


def unknown_name(name: str) -> str:
    """What is wrong with a name that is none: the nearest names, or all."""
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), TEMPLATES, 3, 0.5)
    hint = f"near it are {', '.join(near)}" if near else f"by name there are {', '.join(sorted(TEMPLATES))}"
    return f"no chat template is called {name!r:.60}, and there is no such file: {hint}"
