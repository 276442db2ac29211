"""The text that a model is calibrated with: a file, or our own.

calibration.txt is our own: prose in several languages, code, tables, and chats, which go through the model's template.
A line <<<text>>> or <<<chat>>> begins a part, <<<user>>> and <<<assistant>>> a turn of a chat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from localllm.errors import FileError
from localllm.generate.answer import Message, TextModel, vocabulary

OUR_OWN = "localllm/quantize/calibration.txt"
"""What the file says that it was made with."""


def ids_of_file(model: TextModel, path: str) -> list[int]:
    """A file's text as llama-imatrix takes it. Raises FileError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise FileError(f"{path}: cannot be read: {reason}") from None
    return vocabulary(model).encode(text, add_special=True)


def our_own_ids(model: TextModel) -> list[int]:
    """calibration.txt, part after part. Raises TemplateError."""
    tokenizer, ids = vocabulary(model), list[int]()
    for text, messages in parts():
        if messages:
            rendered = model.template.render(messages, add_generation_prompt=False)
            ids += tokenizer.encode(rendered, parse_special=True)
        else:
            ids += tokenizer.encode(text)
    return ids


def parts() -> Iterator[tuple[str, list[Message]]]:
    """Of calibration.txt: a text, or the messages of a chat."""
    content = files("localllm.quantize").joinpath("calibration.txt").read_text(encoding="utf-8")
    _, *pieces = re.split(r"^<<<(text|chat)>>>\n", content, flags=re.MULTILINE)
    for kind, piece in zip(pieces[::2], pieces[1::2], strict=True):
        if kind == "text":
            yield piece, []
            continue
        _, *turns = re.split(r"^<<<(user|assistant)>>>\n", piece, flags=re.MULTILINE)
        yield "", [{"role": r, "content": c.strip()} for r, c in zip(turns[::2], turns[1::2], strict=True)]
