from __future__ import annotations

import io
from pathlib import Path

import pytest
from gguf import GGUFWriter

from localllm.cli import tokenize
from localllm.cli.main import main
from tests.text.build import byte_level


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a tiny vocabulary and no tensors."""
    path = tmp_path_factory.mktemp("tokenize") / "vocabulary.gguf"
    writer = GGUFWriter(str(path), "llama")
    for key, value in byte_level(bos_token_id=258, add_bos_token=True).items():
        {str: writer.add_string, int: writer.add_uint32, bool: writer.add_bool, list: writer.add_array}[type(value)](
            key, value
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return str(path)


def test_a_line_a_token_in_a_pipe(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenize", model, "xyz\né\\"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1] for line in lines] == ["x", "y", "z", "\\n", "\\xc3", "\\xa9", "\\\\"]
    assert lines[0] == f"{ord('x')}\tx"


def test_ids_alone_and_special_tokens(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenize", model, "xy", "--ids"]) == 0
    assert capsys.readouterr().out == f"{ord('x')} {ord('y')}\n"
    assert main(["tokenize", model, "<|end|>x", "--special"]) == 0
    assert [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()][1:] == ["<|end|>", "x"]


def test_text_from_standard_input(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("xy\ufffd".encode())))
    assert main(["tokenize", model, "--ids"]) == 0
    assert len(capsys.readouterr().out.split()) == 5  # U+FFFD is three bytes


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_on_a_terminal(
    model: str, no_color: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["tokenize", model, "x\x1b[2Jy"]) == 0
    out = capsys.readouterr().out
    assert ("\x1b[30;48" in out) == (not no_color)
    assert "\x1b[2J" not in out, "what a text holds must not reach the terminal as a command"


def test_lines_end_where_the_text_does() -> None:
    out = tokenize.coloured([b"a\n", b"b"])
    assert out.count("\n") == 1
    assert "a\\n" in out


def test_no_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.gguf"
    writer = GGUFWriter(str(path), "llama")
    writer.add_string("tokenizer.ggml.model", "no_vocab")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert main(["tokenize", str(path), "x"]) == 1
    assert "no vocabulary" in capsys.readouterr().err
