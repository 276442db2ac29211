"""Grammars that an answer keeps to, by llguidance (https://github.com/guidance-ai/llguidance), an optional package.

`compile_grammar` makes what an AnswerSequence takes as its constraint. What was compiled is kept: the same grammar for
the same tokenizer costs nothing the second time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from localllm.errors import GrammarError
from localllm.generate.grammar_input import Grammar
from localllm.generate.grammar_source import new_prototype
from localllm.generate.grammar_stack import on_large_stack
from localllm.generate.grammar_vocabulary import Prototype, TextTokenizer, Words, require_guidance, vocabulary_of

if TYPE_CHECKING:
    from localllm.generate.grammar_constraint import GrammarConstraint

__all__ = ["Compiled", "Grammar", "JsonSchema", "compile_grammar", "schema_text"]


@runtime_checkable
class _HasSchema(Protocol):
    """A class of pydantic's."""

    def model_json_schema(self) -> Mapping[str, Any]: ...


JsonSchema = str | Mapping[str, Any] | _HasSchema


class Compiled:
    """A grammar for the tokens of one vocabulary. Called, it makes the constraint of one answer: it is a NewConstraint.

    warnings: what of the grammar is not held to, such as "oneOf" where it had to be read as "anyOf".
    """

    def __init__(self, grammar: Grammar, prototype: Prototype, words: Words) -> None:
        self.grammar = grammar
        self.warnings = prototype.warnings
        self._matcher, self._words = prototype.matcher, words

    def __call__(self) -> GrammarConstraint:
        from localllm.generate.grammar_constraint import GrammarConstraint

        return GrammarConstraint(
            self._matcher.deep_copy(), self._words, lambda: self._words.prototypes.drop(self.grammar)
        )


def compile_grammar(tokenizer: TextTokenizer, grammar: Grammar) -> Compiled:
    """The grammar for the tokens of `tokenizer`; an answer may end by any of its eog_ids where the grammar is met.

    The first grammar of a tokenizer takes some tenths of a second, for a vocabulary of 150,000, others milliseconds.
    Threads may call it at the same time. Raises GrammarError, which says what is wrong with the grammar and where:
    also for one that no text meets, and for one that is too large; UnsupportedError without llguidance.
    """
    require_guidance()
    words = vocabulary_of(tokenizer)
    prototype = words.prototypes.get(grammar)
    if prototype is None:
        prototype = on_large_stack(lambda: new_prototype(words, grammar))
        words.prototypes.put(grammar, prototype)
    return Compiled(grammar, prototype, words)


def schema_text(schema: JsonSchema) -> str:
    """A JSON schema as text, from such a text, from an object, or from a class of pydantic's that describes itself."""
    if isinstance(schema, str):
        return schema
    value = schema.model_json_schema() if isinstance(schema, _HasSchema) else schema
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise GrammarError("JSON schema", "", f"is no JSON: {error}") from None
