"""What mutation testing lists as beyond tests is still in the code, and says why; how statements are changed."""

import ast

from tests.gate.mutation import ROOT, TARGETS, _difference, _meaning, _of_statements, listed


def test_listed_survivors_are_of_lines_that_are_there():
    for (file, was, becomes), why in listed().items():
        text = " ".join(line.strip() for line in (ROOT / file).read_text().splitlines())
        assert file in TARGETS
        assert was in text, was
        assert was != becomes
        assert why, was


SOURCE = '''
def f(n: int) -> int:
    """Checks."""
    if n > 1:
        raise ValueError("é" * n)
    return n
'''


def test_each_raise_and_condition_is_changed():
    changed: dict[str, list[tuple[str, str]]] = {operator: [] for operator in ("raise", "condition")}
    for operator, source in _of_statements(SOURCE):
        ast.parse(source)
        changed[operator].append(_difference(SOURCE, source))
    assert changed["raise"] == [('raise ValueError("é" * n)', "pass")]
    assert changed["condition"] == [("if n > 1:", "if True:"), ("if n > 1:", "if False:")]


def test_annotations_and_docstrings_mean_nothing():
    other = SOURCE.replace("n: int", "n: float").replace("Checks", "Looks")
    assert _meaning(other) == _meaning(SOURCE)
    assert _meaning(SOURCE.replace("n > 1", "n > 2")) != _meaning(SOURCE)
