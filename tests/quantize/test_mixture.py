"""Formats of tensors: llama.cpp's for every mixture and kind of model, and what may be asked for instead."""

import json
import re

import pytest

from localllm.errors import UnsupportedError, UsageError
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.mixture import MIXTURES, Overrides, choose, describe, mixture, needs_importance
from tests.quantize.mixture_models import MODELS
from tests.quantize.record_mixtures import TARGET, packed

RECORDED = json.loads(TARGET.read_text())
SMALL = "tied, rows of 896 (Qwen2.5 0.5B)"
OURS = ("NVFP4",)
"""llama-quantize has no rules for it."""


@pytest.mark.parametrize("title", MODELS)
def test_the_formats_are_those_of_llamacpp(title):
    expected: dict[tuple[str, bool], dict[str, str]] = {}
    for kind, rows in RECORDED[title].items():
        for row, labels in rows.items():
            for label in labels.split():
                for has_imatrix in {"+": [True], "-": [False]}.get(label[-1], [False, True]):
                    expected.setdefault((label.rstrip("+-"), has_imatrix), {})[kind] = row
    assert len(expected) == 2 * len(MIXTURES)
    for (name, has_imatrix), kinds in expected.items():
        if name in OURS:
            assert kinds == {"refused": ""}
        elif "refused" in kinds:
            with pytest.raises(UnsupportedError, match="no whole blocks"):
                choose(MODELS[title], name, has_imatrix)
        else:
            chosen = {tensor: format.name for tensor, format in choose(MODELS[title], name, has_imatrix).items()}
            assert packed(chosen) == kinds, (name, has_imatrix)


def test_names_are_found_in_any_case_and_listed_where_they_are_wrong():
    assert mixture("q4_k").name == "Q4_K_M"
    assert mixture("iq2_xxs").file_type == 19
    with pytest.raises(UsageError, match=r"no format 'Q9_9'; formats are F32, F16, .*Q4_K_M.*Q1_0"):
        mixture("Q9_9")


def test_pure_gives_all_matrices_the_main_format_where_rows_hold_its_blocks():
    chosen = choose(MODELS["70B (Llama 3)"], "Q3_K_M", False, Overrides(pure=True))
    assert describe(chosen) == {"Q3_K": 80 * 7 + 2, "F32": 161}
    assert set(describe(choose(MODELS[SMALL], "Q3_K_M", False, Overrides(pure=True)))) == {"F32", "Q4_0", "Q3_K"}


def test_overrides_go_before_the_rules():
    source = MODELS["dense, grouped queries (Llama 3 8B)"]
    types = ((re.compile(r"blk\.[01]\.ffn"), FORMATS["Q8_0"]), (re.compile("ffn_down"), FORMATS["Q5_K"]))
    plain, chosen = (choose(source, "Q4_K_M", False, overrides) for overrides in (None, Overrides(types)))
    changed = {name for name in plain if plain[name] != chosen[name]}
    assert changed == {
        n for n in plain if "ffn_down" in n or (n.startswith(("blk.0.ffn", "blk.1.ffn")) and "norm" not in n)
    }
    assert (chosen["blk.0.ffn_down.weight"].name, chosen["blk.9.ffn_down.weight"].name) == ("Q8_0", "Q5_K")
    assert choose(source, "F16", False, Overrides(types))["blk.0.ffn_up.weight"].name == "Q8_0"


def test_output_and_embeddings_may_be_named():
    source = MODELS["dense, grouped queries (Llama 3 8B)"]
    asked = Overrides(output=FORMATS["Q8_0"], token_embedding=FORMATS["Q2_K"])
    chosen = choose(source, "Q4_K_M", False, asked)
    assert (chosen["output.weight"].name, chosen["token_embd.weight"].name) == ("Q8_0", "Q2_K")
    assert choose(source, "Q4_K_M", False, Overrides(leave_output=True))["output.weight"].name == "F16"
    tied = choose(MODELS[SMALL], "Q4_K_M", False, Overrides(output=FORMATS["Q5_1"]))
    assert tied["token_embd.weight"].name == "Q5_1"


def test_a_format_that_no_row_holds_falls_back_or_is_refused():
    types = ((re.compile("ffn_up"), FORMATS["IQ4_XS"]),)
    assert choose(MODELS[SMALL], "Q8_0", False, Overrides(types))["blk.0.ffn_up.weight"].name == "IQ4_NL"
    assert choose(MODELS["rows of no whole blocks"], "Q8_0", False)["blk.0.ffn_up.weight"].name == "F16"
    with pytest.raises(
        UnsupportedError, match=r"described.gguf: tensor token_embd\.weight: rows of 100 .* of 128 \(Q1_0\)"
    ):
        choose(MODELS["rows of no whole blocks"], "Q1_0", False)


@pytest.mark.parametrize(
    ("tensor", "format", "name", "needed"),
    [
        ("blk.0.ffn_up.weight", "IQ2_XS", "IQ2_XS", True),
        ("blk.0.ffn_up.weight", "Q2_K", "Q2_K", False),
        ("blk.0.ffn_up.weight", "Q2_K", "Q2_K_S", True),
        ("blk.0.ffn_up.weight", "IQ3_S", "IQ3_S", False),
        ("output.weight", "IQ2_XS", "IQ2_XS", False),
    ],
)
def test_what_is_of_no_use_without_calibration(tensor, format, name, needed):
    assert needs_importance(tensor, FORMATS[format], mixture(name)) is needed
