"""`localllm list --architectures` comes from the specs, and costs no numpy."""

import json

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
