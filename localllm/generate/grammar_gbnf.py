"""llama.cpp's GBNF to Lark, by llguidance's converter."""

from __future__ import annotations

from localllm.errors import GrammarError
from localllm.generate.grammar_input import NAMES


def lark_of(source: str) -> str:
    """Raises GrammarError with the line."""
    from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark

    try:
        return gbnf_to_lark(source)
    except GbnfToLarkError as error:
        line = source.count("\n", 0, error.pos.pos) + 1
        raise GrammarError(NAMES["gbnf"], f"line {line}", str(error).split(" at line ")[0]) from None
    except RecursionError:
        raise GrammarError(NAMES["gbnf"], "", "is nested too deeply") from None
    except Exception as error:  # the converter's own checks raise plain Exceptions
        raise GrammarError(NAMES["gbnf"], "", str(error)[:200]) from None
