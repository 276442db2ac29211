"""A query and a document as the one text that a reranker scores, as llama.cpp's server puts them together
(format_prompt_rerank, tools/server/server-common.cpp).
"""

from __future__ import annotations

import re

from localllm.text.tokenizer import Tokenizer

TEMPLATE_KEY = "tokenizer.chat_template.rerank"
"""Metadata: a text with the places {query} and {document}, of models that are asked in words."""


def pair_ids(tokenizer: Tokenizer, query: str, document: str, template: str = "") -> list[int]:
    """Ids of a pair: through the template, where control tokens count, or as two plain texts."""
    if template:
        parts = {"{query}": query, "{document}": document}
        text = re.sub(r"\{query\}|\{document\}", lambda place: parts[place[0]], template)
        return tokenizer.encode(text, parse_special=True)
    before, between, after = tokenizer.pair_frame
    return [*before, *tokenizer.encode(query), *between, *tokenizer.encode(document), *after]
