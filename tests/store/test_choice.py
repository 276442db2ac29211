"""Which file of a repository is meant."""

import pytest

from localllm.errors import StoreError
from localllm.store.choice import choices, choose

PATHS = [
    "README.md",
    "config.json",
    "mmproj-model-f16.gguf",
    "model-BF16-00002-of-00002.gguf",
    "model-BF16-00001-of-00002.gguf",
    "model-IQ4_XS.gguf",
    "model-Q4_K_M.gguf",
    "model-Q8_0.gguf",
    "model-UD-Q4_K_M.gguf",
    "model-UD-Q4_K_XL.gguf",
    "model.imatrix.gguf",
    "mtp-model-Q4_K_M.gguf",
    "Q6_K/model-00001-of-00003.gguf",
    "Q6_K/model-00002-of-00003.gguf",
    "Q6_K/model-00003-of-00003.gguf",
    "UD-Q2_K_XL/model-UD-Q2_K_XL-00001-of-00002.gguf",
    "UD-Q2_K_XL/model-UD-Q2_K_XL-00002-of-00002.gguf",
]


@pytest.mark.parametrize(
    ("quant", "first", "n_parts"),
    [
        ("", "model-Q4_K_M.gguf", 1),
        ("Q4_K_M", "model-Q4_K_M.gguf", 1),
        ("q8_0", "model-Q8_0.gguf", 1),
        ("UD-Q4_K_M", "model-UD-Q4_K_M.gguf", 1),
        ("Q4_K_XL", "model-UD-Q4_K_XL.gguf", 1),
        ("ud-q4_k_xl", "model-UD-Q4_K_XL.gguf", 1),
        ("bf16", "model-BF16-00001-of-00002.gguf", 2),
        ("Q6_K", "Q6_K/model-00001-of-00003.gguf", 3),
        ("UD-Q2_K_XL", "UD-Q2_K_XL/model-UD-Q2_K_XL-00001-of-00002.gguf", 2),
        ("Q2_K_XL", "UD-Q2_K_XL/model-UD-Q2_K_XL-00001-of-00002.gguf", 2),
        ("model-IQ4_XS", "model-IQ4_XS.gguf", 1),
    ],
)
def test_by_quantization(quant: str, first: str, n_parts: int) -> None:
    choice = choose(PATHS, "a/b", quant)
    assert choice.parts[0] == first
    assert len(choice.parts) == n_parts
    assert list(choice.parts) == sorted(choice.parts)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a-Q8_0.gguf", "a-Q2_K.gguf"], "a-Q8_0.gguf"),
        (["b-Q5_K_M.gguf", "a-IQ2_XXS.gguf"], "a-IQ2_XXS.gguf"),
        (["a.gguf"], "a.gguf"),
        (["A.Q4_K_M.GGUF", "a-Q8_0.gguf"], "A.Q4_K_M.GGUF"),
        (["m.i1-Q4_K_M.gguf", "m.i1-IQ1_S.gguf"], "m.i1-Q4_K_M.gguf"),
    ],
)
def test_what_is_preferred(paths: list[str], expected: str) -> None:
    assert choose(paths, "a/b").parts == (expected,)


def test_by_file() -> None:
    assert choose(PATHS, "a/b", file="MODEL-q8_0.gguf").parts == ("model-Q8_0.gguf",)
    assert choose(PATHS, "a/b", file="Q6_K/model-00002-of-00003.gguf").parts[0] == "Q6_K/model-00001-of-00003.gguf"


def test_tags() -> None:
    tags = [choice.tag for choice in choices(PATHS)]
    assert sorted(tags) == sorted(["Q6_K", "UD-Q2_K_XL", "BF16", "IQ4_XS", "Q4_K_M", "Q8_0", "UD-Q4_K_M", "UD-Q4_K_XL"])


def test_what_is_not_there() -> None:
    with pytest.raises(StoreError) as caught:
        choose(PATHS, "a/b", "Q3_K_S")
    assert str(caught.value) == (
        "a/b: there is no Q3_K_S; there is BF16, IQ4_XS, Q4_K_M, Q6_K, Q8_0, UD-Q2_K_XL, UD-Q4_K_M, UD-Q4_K_XL"
    )
    with pytest.raises(StoreError, match=r"there is no Q9; there is .* and 6 more"):
        choose([f"model{i}.gguf" for i in range(30)], "a/b", "Q9")
    with pytest.raises(StoreError, match=r"a/b: there is no x\.gguf; there is Q4_0"):
        choose(["y-Q4_0.gguf"], "a/b", file="x.gguf")
    with pytest.raises(StoreError, match="a/b: there is no model as a GGUF file"):
        choose(["model.safetensors", "mmproj-F16.gguf", "a.gguf.imatrix"], "a/b")


@pytest.mark.parametrize(
    "paths",
    [
        ["m-Q4_0-00001-of-00003.gguf", "m-Q4_0-00003-of-00003.gguf"],
        ["m-Q4_0-00002-of-00002.gguf"],
        ["m-Q4_0-00001-of-00002.gguf", "M-Q4_0-00001-of-00002.gguf"],
        ["m-Q4_0-00000-of-00000.gguf"],
    ],
)
def test_parts_that_are_missing(paths: list[str]) -> None:
    with pytest.raises(StoreError, match="parts of"):
        choose(paths, "a/b")
