"""`localllm run`: one answer to one prompt. Standard output gets the model's text and nothing else."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.common import (
    GENERATION,
    GENERATION_SECTIONS,
    VARIABLES,
    Generation,
    load_model,
    note,
    one_model,
    options,
    statistics,
)
from localllm.cli.grammars import grammar_of, grammar_options
from localllm.cli.sections import Sectioned
from localllm.cli.settings import default_model
from localllm.cli.verbose import is_verbose
from localllm.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from localllm.generate.answer import Answer
    from localllm.generate.grammar import Grammar
    from localllm.generate.session import Model

_PATIENCE = 1.0
"""Seconds before a silent pipe on standard input is mentioned: one that is never closed would look like a hang."""


@click.command(
    "run", cls=Sectioned, sections=GENERATION_SECTIONS, epilog=VARIABLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.argument("first", metavar="[MODEL]", required=False)
@click.argument("second", metavar="[PROMPT]", required=False)
@options("model", "prompt", "system")
@click.option("--raw", is_flag=True, help="Continue the prompt as it is, without the model's chat template.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Stop before this text; may be given more than once.")
@grammar_options
@options(*GENERATION)
@click.option(
    "--stats/--no-stats", default=None,
    help="Print statistics to standard error. [default: when it is a terminal]",
)  # fmt: skip
def command(
    first: str | None, second: str | None, model: str | None, prompt: str | None, system: str, raw: bool,
    stop: tuple[str, ...], stats: bool | None, **given: Any,
) -> int:  # fmt: skip
    """Give one answer to a prompt.

    A single argument is MODEL when it is a file, has a path's form or is a name of the catalog, and PROMPT otherwise;
    -m and -p leave no doubt. Without a model the catalog's default is used. What is piped into standard input follows
    the prompt, or is the prompt.
    """
    settings, grammar = Generation.of(given), grammar_of(given)
    name, text = assign(first, second, model, prompt)
    if name is None:
        name = default_model()
    if raw and system:
        raise UsageError("--system needs the chat template: it cannot be used with --raw")
    text = with_stdin(text)
    loaded = load_model(
        name, settings.n_ctx, settings.n_threads, settings.swa_full, settings.kv_type, settings.chat_template
    )
    try:
        answer = _start(loaded, text, system, raw, stop, settings, grammar)
        status = _show(answer)
        if grammar and answer.stats.stop_reason != "stop":
            note("The answer was cut: it is only the beginning of what the grammar asks for.")
        wanted = is_verbose() or sys.stderr.isatty() if stats is None else stats
        _report(answer, settings.n_ctx or loaded.default_n_ctx, wanted)
        for text in settings.notes if wanted else ():
            note(text)
        return status
    finally:
        loaded.close()


def assign(
    first: str | None, second: str | None, model: str | None, prompt: str | None
) -> tuple[str | None, str | None]:
    """(model, prompt) from up to two arguments and the options -m and -p. Raises UsageError when one is given twice."""
    if second is not None:
        if prompt is not None:
            raise UsageError(f"the prompt is given twice: by -p, and {second!r}")
        return one_model(first, model), second
    if first is None:
        return model, prompt
    if model is not None and prompt is not None:
        raise UsageError(f"the model is given by -m and the prompt by -p: what is {first!r}?")
    if model is not None or (prompt is None and not _is_model(first)):
        return model, first
    return first, prompt


def _is_model(text: str) -> bool:
    from localllm.store.resolve import looks_like_model

    return looks_like_model(text) or text.lower().endswith(".gguf")


def with_stdin(prompt: str | None) -> str:
    """The prompt, followed by what is piped into standard input."""
    piped = _piped()
    if prompt is None and not piped:
        raise UsageError("no prompt: give one (localllm run 'Why is the sky blue?'), or pipe one in")
    return "\n\n".join(part for part in (prompt, piped) if part)


def _piped() -> str:
    """Text of standard input when it is a pipe, a socket or a file; a terminal and /dev/null are not read."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or not a real file
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return ""
    if not stat.S_ISREG(mode) and not select.select([sys.stdin], [], [], _PATIENCE)[0]:
        note("Reading standard input until its end (without one, add </dev/null).")
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}") from None


def _start(
    model: Model, text: str, system: str, raw: bool, stop: tuple[str, ...], settings: Generation,
    grammar: Grammar | None,
) -> Answer:  # fmt: skip
    from localllm.generate.answer import new_constraint, prompt_ids
    from localllm.generate.dialogue.prepare import chat_ids

    if raw:
        ids = prompt_ids(model, text)
    else:
        messages = [{"role": "system", "content": system}] if system else []
        ids = chat_ids(model, [*messages, {"role": "user", "content": text}])
        if model.template.is_fallback:
            note(f"{model.template.advice} --raw continues the prompt as it is.")
        stop = (*stop, *model.template.stop)
    return model.answer(
        ids, settings.sampling(model), settings.max_tokens, stop, settings.n_ctx, settings.n_batch,
        new_constraint(model, grammar), cache=settings.cache(),
    )  # fmt: skip


def _show(answer: Answer) -> int:
    """Write the pieces as they come; the exit status: 130 after Ctrl-C, which leaves the text so far."""
    status = 0
    try:
        for piece in answer:
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        answer.close()
        status = INTERRUPTED
    if not answer.text.endswith("\n"):
        if sys.stdout.isatty():
            sys.stdout.write("\n")
        elif sys.stderr.isatty():
            click.echo(err=True)
    return status


def _report(answer: Answer, n_ctx: int, wanted: bool) -> None:
    if answer.stats.stop_reason == "context":
        note(f"The context of {n_ctx} tokens is full: the answer ends here. Use a larger one with -c N.")
    if wanted:
        note(statistics(answer.stats))
