"""No limit of the gate changes by a slip."""

from importlib import import_module

from localllm.gate.keys import KEYS
from localllm.gate.table import CHECKS
from tests.gate import limits


def test_limits_of_keys():
    assert {key: (of.low, of.high, of.reals, of.classes) for key, of in KEYS.items()} == limits.KEYS


def test_constants():
    for name, value in limits.CONSTANTS.items():
        area, _, constant = name.partition(".")
        assert getattr(import_module(f"localllm.gate.{area}"), constant) == value, name


def test_classes():
    others = {name: row.classes for name, row in CHECKS.items() if not name.startswith("keys.")}
    assert others == limits.CLASSES
