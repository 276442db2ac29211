"""README.md and docs/ say what the code says: its tables are generated, its links lead somewhere, its Python runs."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
}
REFERENCE = PAGES["docs/reference.md"]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "kernels/README.md", ROOT / "models/README.md"]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_generated_parts(generate):
    for name, parts in generate.PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert generate.generated(text, parts) == text, f"{name} is out of date: python docs/generate.py"


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_the_readme_counts_what_there_is():
    from localllm.kernels.formats.table import FORMATS
    from localllm.model.spec import architectures

    n_formats = len({fmt.name for fmt in FORMATS.values() if fmt.supported})
    assert f"[{n_formats} formats, {len(architectures())} architectures," in README


def test_each_format_of_calls_and_thinking_says_whose_it_is(generate):
    for lines in (generate.calls().splitlines()[2:], generate.thinking().splitlines()[2:]):
        assert lines
        for line in lines:
            assert line.split("|")[1].strip(), line


def test_layout_names_each_file_once(generate):
    layout = generate.layout().splitlines()[1:-1]
    files = [path for path in generate.source_files() if path.name != "__init__.py"]
    assert [line.split()[0] for line in layout if not line.split()[0].endswith("/")] == [path.name for path in files]
    for line in layout:
        assert len(line.split(maxsplit=1)) == 2, f"{line.strip()}: its file has no docstring"


def test_a_part_without_a_place(generate):
    with pytest.raises(ValueError, match="<!-- commands -->"):
        generate.generated("# localllm\n", generate.PAGES["README.md"])


def test_the_two_commands():
    first = re.search(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert first is not None
    install, test = first[1].splitlines()
    assert install == "pip install . && localllm chat"
    assert test == "pip install -e '.[dev]' && pytest -q -n 2 --dist worksteal"


def test_every_variable_is_named():
    named = set(re.findall(r"LOCALLLM_[A-Z_]+", REFERENCE))
    for top in ("localllm", "kernels"):
        for path in (ROOT / top).rglob("*.py"):
            for name in re.findall(r"environ[^\n]{0,6}\"(LOCALLLM_[A-Z_]+)\"", path.read_text(encoding="utf-8")):
                assert name in named, f"{path}: docs/reference.md does not name {name}"


def test_every_target_is_named():
    from localllm.kernels.simd.targets import TARGETS

    for name in TARGETS:
        assert f"| `{name}` |" in REFERENCE


@pytest.mark.parametrize("name", PAGES)
def test_command_lines_exist(name):
    """Each `localllm VERB --options` shown names a verb and options that there are."""
    from click import Context

    from localllm.cli.main import VERBS, cli

    shown = [line for b in blocks("sh", PAGES[name]) for line in b.splitlines()]
    shown += [line for b in blocks("console", PAGES[name]) for line in b.splitlines() if line.startswith("$ ")]
    lines = [found for line in shown for found in re.findall(r"(?:^|\$ |\| |&& )localllm (.+)", line)]
    for line in lines:
        words = shlex.split(line, comments=True)
        words = words[: words.index("|")] if "|" in words else words
        assert words[0] in VERBS, line
        command = cli.get_command(Context(cli), words[0])
        assert command is not None
        known = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
        used = {word for word in words[1:] if re.fullmatch(r"--?[a-z][a-z-]*", word)}
        assert used <= known, line


def test_python_examples_compile():
    for name, text in PAGES.items():
        for block in blocks("python", text):
            compile(block, name, "exec")


def test_requests_exist():
    """Each curl shown asks a path that there is, and what it sends is what the path takes."""
    import msgspec

    from localllm.server.dialects import DIALECTS

    known = {endpoint.path: endpoint.body for dialect in DIALECTS for endpoint in dialect.endpoints}
    commands = [
        found
        for text in PAGES.values()
        for block in blocks("sh", text)
        for found in re.split(r"^(?=curl )", block, flags=re.MULTILINE)[1:]
    ]
    assert len(commands) > 10
    for command in commands:
        words = shlex.split(command, comments=True)
        body = known[words[1].removeprefix("http://127.0.0.1:8080")]
        if "-d" in words:
            assert body is not None
            sent = words[words.index("-d") + 1]
            msgspec.json.decode(sent, type=body)
            assert set(msgspec.json.decode(sent)) <= set(body.__struct_fields__), command


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path}: {target}"


def test_cells_of_tables(generate):
    assert generate.table(("`a|b`",), [("a|b <s>",), ("`a_b`",)]).splitlines() == [
        "| <code>a&#124;b</code> |",
        "| --- |",
        "| a\\|b &lt;s> |",
        "| `a_b` |",
    ]
