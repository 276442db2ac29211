"""Conversations that the browser keeps."""

from __future__ import annotations

import json

import pytest

from tests.server.page.scripted import HELD, logprob
from tests.server.page.steps import begin, titles

pytest.importorskip("selenium", reason="selenium is not installed: pip install 'localllm[browser]'")
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


def test_conversations_are_found_renamed_and_deleted(page):
    b = page()
    for text in ("apples", "bananas", "cherries"):
        b.chord(Keys.CONTROL, "k")
        b.say(text)
    b.wait(lambda: titles(b) == ["cherries", "bananas", "apples"])
    b.one("#search").send_keys("said BANANAS")
    b.wait(lambda: titles(b) == ["bananas"])
    b.keys(Keys.ESCAPE)
    b.wait(lambda: len(titles(b)) == 3)
    b.click("[aria-label='Rename “cherries”']")
    b.keys("My fruit", Keys.ENTER)
    b.wait(lambda: titles(b)[0] == "My fruit")
    assert b.texts("#title") == ["My fruit"]
    b.say("more")
    assert titles(b)[0] == "My fruit"
    b.click("[aria-label='Delete “My fruit”']")
    b.wait(lambda: titles(b) == ["bananas", "apples"])
    assert b.texts("#title") == ["New chat"]
    b.click(".toast button")
    b.wait(lambda: b.texts("#title") == ["My fruit"])
    assert len(b.all(".message")) == 4
    b.driver.back()
    b.open(b.server.url)
    assert b.wait(lambda: titles(b)) == ["My fruit", "bananas", "apples"]


def test_a_conversation_that_is_deleted_stays_so_though_its_answer_was_arriving(page):
    b = page({"slow": ["begin", HELD]})
    begin(b, "slow")
    b.wait(lambda: b.answer() == "begin")
    b.click("[aria-label='Delete “slow”']")
    b.wait(lambda: b.server.cancelled == 1)
    b.say("other")
    b.reload()
    assert b.wait(lambda: titles(b)) == ["other"]


def test_export_and_import(page, tmp_path):
    b = page({"lp": [{"reasoning_content": "hm"}, logprob("x", 0.5, {"y": 0.2})]})
    b.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    b.say("lp")
    b.click("#open-settings")
    b.one("#setting-seed").send_keys("7")
    b.keys(Keys.ENTER)
    b.wait(lambda: not b.js("return document.querySelector('#settings').open"))
    b.click("#export-all")
    file = tmp_path / "conversations.json"
    b.wait(file.exists)
    [kept] = b.wait(lambda: json.loads(file.read_text() or "{}").get("conversations"))
    assert kept["settings"] == {"seed": 7}
    b.click("[aria-label='Delete “lp”']")
    b.wait(lambda: not titles(b))
    b.one("#import-file").send_keys(str(file))
    b.wait(lambda: titles(b) == ["lp"])
    b.click("#conversations a")
    b.wait(lambda: b.texts(".assistant .body > .markdown") == ["x"])
    b.click("[data-action=probabilities]")
    assert b.texts(".tokens .token") == ["x"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no json", "The file is no JSON"),
        ('{"format": "other"}', "The file holds no conversations of this page"),
        ('{"format": "localllm conversations", "conversations": [{}]}', "Conversation 1 has no messages"),
        (
            '{"format": "localllm conversations", "conversations": [{"messages": [{"role": "root", "content": ""}]}]}',
            "Conversation 1, message 1: the role must be one of user, assistant, tool",
        ),
    ],
)
def test_files_that_cannot_be_imported(page, tmp_path, text, told):
    b = page()
    (tmp_path / "bad.json").write_text(text)
    b.one("#import-file").send_keys(str(tmp_path / "bad.json"))
    assert told in b.wait(lambda: b.texts(".toast"))[0]
    assert not titles(b)


def test_another_tab_sees_what_was_said(page):
    b = page()
    first = b.driver.current_window_handle
    b.driver.switch_to.new_window("tab")
    b.open(b.server.url)
    b.say("from the second")
    second = b.driver.current_window_handle
    b.driver.switch_to.window(first)
    b.wait(lambda: titles(b) == ["from the second"])
    b.driver.switch_to.window(second)
    b.driver.close()
    b.driver.switch_to.window(first)
