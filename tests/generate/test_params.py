"""Parameters of the sampler: limits, names, and what a file says of them."""

from __future__ import annotations

import dataclasses
import math
import pickle
import typing
from typing import Any

import gguf
import pytest

from localllm.errors import FormatError, UsageError
from localllm.generate.params import (
    _LIMITS,
    FILE_KEYS,
    STAGE_NAMES,
    Sampling,
    SamplingOptions,
    defaults_of,
    stage_names,
)
from localllm.gguf.reader import open_gguf


@pytest.mark.parametrize("name", _LIMITS)
def test_numbers_have_limits(name):
    low, high = _LIMITS[name]
    for inside in (low, high):
        given: Any = {name: inside}
        assert getattr(Sampling(**given), name) == inside
    for outside in (low - max(1, abs(low) / 100), high + max(1, high / 100), math.nan, math.inf):
        with pytest.raises(UsageError, match=f"^{name} is "):
            Sampling(**{name: outside})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"{name} is 'much': it must be a"):
        Sampling(**{name: "much"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [("top_k", 1.5, "a whole number"), ("bans", (-1,), "between 0 and"), ("bans", ("a",), "a whole number"),
     ("logit_bias", {2**31: 1.0}, "between 0 and"), ("logit_bias", {3: math.inf}, "token 3 is inf"),
     ("logit_bias", {3: math.nan}, "token 3 is nan"), ("samplers", ("top_k", "beam"), "'beam': there are penalties"),
     ("dry_sequence_breakers", ("",), "1 to 40 bytes"), ("dry_sequence_breakers", ("é" * 21,), "1 to 40 bytes"),
     ("dry_sequence_breakers", [str(i) for i in range(65)], "has 65 texts: 64"),
     ("dry_sequence_breakers", [f"{i:033}" for i in range(16)], "has 528 bytes: 512")],
)  # fmt: skip
def test_what_is_refused(field, value, problem):
    with pytest.raises(UsageError, match=problem):
        Sampling(**{field: value})


def test_immutable_and_of_one_form():
    given = {7: 1.0, 3: -math.inf}
    sampling = Sampling(logit_bias=given, bans=(9, 3, 9), samplers=("Top-K", "nucleus", "temp", "typ", "minp"))
    given[7] = 99.0
    assert sampling.logit_bias == ((3, -math.inf), (7, 1.0))
    assert sampling.biases == ((3, -math.inf), (7, 1.0), (9, -math.inf))
    assert sampling.samplers == ("top_k", "top_p", "temperature", "typ_p", "min_p")
    assert Sampling(logit_bias=[(7, 0.25), (3, -math.inf), (7, 0.75)], bans=(3, 9)).biases == sampling.biases
    assert hash(sampling) == hash(dataclasses.replace(sampling))
    assert pickle.loads(pickle.dumps(sampling)) == sampling
    with pytest.raises(dataclasses.FrozenInstanceError):
        sampling.top_k = 3  # type: ignore[misc]


def test_options_are_the_fields():
    assert list(typing.get_type_hints(SamplingOptions)) == [field.name for field in dataclasses.fields(Sampling)]


def test_names_of_stages():
    assert stage_names("penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature") == STAGE_NAMES
    assert stage_names("") == ()
    assert len(stage_names(["top_k"] * 64)) == 64


def test_too_many_stages_are_refused():
    """Each runs for every token, on the thread that all answers share."""
    with pytest.raises(UsageError, match="samplers names 65 stages: 64 are the most"):
        stage_names(["top_k"] * 65)


@pytest.mark.parametrize(
    ("field", "value"), [("samplers", ("q" * 10_000,)), ("dry_sequence_breakers", ("q" * 10_000,))]
)
def test_a_long_name_is_not_repeated_as_a_whole(field, value):
    with pytest.raises(UsageError) as error:
        Sampling(**{field: value})
    assert len(str(error.value)) < 300


VALUES = {
    "general.sampling.sequence": "top_k;temp", "general.sampling.top_k": 20, "general.sampling.top_p": 0.75,
    "general.sampling.min_p": 0.125, "general.sampling.xtc_probability": 0.5, "general.sampling.xtc_threshold": 0.25,
    "general.sampling.temp": 0.625, "general.sampling.penalty_last_n": 12, "general.sampling.penalty_repeat": 1.125,
    "general.sampling.mirostat": 2, "general.sampling.mirostat_tau": 3.5, "general.sampling.mirostat_eta": 0.25,
}  # fmt: skip


def metadata(folder, values):
    writer = gguf.GGUFWriter(folder / "m.gguf", "llama")
    for key, value in values.items():
        {str: writer.add_string, int: writer.add_int32, float: writer.add_float32}[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return open_gguf(str(folder / "m.gguf")).metadata


@pytest.mark.parametrize("key", FILE_KEYS)
def test_each_key_of_a_file(tmp_path, key):
    field = FILE_KEYS[key][0]
    want: Any = ("top_k", "temperature") if field == "samplers" else VALUES[key]
    assert defaults_of(metadata(tmp_path, {key: VALUES[key]})) == Sampling(**{field: want})


def test_files_without_keys_and_with_wrong_ones(tmp_path):
    assert defaults_of(metadata(tmp_path, {})) == Sampling()
    with pytest.raises(FormatError, match=r"m\.gguf: general\.sampling\.top_p: top_p is 1\.5: it must lie between"):
        defaults_of(metadata(tmp_path, {"general.sampling.top_p": 1.5}))
    with pytest.raises(FormatError, match=r"general\.sampling\.top_k: is 'many'"):
        defaults_of(metadata(tmp_path, {"general.sampling.top_k": "many"}))
    with pytest.raises(FormatError, match=r"general\.sampling\.sequence: samplers names 'infill'"):
        defaults_of(metadata(tmp_path, {"general.sampling.sequence": "infill;top_k"}))
