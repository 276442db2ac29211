"""`localllm tokenize`: the tokens of a text, as a model sees them. Reads the file's metadata alone."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from localllm.cli.questions import all_of_stdin
from localllm.cli.verbose import timed, where
from localllm.errors import UnsupportedError
from localllm.gguf.reader import open_gguf
from localllm.store.resolve import resolve

if TYPE_CHECKING:
    from localllm.text.tokenizer import Tokenizer

_COLOURS = (117, 222, 151, 217, 183)
"""Backgrounds of the 256-colour palette, light enough for black text."""


@click.command()
@click.argument("model")
@click.argument("text", required=False)
@click.option("--ids", is_flag=True, help="Print the ids only, on one line.")
@click.option("--special", is_flag=True, help="Add BOS and EOS as the file says, and parse control tokens in TEXT.")
def command(model: str, text: str | None, ids: bool, special: bool) -> None:
    """Show the tokens of TEXT, or of standard input: side by side in colours on a terminal, else a line each of id and
    piece. Bytes that are no whole character, and control characters, are written as escapes.

    MODEL is the path of a GGUF file or a name of `localllm list`.
    """
    with timed("tokenizer") as told:
        path = resolve(model)
        tokenizer = _load(path)
        told += where(path)
    if text is None:
        text = all_of_stdin()
    found = tokenizer.encode(text, add_special=special, parse_special=special)
    if ids:
        click.echo(" ".join(map(str, found)))
    elif sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        click.echo(coloured([tokenizer.token_bytes(token_id, special=True) for token_id in found]), color=True)
    else:
        click.echo("".join([f"{i}\t{shown(tokenizer.token_bytes(i, special=True))}\n" for i in found]), nl=False)


def _load(path: str) -> Tokenizer:
    from localllm.text.tokenizer import load_tokenizer

    with open_gguf(path) as file:
        tokenizer = load_tokenizer(file.metadata, file.path)
    if tokenizer is None:
        raise UnsupportedError(f"{path}: the model has no vocabulary (tokenizer.ggml.model); it runs on ids")
    return tokenizer


def coloured(pieces: list[bytes]) -> str:
    """The pieces side by side, neighbours in different colours; lines end where the text's do."""
    out: list[str] = []
    for i, piece in enumerate(pieces):
        style = f"\x1b[30;48;5;{_COLOURS[i % len(_COLOURS)]}m"
        out += (style, shown(piece).replace("\\n", f"\\n\x1b[0m\n{style}"), "\x1b[0m")
    return "".join(out)


def shown(piece: bytes) -> str:
    """A piece on one line, safe for a terminal: what is not printable, and a backslash, as Python escapes."""
    return "".join(
        char if char.isprintable() and char != "\\" else _escape(char)
        for char in piece.decode("utf-8", "surrogateescape")
    )


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
