"""Writes the parts of README.md and of the pages in docs/ that the code knows best: tables of commands, formats,
architectures, paths, options; the layout.

    python docs/generate.py            rewrite them
    python docs/generate.py --check    exit status 1 when they are out of date

A part stands between `<!-- NAME -->` and `<!-- /NAME -->`. What stands between other marks is left alone.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).resolve().parents[1]
_SHORT = 115
"""Characters of a phrase in the layout, from which on it is cut at its colon."""


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text of a table. Code with | in it is HTML: GitHub wants a backslash there, and the site would show it."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = (part.replace("<", "&lt;").replace("|", "\\|") for part in parts[::2])
    parts[1::2] = (f"<code>{_entities(part[1:-1])}</code>" if "|" in part else part for part in parts[1::2])
    return "".join(parts)


def _entities(text: str) -> str:
    return re.sub(r"[^\w\s/.:,-]|_", lambda found: f"&#{ord(found[0])};", text)


def phrase(doc: str | None) -> str:
    """The first sentence of a docstring, without what stands in brackets."""
    text = " ".join((doc or "").split("\n\n")[0].split())
    text = re.split(r"(?<=[^.])\.(?: |$)", re.sub(r" \([^)]*\)", "", text))[0]
    return text.partition(": ")[0] if len(text) > _SHORT else text


def commands() -> str:
    from localllm.cli.main import VERBS

    return table(("Command", "What it does"), ((f"`localllm {verb}`", text) for verb, (_, text) in VERBS.items()))


def chat_commands() -> str:
    from localllm.chat.commands import COMMANDS

    rows = ((f"`{f'{word} {argument}'.strip()}`", text) for word, (argument, text, *_) in COMMANDS.items())
    return table(("In a chat", ""), rows)


def chat_keys() -> str:
    from localllm.chat.commands import KEYS

    return table(("Key", ""), ((f"`{keys}`" if keys == '"""' else keys, text) for keys, text in KEYS.items()))


def options() -> str:
    from localllm.cli.common import GENERATION, OPTIONS

    def rows() -> Iterator[tuple[str, ...]]:
        for name in GENERATION:
            flags, env, settings = OPTIONS[name]
            default = f" [default: {settings['default']}]" if settings.get("show_default") else ""
            variable = f"`LOCALLLM_{name.upper()}`" if env else ""
            yield " ".join(f"`{flag}`" for flag in flags), settings["help"] + default, variable

    return table(("Option", "Meaning", "Variable"), rows())


EXTRAS = {
    "localllm": "chats, answers, measurements, smaller files",
    "server": "`localllm serve`, `localllm batch`",
    "structured": "JSON schemas and grammars; calls of tools that keep to theirs",
    "hub": "models by `org/repo[:QUANT]`",
    "convert": "`localllm quantize` of Hugging Face folders",
    "plots": "`bench --plot FILE`, and pages of `localllm compare` with plots",
    "peer": "`bench --against llamacpp`, and llama.cpp on the card",
    "ray": "several processes or machines, by Ray",
    "docs": "these pages as a site",
    "browser": "tests of the server's page in a browser",
    "dev": "tests, lint, types",
}
"""Extra -> what it is for; the first is what `pip install .` brings."""


def extras() -> str:
    """What docs/installed.py wrote into docs/figures/."""
    found = json.loads((ROOT / "docs/figures/installed.json").read_text(encoding="utf-8"))
    sizes = found["installed"]
    base = sizes["localllm"]

    def rows() -> Iterator[tuple[str, ...]]:
        for name, about in EXTRAS.items():
            packages, mb = sizes[name]["packages"], sizes[name]["mb"]
            if name == "localllm":
                yield "(none)", about, f"{packages}", f"{mb} MB"
            else:
                yield f"`{name}`", about, f"+ {packages - base['packages']}", f"+ {mb - base['mb']} MB"

    where = f"{found['date']}, Python {found['python']}, {found['machine']}: `python docs/installed.py`."
    return f"{table(('Extra', 'What it is for', 'Packages', 'Installed'), rows())}\n\n{where}"


def variables() -> str:
    from localllm.cli.variables import HONOURED, VARIABLES

    return table(("Variable", "Meaning"), ((f"`{name}`", text) for name, text in (VARIABLES | HONOURED).items()))


def llama_arguments() -> str:
    from localllm.cli.variables import LLAMA_ARGUMENTS

    return table(("Ours", "llama.cpp's"), ((f"`{ours}`", f"`{theirs}`") for ours, theirs in LLAMA_ARGUMENTS.items()))


def run_options() -> str:
    from localllm.cli.common import GENERATION
    from localllm.cli.run import command

    return command_options(command, without=GENERATION)


def serve_options() -> str:
    from localllm.cli.serve import command

    return command_options(command)


def command_options(command: click.Command, without: Container[str] = ()) -> str:
    import click

    def rows() -> Iterator[tuple[str, ...]]:
        for option in command.params:
            if isinstance(option, click.Option) and option.help and option.name not in without:
                flags = " ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
                default = f" [default: {option.default}]" if option.show_default else ""
                yield flags, option.help + default, f"`{option.envvar}`" if option.envvar else ""

    return table(("Option", "Meaning", "Variable"), rows())


def paths() -> str:
    from localllm.server.dialects import DIALECTS

    parts = []
    for dialect in DIALECTS:
        known: dict[tuple[str, str], list[str]] = {}
        for endpoint in dialect.endpoints:
            path = re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)
            known.setdefault((endpoint.method, endpoint.summary), []).append(f"`{path}`")
        rows = ((method, " ".join(found), summary) for (method, summary), found in known.items())
        parts.append(f"**{dialect.name}**\n\n{table(('Method', 'Path', 'What it does'), rows)}")
    return "\n\n".join(parts)


def calls() -> str:
    from localllm.generate.dialogue.formats import FORMATS, GENERIC
    from localllm.generate.dialogue.shapes import SHAPES

    def beginnings(name: str) -> str:
        shape = SHAPES[name]
        return " or ".join(f"`{' '.join(text.split())}`" for text in (shape.trigger, *shape.more_triggers))

    rows = ((row.models, row.name, beginnings(row.name)) for row in (*FORMATS, GENERIC))
    return table(("Models", "Format", "A call begins with"), rows)


def thinking() -> str:
    from localllm.generate.dialogue.thinking import THINKING

    rows = ((row.models, f"`{row.opening}`", f"`{row.closing}`") for row in THINKING)
    return table(("Models", "Thinking begins with", "and ends with"), rows)


def samplers() -> str:
    from localllm.cli.sampling_options import SECTIONS
    from localllm.generate.samplers import STAGES

    def rows() -> Iterator[tuple[str, ...]]:
        for options in SECTIONS.values():
            for field, (flags, _, settings) in options.values():
                yield f"`{field}`", settings["help"], " ".join(f"`{flag}`" for flag in flags)

    order = ", ".join(f"`{name}`" for name in STAGES)
    return f"The stages, in this order: {order}.\n\n{table(('Field', 'Meaning', 'On the command line'), rows())}"


def catalog() -> str:
    from localllm.store.catalog import catalog as read

    entries = read().entries.values()
    rows = ((f"`{e.name}`", e.quantization, f"{e.size / 1e6:.0f} MB", e.use, e.licence, e.about) for e in entries)
    return table(("Name", "Format", "Size", "For", "Licence", "About"), rows)


def formats() -> str:
    from localllm.kernels.formats.table import FORMATS

    def rows() -> Iterator[tuple[str, ...]]:
        for fmt in FORMATS.values():
            if fmt.supported:
                about = docstring(ROOT / "kernels/formats" / f"{fmt.module}.py")
                yield fmt.name, f"{fmt.bits_per_weight:g}", phrase(about).removeprefix(f"{fmt.name}: ")

    known = ", ".join(f.name for f in FORMATS.values() if not f.supported)
    note = f"\n\nRecognized and shown by `localllm show`, but not supported: {known}." if known else ""
    return table(("Format", "Bits a weight", "What it is"), rows()) + note


def architectures() -> str:
    from localllm.model.specs import FILES

    by_file: dict[str, list[str]] = {}
    for name in sorted(FILES):
        by_file.setdefault(FILES[name], []).append(f"`{name}`")

    def about(file: str) -> str:
        doc = docstring(ROOT / "localllm/model/specs" / f"{file}.py") or ""
        return re.split(r"\. ", " ".join(doc.split("\n\n")[0].split()))[0].removesuffix(".")

    rows = ((", ".join(found), about(file)) for file, found in by_file.items())
    return table(("`general.architecture`", "What it is"), rows)


def templates() -> str:
    from localllm.text.templates import FALLBACKS, TEMPLATES

    signs: dict[str, str] = {}
    for row in FALLBACKS:
        signs.setdefault(row.name, " ".join(f"`{sign}`" for sign in row.signs))
    rows = ((f"`{name}`", row.models, signs.get(name, "")) for name, row in sorted(TEMPLATES.items()))
    return table(("Name", "Whose it is", "Stands in where the vocabulary has"), rows)


def tokenizers() -> str:
    from localllm.text.pretokenizers import PRETOKENIZERS
    from localllm.text.tokenizer import KINDS

    def about(name: str) -> str:
        return phrase(docstring(ROOT / "localllm/text" / f"{KINDS[name].module}.py")).partition(": ")[0]

    kinds = table(("`tokenizer.ggml.model`", "What it is"), ((f"`{name}`", about(name)) for name in KINDS))
    return f"{kinds}\n\nPre-tokenizers: {', '.join(f'`{name}`' for name in sorted(PRETOKENIZERS))}."


def checks() -> str:
    from localllm.gate.table import CHECKS

    rows = ((f"`{row.name}`", row.what, row.limit, " ".join(map(str, row.classes))) for row in CHECKS.values())
    return table(("Check", "What is checked", "Limit", "Classes"), rows)


def classes() -> str:
    from localllm.gate.classes import BEYOND, CLASSES
    from localllm.gate.table import CHECKS

    def by(number: int) -> str:
        names = dict.fromkeys(
            "the limits of its key" if row.name.startswith("keys.") else f"`{row.name}`"
            for row in CHECKS.values()
            if number in row.classes
        )
        return ", ".join([*names, *([BEYOND[number]] if number in BEYOND else [])])

    rows = ((str(number), text, by(number)) for number, text in CLASSES.items())
    return table(("Class", "A file with", "Refused by"), rows)


def docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def source_files() -> list[Path]:
    """All Python files of the package; kernels/ under its own name, not through its symlink."""
    found = [path.relative_to(ROOT) for top in ("localllm", "kernels") for path in (ROOT / top).rglob("*.py")]
    return sorted({path for path in found if path.parts[:2] != ("localllm", "kernels")}, key=_by_folder)


def _by_folder(path: Path) -> tuple[bool, tuple[str, ...], bool, str]:
    # localllm before kernels; in a folder its own phrase first, then its files, then its folders.
    return path.parts[0] != "localllm", path.parent.parts, path.name != "__init__.py", path.name


def layout() -> str:
    rows = []
    for path in source_files():
        is_folder = path.name == "__init__.py"
        depth = len(path.parts) - (2 if is_folder else 1)
        name = f"{path.parent.name}/" if is_folder else path.name
        rows.append(("  " * depth + name, phrase(docstring(ROOT / path))))
    width = max(len(name) for name, _ in rows)
    return "```\n" + "\n".join(f"{name:<{width}}  {text}" for name, text in rows) + "\n```"


def against(folder: str, pattern: str = "*") -> str:
    """What `localllm bench --against PEER -o json` wrote into a folder of docs/figures/, a file a model and depth."""
    paths = sorted((ROOT / "docs" / "figures" / folder).glob(f"{pattern}.json"))
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rows = [
        (run["model"], t["test"], f"{t['median_ours']:.1f}", f"{t['median_theirs']:.1f}", f"{t['median_ratio']:.2f}")
        for run in runs
        for t in run["tests"]
    ]
    head = ("model", "test", "localllm, t/s", "llama.cpp, t/s", "ratio")
    where = f"{runs[0]['cpu_info']}, {runs[0]['n_threads']} threads; {runs[0]['peer']}; medians of alternating pairs."
    return f"{table(head, rows)}\n\n{where}"


def against_avx512() -> str:
    """Both sides with AVX-512 with VNNI, and far into a context, too."""
    return against("avx512")


def against_avx2() -> str:
    """Both sides with AVX2 and nothing newer."""
    return against("avx2")


def against_at_once() -> str:
    """The README's: AVX-512, at the beginning of a context."""
    return against("avx512", "*-d0")


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"commands": commands, "against": against_at_once},
    "docs/performance.md": {"against-avx512": against_avx512, "against-avx2": against_avx2},
    "docs/chat.md": {"chat-keys": chat_keys, "chat-commands": chat_commands},
    "docs/run.md": {"run-options": run_options},
    "docs/models.md": {"catalog": catalog},
    "docs/supported.md": {
        "architectures": architectures,
        "formats": formats,
        "tokenizers": tokenizers,
        "templates": templates,
    },
    "docs/reference.md": {
        "commands": commands,
        "options": options,
        "extras": extras,
        "variables": variables,
        "llama-arguments": llama_arguments,
    },
    "docs/code.md": {"layout": layout},
    "docs/reliability.md": {"CHECKS": checks, "CLASSES": classes},
    "docs/server.md": {
        "calls": calls,
        "thinking": thinking,
        "samplers": samplers,
        "paths": paths,
        "serve-options": serve_options,
    },
}
"""Page -> mark in it -> what stands there."""


def generated(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """The text with its parts as the code has them now. Raises ValueError for a part that has no place."""
    for name, make in parts.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not mark.search(text):
            raise ValueError(f"it has no <!-- {name} --> ... <!-- /{name} -->")
        body = make()
        text = mark.sub(lambda found, body=body: f"{found[1]}{body}\n{found[2]}", text)
    return text


def main() -> int:
    status = 0
    for name, parts in PAGES.items():
        path = ROOT / name
        old = path.read_text(encoding="utf-8")
        new = generated(old, parts)
        if new != old and "--check" in sys.argv[1:]:
            print(f"{name} is out of date: python docs/generate.py", file=sys.stderr)
            status = 1
        elif new != old:
            path.write_text(new, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
