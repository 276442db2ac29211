"""The table of formats: GGML's ids, block sizes and bytes, as the gguf package has them; and what each file says."""

import re

import gguf
import pytest

from localllm.kernels import formats
from localllm.kernels.formats.table import BY_ID, FORMATS, REMOVED
from localllm.tools import blocks
from tests import reference
from tests.kernels import harness, test_embed, test_products

KNOWN = {kind.name: (kind.value, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
SUPPORTED = [fmt.name for fmt in harness.SUPPORTED]


def test_ids_and_sizes_are_those_of_gguf():
    ours = {fmt.name: (fmt.id, fmt.block, fmt.bytes) for fmt in FORMATS.values()}
    # Q8_1 is for activations alone; gguf counts its two numbers as binary32, `block_q8_1` has them as binary16.
    assert {name: ours.get(name) for name in KNOWN} | {"Q8_1": KNOWN["Q8_1"]} == KNOWN
    assert set(ours) - set(KNOWN) <= set(reference.TWINS)


def test_every_id_is_a_format_or_was_one():
    gaps = set(range(max(BY_ID) + 1)) - set(BY_ID) - set(REMOVED)
    assert not gaps, "ids that are neither a format nor were one (REMOVED)"
    assert not set(BY_ID) & set(REMOVED)
    assert set(REMOVED) == {4, 5, 31, 32, 33, 36, 37, 38}
    for what in REMOVED.values():
        assert re.fullmatch(r"\w+ \(removed in 20\d\d\): (convert|use) .*", what)


def test_what_is_supported():
    """Of GGML's formats, those for weights; the others are for activations, integers and doubles."""
    assert set(FORMATS) - set(SUPPORTED) == {"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"}


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_format_says_what_it_is(name):
    """Its docstring has the bytes of the table; where there are bits to draw, it names the layout's source."""
    fmt = FORMATS[name]
    module = formats.module(fmt.module)
    text = module.__doc__ or ""
    assert text.startswith(f"{name}: ")
    if fmt.block > 1:
        assert getattr(module, "BYTES", 0) == fmt.bytes
        assert f"({fmt.bytes} bytes" in text
        assert f"`block_{fmt.module}`" in text.lower()
        assert name in blocks.SCALES


@pytest.mark.parametrize("name", SUPPORTED)
def test_constants_have_known_names(name):
    """A misspelled optional part would be taken for one that is left out."""
    required = {"KIND", "SIZE", "BYTES", "GROUP", "OFFSET", "HAS_MIN", "MAX_CODE", "QS"}
    tables = {"VALUES", "TABLE", "SHORT", "LAST", "D"}  # a format's own
    constants = {n for n, value in vars(formats.module(FORMATS[name].module)).items() if n.isupper() and n[0] != "_"}
    imported = {"LOW1", "LOW2", "LOW4", "IQ1", *FORMATS}
    assert constants <= required | tables | imported | set(formats.OPTIONAL)


@pytest.mark.parametrize("name", SUPPORTED)
def test_row_lengths_that_are_tried(name):
    """One block, the least that is legal; odd numbers of blocks; what real models have, where whole blocks allow."""
    block = FORMATS[name].block
    for lengths in (test_embed.LENGTHS[block], test_products.LENGTHS[block]):
        assert block in lengths or block == 1
        assert any(k // block % 2 for k in lengths)
    assert {k for k in (576, 640, 896) if k % block == 0} <= {*test_embed.LENGTHS[block], *test_products.LENGTHS[block]}
