"""The page with a real model behind it, through `localllm serve`."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.server.page.steps import ended, titles

pytest.importorskip("selenium", reason="selenium is not installed: pip install 'localllm[browser]'")
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.keys import Keys

SMOLLM2 = Path.home() / ".cache/localllm-test-models/smollm2-135m-instruct-q4_1.gguf"
QUESTION = "Name three colours, and say a word about each in a list."
pytestmark = [pytest.mark.slow, pytest.mark.real]


@pytest.fixture(scope="module")
def url():
    """Of a server that has its model loaded."""
    if not SMOLLM2.exists():
        pytest.skip(f"{SMOLLM2.name} is not in {SMOLLM2.parent}")
    command = [
        sys.executable,
        "-m",
        "localllm.cli.main",
        "serve",
        str(SMOLLM2),
        "--port",
        "0",
        "-c",
        "1024",
        "-a",
        "smol",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        lines = []
        for line in server.stderr:
            lines.append(line)
            if found := re.search(r"(http://\S+) serves", line):
                break
        else:
            pytest.fail("".join(lines))
        yield found[1] + "/"
        server.terminate()


def answered(url, **fields):
    """What the server says without the page."""
    body = json.dumps({"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, **fields}).encode()
    request = urllib.request.Request(url + "v1/chat/completions", body, {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]


def kept(browser):
    """What the browser keeps of the last answer."""
    return browser.driver.execute_async_script(
        """const done = arguments[0];
        indexedDB.open("localllm").onsuccess = ({target}) => {
          const request = target.result.transaction("bodies").objectStore("bodies").get(location.hash.slice(1));
          request.onsuccess = () => done(request.result.messages.at(-1));
        };"""
    )


def test_a_person_talks_to_a_model(browser, url):
    b = browser
    b.requested(), b.complaints()
    b.resize(1100, 800)
    b.open(url)
    assert b.texts("#model option") == ["smol"]
    b.click("#open-settings")
    for name, value in {"temperature": "0", "max_tokens": "60", "logprobs": "5"}.items():
        b.one(f"#setting-{name}").send_keys(value)
    b.click("#settings .primary")
    b.say(QUESTION)
    answer = kept(b)
    assert answer["content"] == answered(url, max_tokens=60)
    assert "".join(token for token, *_ in answer["logprobs"]) == answer["content"]
    assert re.match(r"[\d.]+ tokens/s · \d+ tokens in [\d.]+ s · prompt: \d+ tokens? read", b.texts(".facts")[0])
    assert re.fullmatch(r"\d+ of 1,024 tokens left", b.texts("#meter span")[0])

    b.click("[data-action=regenerate]")
    ended(b)
    assert kept(b)["content"] == answer["content"]
    if answer["finish"] == "length":
        b.click("[data-action=continue]")
        ended(b)
        assert kept(b)["content"] == answered(url, max_tokens=120)

    b.click("#open-settings")
    b.one("#setting-max_tokens").clear()
    b.click("#settings .primary")
    b.type("Tell me a very long story.")
    b.keys(Keys.ENTER)
    b.wait(lambda: len(b.all(".assistant")) == 2 and b.texts(".assistant .markdown")[1:])
    b.keys(Keys.ESCAPE)
    ended(b)
    assert kept(b)["content"]

    b.chord(Keys.CONTROL, "k")
    b.click("#open-settings")
    b.one("#setting-temperature").send_keys("0")
    b.click("#settings .primary")
    b.say("Say hello.")
    assert len(b.wait(lambda: titles(b))) == 2
    b.wait(lambda: kept(b)["finish"] == "stop")
    shown = b.texts(".message .body")
    b.reload()
    with contextlib.suppress(TimeoutException):
        b.wait(lambda: b.texts(".message .body") == shown)
    assert b.texts(".message .body") == shown
    assert not b.complaints()
    assert not [address for address in b.requested() if not address.startswith((url, "chrome:", "data:", "about:"))]
