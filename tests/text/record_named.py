"""What llama.cpp makes of its templates by name: `python -m tests.text.record_named`, beside llama-cpp-python."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "templates" / "named.json"
TURNS = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": " hi\n"},
    {"role": "assistant", "content": " Hello!\n "},
    {"role": "user", "content": "And you?"},
]
CONVERSATIONS = {"one": TURNS[1:2], "system": TURNS[:2], "turns": TURNS[1:], "all": TURNS}


def main() -> None:
    import llama_cpp  # type: ignore[import-not-found, unused-ignore]

    buffer = (ctypes.c_char_p * 200)()
    names = [(buffer[i] or b"").decode() for i in range(llama_cpp.llama_chat_builtin_templates(buffer, 200))]
    rows: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        rows[name] = {key: _render(llama_cpp, name, messages) for key, messages in CONVERSATIONS.items()}
    told = {"llama_cpp_python": llama_cpp.__version__, "conversations": CONVERSATIONS, "rendered": rows}
    PATH.write_text(json.dumps(told, ensure_ascii=False, indent=0) + "\n")


def _render(llama_cpp: Any, name: str, messages: list[dict[str, str]]) -> str:
    rows = [llama_cpp.llama_chat_message(role=m["role"].encode(), content=m["content"].encode()) for m in messages]
    array = (llama_cpp.llama_chat_message * len(rows))(*rows)
    out = ctypes.create_string_buffer(1 << 16)
    n = llama_cpp.llama_chat_apply_template(name.encode(), array, len(rows), True, out, 1 << 16)
    return out.raw[:n].decode()


if __name__ == "__main__":
    main()
