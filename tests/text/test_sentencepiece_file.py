"""SentencePiece's .model files: ids equal those of the package that wrote them."""

import contextlib
import io
import random

import pytest
import sentencepiece

import localllm
from localllm.errors import FileError, TokenizerError

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


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        localllm.load_tokenizer(tmp_path / "no.model")
