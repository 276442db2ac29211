"""All variables are documented in one table: compared with what the sources read."""

from __future__ import annotations

import ast
from pathlib import Path

import click

from localllm.cli.main import VERBS, cli
from localllm.cli.variables import HONOURED, LLAMA_ARGUMENTS, VARIABLES

ROOT = Path(__file__).parents[2]
_INTERNAL = {"COMP_LINE", "COMP_POINT", "_LOCALLLM_COMPLETE", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT",
             "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE", "OPENBLAS_NUM_THREADS", "PYTHONPATH"}  # fmt: skip
"""What a process sets for itself or for a process that it starts."""
_BY_LIBRARIES = {"HTTPS_PROXY"}
"""Which urllib reads."""


def _is_environment(node):
    """os.environ, or a name that stands for it."""
    text = ast.unparse(node)
    return text in ("os.environ", "environ", "env", "environment", "variables")


def _looks_up(function):
    if isinstance(function, ast.Attribute) and function.attr in ("get", "setdefault", "pop"):
        return _is_environment(function.value)
    return ast.unparse(function) == "os.getenv"


def read_variables():
    """Name -> file: constants that are looked up in os.environ."""
    found = {}
    for path in [*(ROOT / "localllm").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if "environ" not in text and "getenv" not in text:
            continue
        tree = ast.parse(text)
        for node in ast.walk(tree):
            name = None
            if isinstance(node, ast.Subscript) and _is_environment(node.value):
                name = node.slice
            elif isinstance(node, ast.Call) and _looks_up(node.func):
                name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.isupper():
                found[name.value] = path
    return found


def option_variables():
    names: set[str] = set()
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command
        for param in command.params:
            names |= {param.envvar} if isinstance(param.envvar, str) else set(param.envvar or ())
    return names


def test_all_that_are_read_are_documented():
    documented = {*VARIABLES, *HONOURED, *option_variables(), *_INTERNAL}
    found = read_variables()
    assert {"LOCALLLM_HOME", "LOCALLLM_TARGET", "HF_ENDPOINT", "OLLAMA_MODELS"} <= set(found)
    assert {name: str(path) for name, path in found.items() if name not in documented} == {}


def test_all_that_are_documented_are_read():
    from localllm.cli.settings import MODEL_VARIABLES

    read = {*read_variables(), *MODEL_VARIABLES}
    for name in {*VARIABLES, *HONOURED} - _BY_LIBRARIES:
        assert name in read, name


def test_llama_cpps_variables_stand_for_options_that_there_are():
    ours = option_variables()
    for name, theirs in LLAMA_ARGUMENTS.items():
        assert {name, theirs} <= ours
    assert not {*VARIABLES, *HONOURED} & set(LLAMA_ARGUMENTS)
