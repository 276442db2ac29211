"""Answers for scripts: how `localllm run` asks a model, and what it tells of an answer as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from localllm.cli.common import Generation
from localllm.cli.verbose import timed
from localllm.errors import INTERRUPTED, TemplateError, UsageError
from localllm.terminal.figures import size

if TYPE_CHECKING:
    from localllm.cli.questions import Question
    from localllm.generate.answer import Answer
    from localllm.generate.chat import ChatModel
    from localllm.generate.grammar import Grammar
    from localllm.generate.piece import TokenLogprob
    from localllm.generate.reply import Reply


@dataclass(frozen=True)
class Manner:
    """How all questions are answered."""

    settings: Generation
    system: str = ""
    raw: bool = False
    """Prompts are continued as they are."""
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None
    thinking: bool | None = None
    logprobs: int | None = None


class Asker:
    """One context for one question after another: what they begin with alike is read once."""

    def __init__(self, model: ChatModel, manner: Manner) -> None:
        from localllm.generate.answer import new_constraint
        from localllm.generate.loop import Tape

        new_constraint(model, manner.grammar)  # refuses a wrong one at once
        self.model, self.manner = model, manner
        settings = manner.settings
        with timed("context") as told:
            self.context = model.context(n_ctx=settings.n_ctx, n_batch=settings.n_batch)
            told.append(f"{self.context.n_ctx} tokens, {size(self.context.n_bytes)}")
        cache = settings.cache()
        self._cache = cache.of(self.context) if cache else None
        guessing = settings.guessing()
        self._speculation = guessing.of(model, self.context) if guessing else None
        self._tape = Tape(self.context, self._cache, self._speculation)

    def ask(self, question: Question) -> Asked:
        """The answer, not begun. Raises LocalllmError where the question cannot be answered."""
        from localllm.generate.answer import begin_answer
        from localllm.generate.reply import Reply
        from localllm.generate.sampling import sampler_of

        manner, prepared = self.manner, self._prepared(question)
        sampling = replace(manner.settings.sampling(self.model), **question.sampling)
        limit = manner.settings.max_tokens if question.max_tokens is None else question.max_tokens
        stop = (*manner.stop, *question.stop, *prepared.stop)
        answer = begin_answer(
            self.model, self._tape, prepared.ids, sampler_of(self.model, sampling), limit, stop, lambda _: None,
            prepared.constraint, manner.logprobs, show_special=prepared.show_special,
        )  # fmt: skip
        reply = Reply(answer, prepared.new_parser(), lambda _: None)
        return Asked(reply, answer, self, is_held=manner.grammar is not None)

    def _prepared(self, question: Question) -> Any:
        from localllm.generate.answer import new_constraint, prompt_ids
        from localllm.generate.dialogue.conversation import Conversation
        from localllm.generate.dialogue.parser import OutputParser
        from localllm.generate.dialogue.prepare import Prepared, prepare

        manner = self.manner
        if manner.raw:
            if question.messages or question.system:
                raise UsageError("messages and system need the chat template: they cannot be used with --raw")
            ids = prompt_ids(self.model, question.prompt)
            return Prepared(question.prompt, ids, OutputParser, new_constraint(self.model, manner.grammar))
        system = manner.system if question.system is None else question.system
        messages = list(question.messages) or [{"role": "user", "content": question.prompt}]
        if system and not any(isinstance(message, Mapping) and message.get("role") == "system" for message in messages):
            messages.insert(0, {"role": "system", "content": system})
        conversation = Conversation(messages, thinking=manner.thinking, grammar=manner.grammar)
        try:
            return prepare(self.model, conversation)
        except TemplateError as error:  # which tells no path: clients of a server read it, too
            raise TemplateError(f"{self.model.path}: {error}") from None

    def close(self) -> None:
        """Release the context."""
        if self._cache:
            self._cache.close()
        if self._speculation:
            self._speculation.close()
        self.manner.settings.close()
        self.context.close()


@dataclass(frozen=True)
class Asked:
    """A question that is being answered."""

    reply: Reply
    answer: Answer
    asker: Asker
    is_held: bool
    """A grammar holds the answer: cut off, it is none."""

    @property
    def is_cut(self) -> bool:
        """Whether less came than was asked for: the context is full, or the answer is the beginning of what a grammar
        asks for."""
        reason = self.reply.stats.stop_reason
        return reason == "context" or (self.is_held and reason != "stop")

    @property
    def status(self) -> int:
        """The exit status that tells how the answer ended."""
        return INTERRUPTED if self.reply.stats.stop_reason == "cancelled" else int(self.is_cut)

    def cuts(self) -> list[str]:
        """Why the answer is not whole, for people."""
        n_ctx, reason = self.asker.context.n_ctx, self.reply.stats.stop_reason
        said = []
        if reason == "context":
            said.append(f"The context of {n_ctx} tokens is full: the answer ends here. Use a larger one with -c N.")
        if self.is_held and reason in ("length", "context"):
            said.append("The answer was cut: it is only the beginning of what the grammar asks for.")
        if reason in ("length", "context") and self.reply.reasoning and not self.reply.text.strip():
            said.append("The answer was cut while the model was thinking: nothing was said yet.")
        return said

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        stats = self.reply.stats
        found: dict[str, Any] = {"text": self.reply.text}
        if self.reply.reasoning:
            found["reasoning"] = self.reply.reasoning
        found |= {
            "finish_reason": stats.stop_reason,
            "usage": {
                "prompt_tokens": stats.prompt_tokens,
                "cached_tokens": stats.cached_tokens,
                "answer_tokens": stats.answer_tokens,
            },
            "seconds": {"prompt": round(stats.prompt_seconds, 4), "answer": round(stats.answer_seconds, 4)},
        }
        if self.asker.manner.logprobs is not None:
            found["tokens"] = [self._token(row) for row in self.answer.logprobs]
        return found

    def _token(self, row: TokenLogprob) -> dict[str, Any]:
        return {**self._one(row.token, row.logprob), "top": [self._one(*pair) for pair in row.top]}

    def _one(self, token: int, logprob: float) -> dict[str, Any]:
        """`text` may lack what is no whole character: `bytes` is what the token stands for."""
        tokenizer = self.asker.model.tokenizer
        assert tokenizer is not None
        data = tokenizer.token_bytes(token, special=True)
        text = data.decode("utf-8", "replace")
        return {"id": token, "text": text, "bytes": list(data), "logprob": round(logprob, 6)}


def answer_all(asker: Asker, questions: dict[int, Question | str], write: Any, progress: Any) -> Sequence[int]:
    """Answer questions in their order, write(row) each; the numbers of the lines that have no whole answer."""
    from localllm.errors import LocalllmError

    failed = []
    for done, (number, question) in enumerate(questions.items()):
        progress("Answering", done, len(questions))
        row: dict[str, Any] = {"line": number}
        if not isinstance(question, str) and question.id is not None:
            row["id"] = question.id
        try:
            if isinstance(question, str):
                raise UsageError(question)
            asked = asker.ask(question)
            for _ in asked.reply.parts():
                pass
            row |= asked.as_json()
            is_whole = not asked.is_cut
        except LocalllmError as error:
            row["error"] = str(error)
            is_whole = False
        if not is_whole:
            failed.append(number)
        write(row)
    progress("Answering", len(questions), len(questions))
    return failed
