"""The pages as a site: each is in its contents, links find their headings, and it builds without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.shell import ROOT

DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "kernels/README.md", ROOT / "models/README.md"]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)")


def test_every_page_is_in_the_contents():
    contents = re.findall(r"^  - .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(contents) == sorted(path.name for path in ROOT.glob("docs/*.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_find_their_headings(path):
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        there = path.parent / target if target else path
        assert anchor in anchors(there), f"{path}: {target}#{anchor}"


@cache
def anchors(path: Path) -> frozenset[str]:
    """Of headings, as Python-Markdown and GitHub make them, and of what mkdocstrings writes of objects."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in re.findall(r"^#+ (.+)$", text, re.M))
    objects = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    return frozenset((*(re.sub(r"\s", "-", heading) for heading in headings), *objects))


def test_what_anchors_are(tmp_path):
    page = tmp_path / "a.md"
    page.write_text("# The `-c` option, and more\n```sh\n# no heading\n```\n## x\n::: a.b\n", encoding="utf-8")
    assert anchors(page) == {"the--c-option-and-more", "x", "a.b"}


def test_the_picture_is_small_and_fetches_nothing():
    picture = (ROOT / "docs/chat.svg").read_text(encoding="utf-8")
    assert len(picture.encode()) < 150_000
    assert not re.search(r"(?:href|src|url)\W{1,3}https?:|@import|<script", picture)
    assert "France" in "".join(ElementTree.fromstring(picture).itertext())


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("zensical"), reason="zensical is not here: pip install -e '.[docs]'")
def test_the_site_builds_without_a_warning(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(tmp_path / "mkdocs.yml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    pages = {path.parent.name for path in (tmp_path / "site").glob("*/index.html")}
    assert {path.stem for path in ROOT.glob("docs/*.md")} - {"index"} <= pages
    assert (tmp_path / "site/chat.svg").is_file()
    reference = (tmp_path / "site/python/index.html").read_text(encoding="utf-8")
    assert 'id="localllm.load"' in reference
