"""SentencePiece's .model files: ids equal those of the package that wrote them."""

import contextlib
import io
import random

import pytest
import sentencepiece

import localllm
from localllm.errors import FileError, TokenizerError
from localllm.gate import vocabulary

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "naïve", "東京", "1234", "can't", "stop"]
SENTENCES = [" ".join(random.Random(i).choices(WORDS, k=12)) for i in range(300)]


@pytest.fixture(params=["bpe", "unigram"])
def model(request, tmp_path):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=out, vocab_size=330, model_type=request.param,
        byte_fallback=request.param == "bpe", hard_vocab_limit=False, minloglevel=2,
        normalization_rule_name="identity" if request.param == "bpe" else "nmt_nfkc",
        remove_extra_whitespaces=request.param != "bpe",
    )  # fmt: skip
    path = tmp_path / "tokenizer.model"
    path.write_bytes(out.getvalue())
    return path


def test_ids_equal_the_package(model):
    ours, theirs = localllm.load_tokenizer(model), sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert ours is not None
    for text in [*SENTENCES[:40], "the dog", "stop 99 foxes", "naïve café"]:
        assert ours.encode(text) == theirs.encode(text)
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_id(), theirs.eos_id())
    assert ours.n_vocab == theirs.vocab_size()


@pytest.mark.slow
def test_cut_anywhere_it_is_refused_or_shorter(model, tmp_path):
    whole = model.read_bytes()
    cut = tmp_path / "cut.model"
    for n in range(0, len(whole), 97):
        cut.write_bytes(whole[:n])
        with contextlib.suppress(TokenizerError):
            tokenizer = localllm.load_tokenizer(cut)
            assert tokenizer is not None
            assert tokenizer.n_vocab <= 330


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x0f", b"GGUF" + bytes(40)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "x.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"x\.model: not a SentencePiece model"):
        localllm.load_tokenizer(path)


PIECE = b"\x0a\x05\x0a\x03abc"
"""ModelProto.pieces = SentencePiece(piece="abc")."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x12\x00", "it holds no pieces"),
        (b"\x08\x01", "a field has the wrong type"),
        (PIECE + b"\x10\x01", "a field has the wrong type"),
        (b"\x0a\x02\x08\x01", "a field has the wrong type"),
        (b"\x0a\x02\x10\x01", "a field has the wrong type"),
        (PIECE + b"\x12\x02\x18\x03", r"model type 3 is not supported \(1, unigram, and 2, BPE, are\)"),
        (PIECE + b"\x0b", "wire type 3 at byte"),
        (PIECE + b"\x0a\x7f", "a field of 127 bytes at byte 9, 0 are left"),
        (PIECE + b"\x08", "it ends inside a number"),
        (PIECE + b"\x08" + b"\x80" * 11, "a number of more than 10 bytes"),
        (b"\x0a\x03\x0a\x01\xff", "not a SentencePiece model: 'utf-8' codec"),
    ],
)
def test_what_no_model_holds(tmp_path, content, words):
    path = tmp_path / "x.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=rf"x\.model: not a SentencePiece model: .*{words.split(': ')[-1]}"):
        localllm.load_tokenizer(path)


def test_fields_of_other_kinds_are_passed_over(tmp_path):
    """Numbers of 32 and 64 bits, unknown fields, negative ids."""
    path = tmp_path / "x.model"
    none = b"\xc8\x02" + b"\xff" * 9 + b"\x01"  # bos_id = -1
    path.write_bytes(PIECE + b"\x65\0\0\0\0" + b"\x61" + bytes(8) + b"\x12" + bytes([len(none)]) + none)
    made = localllm.load_tokenizer(path)
    assert made is not None
    assert (made.n_vocab, made.kind, made.bos_id) == (1, "t5", None)


def test_a_file_larger_than_any(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_MODEL_BYTES", 1 << 20)
    path = tmp_path / "x.model"
    path.write_bytes(bytes(1 + (1 << 20)))
    with pytest.raises(TokenizerError, match=r"x\.model: is larger than 1 MB, which no tokenizer is"):
        localllm.load_tokenizer(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        localllm.load_tokenizer(tmp_path / "no.model")
