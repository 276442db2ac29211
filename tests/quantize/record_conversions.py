"""Records what llama.cpp's convert_hf_to_gguf.py makes of the folders of tests/quantize/folders.py, and transformers'
logits of some.

    python -m tests.quantize.record_conversions LLAMA_CPP PYTHON

LLAMA_CPP: llama.cpp's source tree; PYTHON: the interpreter of an environment with torch and transformers, apart from
this one, since neither is ever needed here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.quantize.folders import CASES, IDS, write_folder

RECORDED = Path(__file__).parent / "conversions.json"
WITHOUT_LOGITS = ("bitnet", "gemma3_vision")
"""Not in transformers; and a class of its own, with the vision model."""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        spec = {
            case: (
                str(write_folder(room / case, CASES[case])),
                CASES[case].pre,
                CASES[case].dtype,
                [] if case in WITHOUT_LOGITS else IDS,
            )
            for case in CASES
        }
        (room / "spec.json").write_text(json.dumps(spec))
        script = Path(__file__).with_name("conversion.py")
        command = [sys.argv[2], str(script), str(Path(sys.argv[1]).resolve()), "spec.json", "out.json"]
        subprocess.run(command, cwd=room, check=True, env={"PATH": "/usr/bin:/bin"})
        found = json.loads((room / "out.json").read_text())
    lines = [f"{json.dumps(case)}: {json.dumps(found[case], ensure_ascii=False)}" for case in found]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
