"""What transformers makes of the templates: `python -m tests.text.record_templates`, in an environment that has it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from tests.text.template_cases import BOS, CASES, EOS, NOW
from tests.text.template_features import MESSAGES, SOURCES
from tests.text.template_models import FOLDER, TEMPLATES

PATH, FEATURES = FOLDER / "transformers.json", FOLDER / "features.json"
SHORT = 160
"""Characters up to which a text is kept beside its digest."""


class _Clock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return NOW


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main() -> None:
    import transformers  # type: ignore[import-not-found, unused-ignore]
    from tokenizers import Tokenizer, models
    from transformers.utils import chat_template_utils  # type: ignore[import-not-found, unused-ignore]

    chat_template_utils.datetime = _Clock
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({BOS: 0, EOS: 1}, unk_token=BOS)), bos_token=BOS, eos_token=EOS
    )
    lines = [f'"transformers": {json.dumps(transformers.__version__)}']
    for name in TEMPLATES:
        tokenizer.chat_template = (FOLDER / f"{name}.jinja").read_text()
        rows = {key: _row(tokenizer, dict(case)) for key, case in CASES.items()}
        lines.append(f"{json.dumps(name)}: {json.dumps(rows, ensure_ascii=False)}")
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    features = [json.dumps([_feature(chat_template_utils, source)], ensure_ascii=False)[1:-1] for source in SOURCES]
    FEATURES.write_text("[\n" + ",\n".join(features) + "\n]\n")


def _feature(utils: Any, source: str) -> str | list[str]:
    """The text, or [what was raised]."""
    try:
        texts, _ = utils.render_jinja_template(
            [MESSAGES], chat_template=source, add_generation_prompt=True, bos_token=BOS, eos_token=EOS
        )
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return str(texts[0])


def _row(tokenizer: Any, case: dict[str, Any]) -> list[str]:
    """[digest, text if it is short], or ["", what was raised]."""
    try:
        text = tokenizer.apply_chat_template(case.pop("messages"), tokenize=False, **case)
    except Exception as error:
        return ["", f"{type(error).__name__}: {error}"[:200]]
    return [digest(text), text] if len(text) <= SHORT else [digest(text)]


if __name__ == "__main__":
    main()
