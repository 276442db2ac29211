"""Tiny random models that speak: a token is a printable character, "er" or a line feed; the last one ends texts."""

from __future__ import annotations

from pathlib import Path

import gguf

from tests import tiny_models

TOKENS = [*map(chr, range(33, 126)), "er", "Ġ", "</s>"]
TOKENS[TOKENS.index("`")] = "Ċ"
"""In GPT-2's alphabet of bytes, where Ġ is a space and Ċ ends a line: what JSON is written with."""
EOG = len(TOKENS) - 1
CHATML = "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + ' ' }}{% endfor %}a:"


THINKING = CHATML + "{% if add_generation_prompt %}<think>{% if not enable_thinking %}</think>{% endif %}{% endif %}"


def write(
    path: Path,
    architecture: str = "llama",
    seed: int = 1,
    template: str = CHATML,
    pooling: gguf.PoolingType | None = None,
) -> Path:
    """A model of tests.tiny_models with a vocabulary and a template. pooling: how it embeds texts, if it says so."""
    assert len(TOKENS) == tiny_models.N_VOCAB
    writer = gguf.GGUFWriter(str(path), architecture)
    tiny_models.metadata(writer, architecture)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.NORMAL] * EOG + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["e r"])
    writer.add_eos_token_id(EOG)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    for name, x in tiny_models.weights(architecture, seed).items():
        writer.add_tensor(name, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
