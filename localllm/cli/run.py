"""`localllm run`: one answer to one prompt. Standard output gets the model's text and nothing else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from localllm.cli.asking import Asked, Asker, Manner, answer_all
from localllm.cli.common import (
    GENERATION,
    GENERATION_SECTIONS,
    VARIABLES,
    Generation,
    Progress,
    dimmed,
    load_model,
    note,
    one_model,
    options,
)
from localllm.cli.grammars import grammar_of, grammar_options
from localllm.cli.questions import Question, read_questions, whole_prompt
from localllm.cli.sections import Sectioned
from localllm.cli.settings import default_model
from localllm.cli.streams import echo, echo_json
from localllm.cli.verbose import is_verbose, tell
from localllm.errors import INTERRUPTED, UsageError
from localllm.terminal.safe import visible

if TYPE_CHECKING:
    from localllm.generate.grammar import Grammar


@click.command(
    "run", cls=Sectioned, sections=GENERATION_SECTIONS, epilog=VARIABLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.argument("first", metavar="[MODEL]", required=False)
@click.argument("second", metavar="[PROMPT]", required=False)
@options("model", "prompt")
@click.option(
    "-f", "--file", metavar="FILE", help="The prompt, or what follows it, from a UTF-8 file; -: standard input."
)
@click.option(
    "--prompts", metavar="FILE",
    help="Answer many prompts: a line each, or JSON objects with prompt or messages, and id, system, max_tokens, stop, "
    "seed, temperature, ...; a line of JSON each is printed, in their order. -: standard input.",
)  # fmt: skip
@options("system")
@click.option(
    "--raw", "-no-cnv", "--no-conversation", is_flag=True,
    help="Continue the prompt as it is, without the model's chat template.",
)  # fmt: skip
@click.option("--think/--no-think", "thinking", default=None, help="Whether the model thinks before it answers.")
@click.option("--stop", multiple=True, metavar="TEXT", help="Stop before this text; may be given more than once.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Print the text as it comes, or at the end a JSON object with what is known of it.",
)  # fmt: skip
@click.option(
    "--logprobs", type=click.IntRange(0, 100), metavar="N",
    help="With JSON: each token with its log probability, and the N likeliest ones at its place.",
)  # fmt: skip
@grammar_options
@options(*GENERATION)
@click.option(
    "--stats/--no-stats", default=None,
    help="Print statistics to standard error. [default: when it is a terminal]",
)  # fmt: skip
def command(
    first: str | None, second: str | None, model: str | None, prompt: str | None, file: str | None,
    prompts: str | None, stats: bool | None, output: str, **given: Any,
) -> int:  # fmt: skip
    """Give one answer to a prompt.

    A single argument is MODEL when it is a file, has a path's form or is a name of a model, and PROMPT otherwise; -m
    and -p leave no doubt. Without a model the default one is used. What is in a file (-f), and what is piped into
    standard input, follows the prompt, or is the prompt. In a terminal, a MODEL without a prompt starts a chat.
    Standard output gets the answer alone; what the model thinks goes to standard error where that is a terminal.

    \b
    Exit status: 0    the answer ended, or -n ended it
                 1    an error; or less came than was asked for: the context was full, -n cut what a
                      grammar asks for, or some of --prompts have no answer
                 2    wrong usage
                 130  Ctrl-C, 143 SIGTERM: what was said so far was printed
    """
    settings = Generation.of(given)
    manner = _manner(given, settings, grammar_of(given))
    if manner.logprobs is not None and output == "text" and prompts is None:
        raise UsageError("--logprobs needs -o json: text is the answer alone")
    wanted = is_verbose() or sys.stderr.isatty() if stats is None else stats
    if prompts is not None:
        if second is not None or prompt is not None or file is not None:
            raise UsageError("--prompts has all prompts: no other can be given with it")
        name, questions = one_model(first, model), read_questions(prompts)
        with _asker(name, manner, wanted) as asker:
            return _answer_many(asker, questions)
    name, prompt = assign(first, second, model, prompt)
    name = default_model() if name is None else name
    text = whole_prompt(prompt, file)
    if text is None:
        return _chat(name, given)
    with _asker(name, manner, wanted) as asker:
        return _answer_one(asker, Question(text), output, wanted)


@contextlib.contextmanager
def _asker(name: str | None, manner: Manner, wanted: bool) -> Iterator[Asker]:
    """The model, loaded while the block runs."""
    settings = manner.settings
    loaded = load_model(
        name, settings.n_ctx, settings.n_threads, settings.swa_full, settings.kv_type, settings.chat_template,
        settings.precision,
    )  # fmt: skip
    try:
        if loaded.template.is_fallback and not manner.raw:
            note(f"{loaded.template.advice} --raw continues the prompt as it is.")
        asker = Asker(loaded, manner)
        try:
            yield asker
        finally:
            asker.close()
            for said in settings.notes if wanted else ():
                note(said)
    finally:
        loaded.close()


def _manner(given: dict[str, Any], settings: Generation, grammar: Grammar | None) -> Manner:
    if given["raw"] and given["system"]:
        raise UsageError("--system needs the chat template: it cannot be used with --raw")
    if given["raw"] and given["thinking"] is not None:
        raise UsageError("--think needs the chat template: it cannot be used with --raw")
    return Manner(settings, given["system"], given["raw"], given["stop"], grammar, given["thinking"], given["logprobs"])


def _chat(name: str | None, given: dict[str, Any]) -> int:
    """What people of Ollama expect of a model without a prompt, in a terminal."""
    from localllm.cli.chat import command as chat

    ctx = click.get_current_context()
    taken = {param.name for param in chat.params} | {"first", "model"}
    given_alone = [key for key in ctx.params if ctx.get_parameter_source(key) is ParameterSource.COMMANDLINE]
    if name is None or not _is_interactive() or not taken.issuperset(given_alone):
        raise UsageError("no prompt: give one (localllm run 'Why is the sky blue?'), or pipe one in")
    note(f"No prompt: this is `localllm chat {name}`.")
    options = {key: value for key, value in given.items() if key in taken}
    return int(ctx.invoke(chat, positional=name, **options) or 0)


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _answer_one(asker: Asker, question: Question, output: str, wanted: bool) -> int:
    asked = asker.ask(question)
    status = _show(asked, output == "text", thoughts=wanted and output == "text")
    if output == "json":
        echo_json(asked.as_json(), ascii=False)
    for said in asked.cuts():
        note(said)
    if wanted:
        note(str(asked.reply.stats))
    return status or asked.status


def _answer_many(asker: Asker, questions: dict[int, Question | str]) -> int:
    """A line of JSON for each; 1 where some have no whole answer."""

    def write(row: dict[str, Any]) -> None:
        echo_json(row, ascii=False)
        sys.stdout.flush()

    try:
        failed = answer_all(asker, questions, write, Progress())
    except KeyboardInterrupt:
        note("Stopped: the rest is not answered.")
        return INTERRUPTED
    if failed:
        lines = ", ".join(map(str, failed[:20])) + (", ..." if len(failed) > 20 else "")
        note(f"{len(failed)} of {len(questions)} prompts have no whole answer: line{'s'[: len(failed) > 1]} {lines}")
    return int(bool(failed))


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


def _show(asked: Asked, shown: bool, thoughts: bool) -> int:
    """Take the answer as it comes, and write it where `shown` is true; the exit status: 130 after Ctrl-C, which leaves
    the text so far."""
    from localllm.generate.dialogue.deltas import Content
    from localllm.terminal.answer import AnswerView
    from localllm.terminal.screen import Screen

    reply, status, is_first, thinks = asked.reply, 0, True, False
    view = AnswerView(Screen(sys.stdout), plain=True)
    try:
        for part in reply.parts():
            if is_first:
                tell(f"first token: {reply.stats.prompt_tokens} tokens read in {reply.stats.prompt_seconds:.2f} s")
            is_first, said = False, isinstance(part, Content)
            if thinks and said:
                echo(err=True)
            thinks = thoughts and not said
            if thinks:
                click.echo(dimmed(visible(part.text)), err=True, nl=False)
            elif said and shown:
                view.content(part.text)
    except KeyboardInterrupt:
        reply.close()
        status = INTERRUPTED
    if thinks:
        echo(err=True)
    if shown:
        view.end()
        if sys.stderr.isatty() and not (sys.stdout.isatty() or reply.text.endswith("\n")):
            echo(err=True)  # the text and what is told next may share a screen
    return status
