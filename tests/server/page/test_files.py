"""The page's files: how they are served, and what none of them may hold."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import localllm.server
from localllm.server.page import DIALECT

FOLDER = Path(localllm.server.__file__).parent / "page"
FILES = sorted(path.name for path in FOLDER.iterdir())
PATHS = [endpoint.path for endpoint in DIALECT.endpoints]
UNIT = Path(__file__).parent / "unit"


def test_every_file_is_served(serve):
    client = serve().client
    assert sorted(PATHS) == sorted(["/", *(f"/page/{name}" for name in FILES if name != "index.html")])
    for path in PATHS:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.content == (FOLDER / (path.removeprefix("/page/").removeprefix("/") or "index.html")).read_bytes()


@pytest.mark.parametrize("path", PATHS)
def test_headers(serve, path):
    headers = serve().client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-cache"
    assert headers["content-type"].split(";")[0] in ("text/html", "text/css", "text/javascript", "image/svg+xml")


def test_programs_are_not_told_of_the_page(serve):
    assert not set(PATHS) & set(serve().client.get("/openapi.json").json()["paths"])


def test_a_file_that_is_known_is_not_sent_again(serve):
    client = serve().client
    etag = client.get("/").headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = client.get("/", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get("/", headers={"if-none-match": '"other"'}).status_code == 200


def test_the_page_needs_no_key_but_what_it_asks_does(serve):
    client = serve(keys=("secret",)).client
    assert all(client.get(path).status_code == 200 for path in PATHS)
    assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize("path", ["/page/none.js", "/page/", "/page/..%2fpage.py", "/page/../page.py"])
def test_other_files_are_not_there(serve, path):
    answer = serve().client.get(path)
    assert answer.status_code == 404
    assert "error" in answer.json()


@pytest.mark.parametrize("name", FILES)
def test_no_file_makes_html_of_texts_or_names_another_host(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 400
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(|new Function"
    assert not re.search(banned, text)
    code = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)  # comments may cite
    assert set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", code)) <= {"http://www.w3.org"}  # the name space of SVG
    if name == "index.html":
        assert not re.search(r"\son\w+\s*=|\sstyle\s*=|<style|<script(?![^>]*\ssrc=)", text)


def test_modules_that_need_no_browser():
    """The tests of unit/, in Node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    version = tuple(map(int, re.findall(r"\d+", subprocess.check_output([node, "--version"], text=True))))
    if version < (20, 19):
        pytest.skip(f"node {version[0]}.{version[1]} does not see that .js files are modules: 20.19 or newer does")
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", *map(str, sorted(UNIT.glob("*.mjs")))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"pass (\d+)", done.stdout)
    assert passed
    assert int(passed[1]) > 100
