"""Tiny random models that speak: a token is a printable character, or "er"; the last one ends texts."""

from __future__ import annotations

from pathlib import Path

import gguf

from tests import tiny_models

TOKENS = [*map(chr, range(33, 126)), "er", "Ġ", "</s>"]
"""In GPT-2's alphabet of bytes, where Ġ is a space."""
EOG = len(TOKENS) - 1
CHATML = "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + ' ' }}{% endfor %}a:"


def write(path: Path, architecture: str = "llama", seed: int = 1) -> Path:
    """A model of tests.tiny_models with a vocabulary and a template."""
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
    writer.add_chat_template(CHATML)
    for name, x in tiny_models.weights(architecture, seed).items():
        writer.add_tensor(name, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
