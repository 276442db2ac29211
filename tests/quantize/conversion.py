"""Runs llama.cpp's own conversion, and transformers, for tests/quantize/record_conversions.py: in a process of its own,
with the Python that has torch and transformers.

    python conversion.py LLAMA_CPP SPEC.json OUT.json

SPEC: name -> [folder, pre-tokenizer, dtype, ids]. OUT: name -> keys, tensors and logits, in the form of
`tests.quantize.test_huggingface.described`.
"""

# mypy: ignore-errors
# ruff: noqa: E402

import hashlib
import json
import logging
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path[:1] = [sys.argv[1], str(Path(sys.argv[1]) / "gguf-py")]

import gguf
import numpy as np
import torch
from conversion import ModelBase, get_model_class
from conversion.base import ModelType, TextModel, get_model_architecture
from transformers import AutoModelForCausalLM

FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}


def convert(folder, pre, dtype, out):
    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre  # it knows hashes of the hub's vocabularies only
    hparams = ModelBase.load_hparams(folder, False)
    kind = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    kind(folder, gguf.LlamaFileType(FILE_TYPES[dtype]), out, eager=True).write()


def short(value):
    if isinstance(value, list) and len(value) > 8:
        return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]
    return value


def described(path):
    reader = gguf.GGUFReader(path)
    names = {"UINT32": "u32", "INT32": "i32", "FLOAT32": "f32", "BOOL": "bool", "STRING": "str", "ARRAY": "arr"}
    keys = {
        key: [" ".join(names[kind.name] for kind in field.types), short(field.contents())]
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.")
    }
    tensors = {
        t.name: [
            [int(n) for n in t.shape],
            t.tensor_type.name,
            hashlib.sha256(np.ascontiguousarray(t.data).tobytes()).hexdigest()[:16],
        ]
        for t in reader.tensors
    }
    return {"keys": keys, "tensors": tensors}


def logits(folder, ids):
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        return [round(float(x), 5) for x in model(torch.tensor([ids])).logits[0, -1, :16]]


def main():
    logging.disable(logging.WARNING)
    spec = json.loads(Path(sys.argv[2]).read_text())
    found = {}
    for name, (folder, pre, dtype, ids) in spec.items():
        out = Path(folder) / "converted.gguf"
        convert(Path(folder), pre, dtype, out)
        found[name] = described(out)
        if ids:
            found[name]["logits"] = logits(folder, ids)
    Path(sys.argv[3]).write_text(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
