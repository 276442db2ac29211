"""What the names of model files tell."""

from pathlib import Path

import pytest

from localllm.store import filenames


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("Meta-Llama.IQ2_XXS.gguf", "IQ2_XXS"),
        ("Qwen3-4B-UD-Q4_K_XL.gguf", "Q4_K_XL"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("a/b/model-BF16-00001-of-00003.gguf", "BF16"),
        ("q8_0.gguf", "Q8_0"),
        ("nomic-embed-text-v1.5.f16.gguf", "F16"),
        ("smollm2-135m-instruct.gguf", ""),
        ("Qwen3-4B.gguf", ""),
    ],
)
def test_quantization(name: str, tag: str) -> None:
    assert filenames.quantization(name) == tag


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("Qwen3-4B-UD-q4_k_xl.gguf", "UD-Q4_K_XL"),
        ("m.i1-Q4_K_M.gguf", "i1-Q4_K_M"),
        ("UD-Q2_K_XL/m-UD-Q2_K_XL-00001-of-00002.gguf", "UD-Q2_K_XL"),
        ("BF16/m-00001-of-00002.gguf", "BF16"),
        ("UD-IQ1_S/m.gguf", "UD-IQ1_S"),
        ("Qwen3-4B-Q4_K_M/m.gguf", ""),
        ("sub/m.gguf", ""),
        ("RUD-Q4_0.gguf", "Q4_0"),
    ],
)
def test_tags(name: str, tag: str) -> None:
    assert filenames.tag(name) == tag


def test_models_by_their_names() -> None:
    models = ["a.gguf", "A.GGUF", "prompt-mtp.gguf", "x-00002-of-00002.gguf"]
    others = [
        "mmproj-F16.gguf",
        "model.mmproj-Q8_0.gguf",
        "a.imatrix.gguf",
        "imatrix.gguf",
        "mtp-a.gguf",
        "a.bin",
        "gguf",
    ]
    assert [name for name in models + others if filenames.is_model(name)] == models


def test_parts_are_one_model() -> None:
    told: list[str] = []
    folder, other = Path("f"), Path("g")
    parts = [folder / f"m-0000{i}-of-00003.gguf" for i in (3, 1, 2)]
    single = folder / "a.gguf"
    lacking = [other / "m-00001-of-00003.gguf", other / "m-00003-of-00003.gguf"]
    wrong = [other / "n-00000-of-00002.gguf", other / "n-00001-of-00002.gguf", other / "o-00001-of-99999.gguf"]
    found = list(filenames.whole_models([*parts, single, *lacking, *wrong, folder / "mmproj-a.gguf"], told.append))
    assert found == [(single,), (parts[1], parts[2], parts[0])]
    assert told == ["g/m: 2 of 3 parts are here", "g/n: 1 of 2 parts are here", "g/o: 1 of 99999 parts are here"]
    assert filenames.stem("f/m-00001-of-00003.gguf") == "m"
