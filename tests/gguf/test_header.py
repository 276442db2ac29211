"""Headers of files of which only the first bytes are at hand, as of those that lie elsewhere."""

import pytest

from localllm.errors import FileError, FormatError, LocalllmError, NeedMoreError, UnsupportedError
from localllm.gguf.header import read_beginning
from localllm.gguf.reader import open_gguf, open_header
from tests.gguf import build as b
from tests.gguf.test_hostile import GOOD
from tests.malformed.parser import CASES

HEADER = GOOD.rindex(b.pack("IQ", 0, 64)) + 12
"""GOOD up to the last row of its directory."""


def whole(data: bytes, size: int) -> None:
    dict(open_header(data, size, "far.gguf").metadata)


def read_on(content: bytes) -> list[int]:
    """Lengths that were asked for, one after another."""
    lengths = [0]
    while True:
        try:
            whole(content[: lengths[-1]], len(content))
        except NeedMoreError as error:
            lengths.append(error.n_bytes)
            if not lengths[-2] < lengths[-1] <= len(content):
                raise AssertionError(f"{lengths} of {len(content)}") from None
        else:
            return lengths


def test_the_header_alone_says_the_same_as_the_file(tmp_path):
    (tmp_path / "m.gguf").write_bytes(GOOD)
    with open_gguf(tmp_path / "m.gguf") as file:
        far = open_header(GOOD[:HEADER], len(GOOD), "org/repo/m.gguf")
        assert (far.path, far.size, far.version, far.alignment) == ("org/repo/m.gguf", len(GOOD), 3, 32)
        assert dict(far.metadata) == dict(file.metadata)
        assert far.tensors == file.tensors


def test_each_beginning_that_is_too_short_says_how_much_it_takes():
    asked = set()
    for length in range(HEADER):
        with pytest.raises(NeedMoreError, match=rf"^far\.gguf: {length} bytes .* or more are needed$") as caught:
            whole(GOOD[:length], len(GOOD))
        assert length < caught.value.n_bytes <= HEADER
        asked.add(caught.value.n_bytes)
    assert max(asked) == HEADER
    whole(GOOD[:HEADER], len(GOOD))


def test_asking_for_what_is_said_to_be_missing_comes_to_an_end():
    lengths = read_on(GOOD)
    assert lengths[-1] == HEADER
    assert len(lengths) < 60


def test_a_long_vocabulary_is_not_asked_for_string_by_string():
    content = b.gguf([b.array("tokens", b.STR, ["abc"] * 10_000)])
    with pytest.raises(NeedMoreError) as caught:
        whole(content[:200], len(content))
    assert caught.value.n_bytes > 70_000


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_found_as_in_a_file(case):
    content = case.content
    with pytest.raises((FormatError, UnsupportedError)) as caught:
        whole(content, len(content))
    assert str(caught.value).startswith("far.gguf: ")
    assert case.words in str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_never_a_reason_to_read_on_for_ever(case):
    """Nothing beyond the stated size is asked for, and the error comes before or at the end."""
    with pytest.raises((FormatError, UnsupportedError)):
        read_on(case.content)


def test_the_stated_size_counts():
    with pytest.raises(FormatError, match=r"far\.gguf: tensor b: data ends at byte \d+, the file at \d+: it is trunc"):
        whole(GOOD, len(GOOD) - 1)
    with pytest.raises(FormatError, match="20 bytes long; a GGUF header has 24"):
        whole(GOOD, 20)
    for size in range(HEADER):
        with pytest.raises(LocalllmError, match=r"^far\.gguf: "):
            whole(GOOD, size)


def test_there_are_no_data():
    far = open_header(GOOD[:HEADER], len(GOOD), "far.gguf")
    assert not far.has_data
    for use in (far.map, far.check_unchanged, far.duplicates, lambda: far.identity, lambda: far.data(far.tensors["a"])):
        with pytest.raises(FileError, match=r"far\.gguf: only its header is at hand"):
            use()
    far.close()


def test_the_first_keys_tell_files_apart():
    """As many as stand wholly in what is at hand."""
    for length in range(24, HEADER):
        found = read_beginning(GOOD[:length], len(GOOD), "far.gguf")
        assert found.get("general.architecture", "llama") == "llama"
    assert list(read_beginning(GOOD[:100], len(GOOD), "far.gguf")) == ["general.architecture"]
    with pytest.raises(NeedMoreError):
        read_beginning(GOOD[:23], len(GOOD), "far.gguf")
