"""`localllm list --architectures` comes from the specs, and costs no numpy."""

import json
import subprocess
import sys

from click.testing import CliRunner

from localllm.cli.list import command
from localllm.model.spec import architectures


def test_text_and_json():
    text = CliRunner().invoke(command, ["--architectures"])
    assert text.exit_code == 0
    lines = text.output.splitlines()
    assert lines[0].split() == ["ARCHITECTURE", "MODELS"]
    assert [line.split()[0] for line in lines[1:]] == list(architectures())
    found = json.loads(CliRunner().invoke(command, ["--architectures", "-o", "json"]).output)
    assert list(found) == list(architectures())
    assert "Mixtral" in found["llama"]


def test_imports_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; from localllm.cli.list import command;"
        "assert CliRunner().invoke(command, ['--architectures']).exit_code == 0;"
        "print([m for m in ('numpy', 'numba', 'prompt_toolkit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
