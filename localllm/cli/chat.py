"""`localllm chat`: a conversation in the terminal, or line by line over a pipe."""

from __future__ import annotations

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
)
from localllm.cli.sections import Sectioned
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.generate.chat import Chat, ChatModel
    from localllm.generate.session import Model


@click.command(
    "chat", cls=Sectioned, sections=GENERATION_SECTIONS, epilog=VARIABLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.argument("positional", metavar="[MODEL]", required=False)
@options("model", "system", *GENERATION)
@click.option("--stats/--no-stats", default=True, help="Print statistics to standard error after each answer.")
@click.option("--continue", "continues", is_flag=True, help="Go on with the last conversation, and its model.")
@click.option("-r", "--resume", metavar="NAME", help="Go on with this conversation, and its model; /list shows them.")
@click.option(
    "--keep/--no-keep",
    default=None,
    help="Keep the conversation, for /load and --continue, and what is typed. [default: in a terminal]",
)
@click.option("--plain", is_flag=True, help="Show answers as the model writes them, not as styled Markdown.")
@click.option("--think/--no-think", "thinking", default=None, help="Whether the model thinks before it answers.")
@click.option("--fold-thinking", is_flag=True, help="Show of thinking only how long it is.")
def command(
    positional: str | None, model: str | None, system: str, stats: bool, continues: bool, resume: str | None,
    keep: bool | None, plain: bool, thinking: bool | None, fold_thinking: bool, **given: Any,
) -> int:  # fmt: skip
    """Chat with a model; without MODEL, with the catalog's default, which is fetched the first time.

    \b
    Ctrl-C stops an answer, Ctrl-D leaves; /help lists commands and keys.
    \"\"\" begins and ends a message of several lines.
    When standard input is no terminal, each of its lines is a message.
    """
    if continues and resume is not None:
        raise UsageError("--continue and --resume: give one of them")
    from localllm.chat.program import Options, run
    from localllm.chat.talk import Models

    settings = Generation.of(given)
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    chosen = Options(
        interactive, interactive if keep is None else keep, "" if continues else resume, stats, plain, thinking,
        fold_thinking,
    )  # fmt: skip
    models = Models(_Loader(settings).load, lambda model: _conversation(model, system, settings))
    try:
        return run(models, one_model(positional, model), chosen)
    finally:
        settings.close()
        for said in settings.notes if stats else ():
            note(said)


class _Loader:
    """Loads models of a chat. --chat-template is that of the first, whatever `/model` brings later."""

    def __init__(self, settings: Generation) -> None:
        self._settings = settings
        self._first: str | None = None
        """The path of its file."""

    def load(self, name: str | None) -> Model:
        s = self._settings
        template = s.chat_template if self._first in (None, name) else None
        model = load_model(name, s.n_ctx, s.n_threads, s.swa_full, s.kv_type, template, s.precision)
        self._first = self._first or model.path
        return model


def _conversation(model: ChatModel, system: str, settings: Generation) -> Chat:
    from localllm.generate.chat import Chat

    return Chat(
        model, system, settings.n_ctx, settings.n_batch, settings.max_tokens, settings.sampling(model),
        cache=settings.cache(), guessing=settings.guessing(),
    )  # fmt: skip
