"""Mutation testing of the gate: its operators, numbers, conditions and errors are changed, one at a time, and the tests
must notice.

    pip install -e '.[dev,mutation]'
    python -m tests.gate.mutation [--only gate/header] [--processes 2]
    python -m tests.gate.mutation --only gguf      # the reader, whose survivors nobody has judged yet

Mutants are those of cosmic-ray's operators; beside them, each `raise` does nothing, and each condition of an `if` is
true or false. A mutant lives in a forked child alone: no file is changed. What survives is printed; the exit status is
0 when all of it stands in equivalent.toml, with the reason why no accepted file changes by it, and nothing else does.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import multiprocessing
import os
import re
import signal
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy  # noqa: F401  (so that children have it)
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LISTED = HERE / "equivalent.toml"
SECONDS = 120
"""For the tests of one mutant; they take one."""
_READER = ("tests/gguf/test_hostile.py", "tests/gguf/test_header.py", "tests/gguf/test_reader.py")
_TABLE = ("tests/gate/test_gate.py", "tests/gate/test_limits.py", "tests/gate/test_keys.py")
TARGETS: dict[str, tuple[str, ...]] = {
    **{
        f"localllm/gate/{path.name}": _TABLE
        for path in sorted((ROOT / "localllm/gate").glob("*.py"))
        if path.name not in ("__init__.py", "classes.py")
    },
    "localllm/gguf/header.py": _READER,
    "localllm/gguf/values.py": _READER,
}
"""Files, and the tests that must notice a change in them."""
_NOT_MEANT = ("core/NoOp", "core/RemoveDecorator", "core/ExceptionReplacer")
"""Operators that change nothing; whose mutants leave a check out of the table, which the tests of its rows see; and one
that replaces what is caught by a class that cannot be imported."""
_OF_IDENTITY = re.compile(r"ReplaceComparisonOperator_(?!Is)\w+_Is(Not)?$")
"""`is` in place of a comparison: whether numbers are one object is a matter of the interpreter."""


@dataclass(frozen=True)
class Mutant:
    """A file with one change. was, becomes: the lines that differ."""

    file: str
    operator: str
    source: str
    was: str
    becomes: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.file, self.was, self.becomes


class _Finder(MetaPathFinder, Loader):
    """Imports one module from other source."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = mutant.file.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, ROOT / self._mutant.file, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._mutant.source, str(ROOT / self._mutant.file), "exec"), module.__dict__)


def mutants_of(file: str) -> Iterator[Mutant]:
    """All of a file, each change once."""
    source = (ROOT / file).read_text()
    plain, seen = _meaning(source), {source}
    for operator, changed in (*_of_cosmic_ray(source), *_of_statements(source)):
        if changed not in seen and _meaning(changed) != plain:
            seen.add(changed)
            yield Mutant(file, operator, changed, *_difference(source, changed))


def _of_cosmic_ray(source: str) -> Iterator[tuple[str, str]]:
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    for name in operator_names():
        if name in _NOT_MEANT or _OF_IDENTITY.search(name) or get_operator(name).arguments():
            continue
        operator = get_operator(name)()
        n = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(get_ast(source)))
        for i in range(n):
            changed = mutate_code(source, operator, i)
            if changed:
                yield name.removeprefix("core/"), changed


def _of_statements(source: str) -> Iterator[tuple[str, str]]:
    """Errors that are not raised, and conditions that are always or never so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise):
            yield "raise", _replaced(source, node, "pass")
        if isinstance(node, ast.If | ast.IfExp):
            yield "condition", _replaced(source, node.test, "True")
            yield "condition", _replaced(source, node.test, "False")


def _replaced(source: str, node: ast.stmt | ast.expr, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)  # columns are bytes
    assert node.end_lineno
    assert node.end_col_offset is not None
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (before + text.encode() + after).decode()


class _Plain(ast.NodeTransformer):
    """Leaves out what does nothing: annotations, which nobody evaluates, and texts that stand alone."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in (*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs):
            argument.annotation = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(0)
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def _meaning(source: str) -> str:
    try:
        return ast.dump(_Plain().visit(ast.parse(source)))
    except SyntaxError:
        return ""


def _difference(source: str, changed: str) -> tuple[str, str]:
    """The lines that differ, in one text each."""
    was, becomes = source.splitlines(), changed.splitlines()
    head = next(i for i, (a, b) in enumerate(zip(was, becomes, strict=False)) if a != b)
    tail = next(i for i, (a, b) in enumerate(zip(was[::-1], becomes[::-1], strict=False)) if a != b)
    tail = min(tail, len(was) - head, len(becomes) - head)
    old, new = (" ".join(map(str.strip, lines[head : len(lines) - tail])) for lines in (was, becomes))
    return old, new


def survives(mutant: Mutant) -> bool:
    """Whether the tests pass with it, in a child."""
    child = os.fork()
    if child == 0:
        _test(mutant)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            assert code != pytest.ExitCode.NO_TESTS_COLLECTED
            return code == pytest.ExitCode.OK
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _test(mutant: Mutant) -> None:
    """Run the tests, and end this process."""
    code = 99
    try:
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.meta_path.insert(0, _Finder(mutant))
        tests = TARGETS[mutant.file]
        if tests == _TABLE:
            for file in tests:
                _run_plain(file)
        code = 0 if tests == _TABLE else pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests])
    finally:
        os._exit(code)


def _run_plain(file: str) -> None:
    """The tests of a file that take no fixtures, without pytest's second."""
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    for name, test in vars(module).items():
        if name.startswith("test_"):
            marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
            for value in marks[0].args[1] if marks else ():
                test(*((value,) if isinstance(marks[0].args[0], str) else value))
            if not marks:
                test()


def listed() -> dict[tuple[str, str, str], str]:
    """Survivors that change no accepted file, with the reason."""
    rows = tomllib.loads(LISTED.read_text())["survivor"]
    return {(row["file"], row["was"], row["becomes"]): row["why"] for row in rows}


def shown(mutant: Mutant) -> str:
    """As it is listed."""
    rows = [f'{name} = """{value}"""' for name, value in zip(("file", "was", "becomes"), mutant.key, strict=True)]
    return "\n".join(["[[survivor]]", *rows, f'why = ""  # {mutant.operator}', ""])


def run(files: Sequence[str], processes: int) -> int:
    """Test all mutants of these files."""
    start, known, left = time.monotonic(), listed(), 0
    # Children then have pytest and its plugins imported, but nothing of the gate.
    pytest.main(["--collect-only", "-qqq", "-p", "no:cacheprovider", "tests/test_init.py"])
    assert "localllm.gate" not in sys.modules
    survivors: list[Mutant] = []
    for file in files:
        mutants = list(mutants_of(file))
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            results = pool.map(survives, mutants, chunksize=1)
        lives = [mutant for mutant, alive in zip(mutants, results, strict=True) if alive]
        new = [mutant for mutant in lives if mutant.key not in known]
        print(f"{file}: {len(mutants)} mutants, {len(lives)} survive, {len(lives) - len(new)} listed", flush=True)
        print(*map(shown, new), sep="\n", end="", flush=True)
        survivors += lives
        left += len(new)
    here = {mutant.key for mutant in survivors}
    stale = [key for key in known if key[0] in files and key not in here]
    for key in stale:
        print(f"listed, and does not survive: {key}")
    print(f"{left} survivors that are not listed, {len(stale)} listed in vain; {time.monotonic() - start:.0f} s")
    return bool(left or stale)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gate.mutation", description=__doc__)
    parser.add_argument("--only", default="localllm/gate/", metavar="TEXT", help="files whose names contain it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    os.chdir(ROOT)
    return run([file for file in TARGETS if chosen.only in file], chosen.processes)


if __name__ == "__main__":
    sys.exit(main())
