"""Special tokens of a Hugging Face folder, and its chat template, as keys tokenizer.*.

The rules are those of SpecialVocab in llama.cpp's gguf-py/gguf/vocab.py: what the post-processor of tokenizer.json adds
goes before the flags of tokenizer_config.json; ids by the texts that this file names go before those of config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localllm.quantize.source import Typed, typed
from localllm.quantize.sources.json_file import Config, read_json, read_text

_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # GGUF spells it so
    "pad": "padding_token_id",
    "cls": "cls_token_id",
    "mask": "mask_token_id",
    "eot": "eot_token_id",
}
_ADDED = ("bos", "eos", "sep")
"""Tokens with a flag add_..._token in GGUF."""
_MAX_TEMPLATE = 4 << 20


def special_keys(
    folder: Path, tokenizer: Mapping[str, Any], settings: Config, config: Config, n_vocab: int
) -> dict[str, Typed]:
    """Ids of special tokens and flags that say which are added to a text."""
    texts = {kind: text for kind in _KEYS if (text := _text(settings, f"{kind}_token"))}
    added: dict[str, bool] = {}
    path = folder / "tokenizer.json"
    for step in _processors(Config(path, dict(tokenizer))):
        if step.get("type") == "ByteLevel":
            added = {"bos": False, "eos": False} | added
        elif step.get("type") == "TemplateProcessing":
            _template(step, texts, added)
    for kind in _ADDED:
        if f"add_{kind}_token" in settings.values:
            added.setdefault(kind, settings.flag(f"add_{kind}_token", False))
    listed = tokenizer.get("added_tokens")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    by_text = {str(entry.get("content")): entry.get("id") for entry in reversed(entries)}
    keys = {}
    for kind, key in _KEYS.items():
        token_id = by_text.get(texts.get(kind, ""))
        if not isinstance(token_id, int) or token_id >= n_vocab:
            token_id = config.values.get(f"{kind}_token_id")
        if type(token_id) is int and 0 <= token_id < n_vocab:  # a list of several ends is left to the chat template
            keys[f"tokenizer.ggml.{key}"] = typed(token_id)
    return keys | {f"tokenizer.ggml.add_{kind}_token": typed(flag) for kind, flag in added.items()}


def _text(settings: Config, key: str) -> str:
    """The text of a special token, which may be a string or an object with a string."""
    value = settings.values.get(key)
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else ""


def _processors(tokenizer: Config) -> list[dict[str, Any]]:
    processor = tokenizer.inner("post_processor").values
    steps = processor.get("processors", [processor])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise tokenizer.fail("post_processor", "must hold a list of objects")
    return steps


def _template(step: Mapping[str, Any], texts: dict[str, str], added: dict[str, bool]) -> None:
    """What a TemplateProcessing adds before and after a text, and between two."""
    single, pair = _specials(step.get("single")), _specials(step.get("pair"))
    first, last = (single[0], single[-1]) if len(single) > 1 else ("", "")
    if first:
        if first not in (texts.get("bos"), texts.get("cls")):
            texts.setdefault("bos", first)
            texts.setdefault("cls", first)
        added["bos"] = first in (texts.get("bos"), texts.get("cls"))
    if last:
        if texts.get("eos", last) != last:
            texts["eot"] = texts["eos"]
        texts["eos"] = last
        added["eos"] = True
    start = 1 if first and pair and pair[0] == first else 0
    stop = len(pair) - 1 if last and pair and pair[-1] == last else len(pair)
    between = pair[start + 1 : stop - 1]
    if pair and between:
        ends = [text for text in (texts.get("sep"), texts.get("eos")) if text]
        added["sep"] = (between[0] in ends and not last) or (len(between) == 2 and between[1] in ends)


def _specials(steps: Any) -> list[str]:
    """The special tokens of a template; "" for a text."""
    found = []
    for step in steps if isinstance(steps, list) else []:
        special = step.get("SpecialToken") if isinstance(step, dict) else None
        found.append(str(special.get("id", "")) if isinstance(special, dict) else "")
    return found


def chat_templates(folder: Path, settings: Config) -> dict[str, Typed]:
    """tokenizer.chat_template, and tokenizer.chat_template.NAME for others beside it."""
    value = settings.values.get("chat_template")
    if value is None:
        value = _template_files(folder)
    if isinstance(value, str):
        return {"tokenizer.chat_template": typed(value)}
    named = {}
    for entry in value if isinstance(value, list) else []:
        template = Config(settings.path, entry if isinstance(entry, dict) else {})
        name = "".join(c if c.isascii() and c.isalnum() else "_" for c in template.text("name"))
        if name and "template" in template.values:
            named[name] = typed(template.text("template"))
    default = named.pop("default", None)
    keys = {f"tokenizer.chat_template.{name}": template for name, template in named.items()}
    if named:
        keys["tokenizer.chat_templates"] = typed(sorted(named))
    return keys if default is None else {**keys, "tokenizer.chat_template": default}


def _template_files(folder: Path) -> Any:
    """Templates in files of their own: chat_template.jinja, others beside it, or chat_template.json."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        others = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        default = {"name": "default", "template": read_text(path, _MAX_TEMPLATE)}
        return [default, *({"name": other.stem, "template": read_text(other, _MAX_TEMPLATE)} for other in others)]
    path = folder / "chat_template.json"
    return read_json(path, _MAX_TEMPLATE).get("chat_template") if path.is_file() else None
