"""Each check of the table takes what it should and refuses what it should, with one line that names where."""

import pytest

from localllm.gate.check import Place
from localllm.gate.classes import BEYOND, CLASSES
from localllm.gate.table import AREAS, CHECKS
from tests.gate import (
    cases_calls,
    cases_directory,
    cases_files,
    cases_header,
    cases_keys,
    cases_numbers,
    cases_tensors,
    cases_vocabulary,
)

MODULES = (
    cases_calls, cases_directory, cases_files, cases_header, cases_keys, cases_numbers, cases_tensors, cases_vocabulary,
)  # fmt: skip
CASES = {name: cases for module in MODULES for name, cases in module.CASES.items()}


def test_each_check_has_cases_of_both_kinds():
    assert set(CASES) == set(CHECKS)
    for name, cases in CASES.items():
        assert cases.accepts, name
        assert cases.refuses, name


@pytest.mark.parametrize("name", CHECKS)
def test_it_gives_back_what_it_takes(name):
    for arguments, result in CASES[name].accepts:
        got = CHECKS[name].run(*arguments)
        assert got == result
        assert type(got) is type(result)


@pytest.mark.parametrize("name", CHECKS)
def test_it_refuses_by_its_error(name):
    row = CHECKS[name]
    for arguments, words in CASES[name].refuses:
        with pytest.raises(row.error) as caught:
            row.run(*arguments)
        message = str(caught.value)
        assert type(caught.value) is row.error
        assert words in message
        assert "\n" not in message
        if isinstance(arguments[0], Place):
            assert message.startswith(f"{arguments[0].path}: ")
            assert arguments[0].field in message
            assert ("(byte offset" in message) == (arguments[0].offset is not None)


def test_of_a_long_field_only_the_beginning_is_shown():
    assert str(Place("m", "k" * 160).error("is wrong")) == f"m: {'k' * 160}: is wrong"
    assert str(Place("m", "k" * 161).error("is wrong")) == f"m: {'k' * 160}...: is wrong"
    assert str(Place("m", "k" * 65535, 9).error("is wrong")) == f"m: {'k' * 160}...: is wrong (byte offset 9)"


def test_rows_say_what_they_stand_for():
    assert len(CLASSES) == 80
    for row in CHECKS.values():
        assert row.what, row.name
        assert row.limit, row.name
        assert set(row.classes) <= set(CLASSES), row.name


def test_each_class_of_malformed_files_is_named():
    named = {number for row in CHECKS.values() for number in row.classes}
    assert named | set(BEYOND) == set(CLASSES)


def test_each_area_has_checks_in_its_order():
    assert list(dict.fromkeys(name.partition(".")[0] for name in CHECKS)) == list(AREAS)
