"""What the scripts of clients share: where the server is, and how checks are run and told.

A script is run by the client's own Python, which has this repository's tests in its path, and none of localllm.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Given:
    """`url` has no path; `key`: of the server; `folder`: a temporary one; `n_ctx`: tokens of a context.

    `model`, the file `path`, answers, `embedder` embeds texts, `thinker` thinks before it answers; `able` calls tools
    by itself, and is "" where it is not here.
    """

    url: str
    key: str
    model: str
    path: str
    able: str
    embedder: str
    thinker: str
    folder: str
    n_ctx: int


CITY: Any = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
"""A schema that any model comes to the end of."""
THOUGHTS = 24
"""Tokens that a model may think."""
Check = Callable[[Given], None]


def main(package: str, *checks: Check) -> None:
    """Run the checks of a client; its last line is JSON: the version, and the names of what passed and what failed."""
    given = Given(**json.loads(sys.argv[1]))
    passed, failed = [], []
    for check in checks:
        try:
            check(given)
        except Exception:
            traceback.print_exc()
            failed.append(check.__name__)
        else:
            passed.append(check.__name__)
    print(json.dumps({"version": version(package), "passed": passed, "failed": failed}), flush=True)
    sys.exit(1 if failed else 0)
