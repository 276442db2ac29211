"""Run GGUF language models on the CPU.

    import localllm
    model = localllm.load("model.gguf")
    for piece in model.generate("Once upon a time", max_tokens=64):
        print(piece, end="", flush=True)

Importing this package loads neither numpy nor numba: heavy modules are imported when they are first used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from localllm import errors

if TYPE_CHECKING:
    from localllm.generate.session import Chat, Model
    from localllm.generate.speculation.options import Guessing
    from localllm.text.tokenizer import Tokenizer

__all__ = ["Chat", "Guessing", "Model", "Tokenizer", "__version__", "errors", "load", "load_tokenizer"]

_LAZY = {
    "Model": "localllm.generate.session",
    "Chat": "localllm.generate.session",
    "Guessing": "localllm.generate.speculation.options",
    "Tokenizer": "localllm.text.tokenizer",
}


def load(
    path_or_name: str | os.PathLike[str],
    n_ctx: int | None = None,
    n_threads: int | None = None,
    kv_type: str = "f16",
    swa_full: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    chat_template: str | None = None,
    n_threads_batch: int | None = None,
    precision: str = "normal",
) -> Model:
    """Load a model from a GGUF file, or by name: of the catalog, ORG/REPO[:QUANT] of a hub, the address of a file, what
    another program has (`localllm list`). What is not here is downloaded.

    - n_ctx: tokens that a context holds (None: a default that suits the model; 0: what the model was trained for). What
      does not fit into the free memory is refused before it is loaded, with the largest context that fits
      (NotEnoughMemoryError), unless LOCALLLM_MEMORY_CHECK is off.
    - n_threads: None takes what `localllm bench --tune` found, or else one per core; n_threads_batch: those for prompts
      (None: as many).
    - kv_type: "f16", "f32", "q8_0" or "q4_0", the data type of the key-value cache.
    - precision: "high" more than halves what rounding of activations to 8 bits does to the answers' probabilities, for
      about a tenth of the speed and of the memory for weights.
    - swa_full: layers with a sliding window keep all cells, not only those of their window: more memory, but a
      conversation can be cut back anywhere.
    - progress(text, done, total) is called while the file is downloaded (bytes) and while kernels are compiled for this
      processor the first time (kernels). Without it, a download draws a bar on standard error, and compiling is silent.
    - chat_template: what conversations go through in place of the file's own: a name (localllm.text.templates), the
      path of a file in Jinja, or the text of one.

    Raises localllm.errors.LocalllmError (FileError, FormatError, UnsupportedError, NotEnoughMemoryError, StoreError;
    UsageError for an unknown template).
    """
    from localllm.generate.session import Model
    from localllm.store.resolve import resolve

    path = resolve(os.fspath(path_or_name), fetch=True, progress=progress)
    model = Model.load(
        path, n_ctx=n_ctx, n_threads=n_threads, kv_type=kv_type, swa_full=swa_full, progress=progress,
        n_threads_batch=n_threads_batch, precision=precision,
    )  # fmt: skip
    return model.with_template(chat_template)


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer | None:
    """Load the tokenizer of a GGUF file, from its metadata alone (no tensors needed), or of a SentencePiece .model.

    None when the file has no vocabulary (`tokenizer.ggml.model` is `no_vocab`): such a model runs on ids.
    Raises FileError, FormatError, TokenizerError or UnsupportedError.
    """
    from localllm.text.tokenizer import load_tokenizer as from_metadata

    path = os.fspath(path)
    if path.endswith(".model"):
        from localllm.text.sentencepiece_file import read_model

        return from_metadata(read_model(path), path)
    from localllm.gguf.reader import open_gguf

    with open_gguf(path) as file:
        return from_metadata(file.metadata, file.path)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("localllm")
    except PackageNotFoundError:
        return "unknown (run from a tree that is not installed)"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'localllm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
