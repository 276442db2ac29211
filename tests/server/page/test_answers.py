"""Answers in a real browser: as they arrive, stopped, continued, written anew; thinking, tools, probabilities."""

from __future__ import annotations

import json
import re

import pytest

from tests.server.page.scripted import HELD, logprob
from tests.server.page.steps import begin, ended, go_on, sent

pytest.importorskip("selenium", reason="selenium is not installed: pip install 'localllm[browser]'")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


def test_an_answer_streams_and_is_there_after_a_reload(page):
    b = page({"hello": [*"Hello ", HELD, "**wor", HELD, "ld**!"]})
    begin(b, "hello")
    b.wait(lambda: b.answer() == "Hello")
    b.wait(lambda: re.fullmatch(r"about [\d,.]+ tokens/s", b.texts(".facts")[0]))
    assert b.one("#send").get_attribute("aria-label") == "Stop (Esc)"
    b.server.release()
    b.wait(lambda: b.texts(".assistant strong") == ["wor"])
    assert b.answer() == "Hello wor"
    go_on(b)
    assert b.answer() == "Hello world!"
    assert "17.0 tokens/s · 34 tokens in 2.0 s · prompt: 200 tokens read at 400/s, 1,000 known before" in b.texts(
        ".facts"
    )
    assert b.texts("#meter span") == ["2,862 of 4,096 tokens left"]
    b.reload()
    assert b.wait(lambda: b.texts(".message .body")) == ["hello", "Hello world!"]
    assert b.texts("#conversations a") == ["hello"]
    assert b.texts("#title") == ["hello"]


def test_stopping_keeps_what_came_and_it_can_go_on(page):
    b = page({"go": ["It is *a", HELD], "It is *a": [" long* story."]})
    begin(b, "go")
    b.wait(lambda: b.answer() == "It is a")
    b.keys(Keys.ESCAPE)
    ended(b)
    assert b.texts(".message .note") == ["Stopped."]
    b.wait(lambda: b.server.cancelled == 1)
    b.reload()
    b.click("[data-action=continue]")
    b.wait(lambda: b.answer() == "It is a long story.")
    assert sent(b) == [("user", "go"), ("assistant", "It is *a")]
    assert b.server.requests[-1].continue_final_message is True
    ended(b)
    assert len(b.all(".message")) == 2
    assert not b.texts(".message .note")


def test_editing_a_message_replaces_what_follows(page):
    b = page()
    b.say("one")
    b.say("two")
    b.click(".user [data-action=edit]")
    assert "replaces the 3 messages below" in b.texts(".edit .hint")[0]
    b.keys(Keys.END, " more", Keys.ENTER)
    b.wait(lambda: len(b.server.requests) == 3)
    ended(b)
    assert sent(b) == [("user", "one more")]
    assert b.texts(".message .body") == ["one more", "You said: one more"]


def test_answering_anew(page):
    b = page()
    b.say("one")
    b.server.script["one"] = ["Another answer"]
    b.click("[data-action=regenerate]")
    b.wait(lambda: b.texts(".assistant .body") == ["Another answer"])
    assert sent(b) == [("user", "one")]


def test_partial_markdown_does_not_flicker(page):
    """The marks of what is not closed yet are never seen, and what stands already stays the same element."""
    parts = (
        "# Head",
        "- one **two** `three`\n- [link](https://a.org/)",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "```py\nx\n```",
    )
    text = "\n\n".join(parts)
    b = page({"md": [part for letter in text for part in (letter, HELD)]})
    begin(b, "md")
    b.server.wait_held()
    seen = set()
    for _ in text:
        b.js("await new Promise(requestAnimationFrame)")
        seen.update(b.texts(".assistant .body"))
        b.server.release()
        b.server.wait_held()
    ended(b)
    shown = "".join(seen)
    for mark in ("#", "**", "`", "](", "|", "- "):
        assert mark not in shown, mark
    assert b.texts("article h3, article li, article td, article pre") == [
        "Head",
        "one two three",
        "link",
        "1",
        "2",
        "x",
    ]


def test_only_the_last_message_is_drawn_while_an_answer_arrives(page):
    b = page({"hello": ["one\n\n", HELD, "two", HELD, " three"]})
    b.say("first")
    begin(b, "hello")
    b.wait(lambda: b.answer() == "one")
    b.js(
        """window.changes = new Set();
        const changed = (node) => changes.add((node.closest ? node : node.parentNode).closest(".message"));
        new MutationObserver((records) => records.forEach(({target}) => changed(target))).observe(
          document.querySelector("#messages"), {subtree: true, childList: true, characterData: true, attributes: true});
        window.first = document.querySelector(".assistant:last-child p");"""
    )
    b.server.release()
    b.wait(lambda: "two" in b.answer())
    assert b.js("return changes.size === 1 && changes.has(document.querySelector('.message:last-child'))")
    assert b.js("return first.isConnected")
    go_on(b)


def test_an_answer_goes_on_while_another_conversation_is_shown(page):
    b = page({"slow": ["begin", HELD, " end"]})
    begin(b, "slow")
    b.wait(lambda: b.answer() == "begin")
    b.chord(Keys.CONTROL, "k")
    b.say("other")
    assert b.answer() == "You said: other"
    b.server.release()
    b.wait(lambda: not b.all("#conversations .running"))
    b.js("[...document.querySelectorAll('#conversations a')].find(a => a.innerText === 'slow').click()")
    b.wait(lambda: b.texts("#title") == ["slow"])
    assert b.answer() == "begin end"


def test_a_page_that_is_closed_keeps_what_came(page):
    b = page({"slow": ["so far", HELD]})
    begin(b, "slow")
    b.wait(lambda: b.answer() == "so far")
    b.reload()
    b.wait(lambda: b.texts(".assistant .markdown") == ["so far"])
    assert b.texts(".message .note") == ["The page was closed while this answer arrived."]


def test_thinking_is_apart(page):
    b = page({"why": [{"reasoning_content": "Hm, **let** me see."}, HELD, "Because."]})
    begin(b, "why")
    b.wait(lambda: "Thinking" in "".join(b.texts(".thoughts summary")))
    go_on(b)
    assert b.texts(".assistant .body > .markdown") == ["Because."]
    b.click(".thoughts summary")
    b.wait(lambda: b.texts(".thoughts strong") == ["let"])
    b.say("next")
    assert b.server.requests[-1].messages[1]["reasoning_content"] == "Hm, **let** me see."


def test_reading_of_a_long_prompt_is_told(page):
    progress = {"total": 8000, "processed": 2048, "cache": 1024, "time_ms": 900}
    b = page({"long": [("chunk", {"prompt_progress": progress}), HELD, "read"]})
    begin(b, "long")
    b.wait(lambda: b.texts(".waiting") == ["Reading 2,048 of 8,000 tokens"])
    assert b.js("return document.querySelector('.waiting progress').value") == 2048
    go_on(b)
    assert not b.all(".waiting")


def test_calls_of_tools_and_their_results(page):
    calls = [
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ': "Paris"}'}}]},
    ]
    b = page({"look": [*calls, ("finish", "tool_calls")], "rain": ["It rains."]})
    b.say("look")
    assert b.texts(".call") == ["weather"]
    assert json.loads(b.texts(".calls pre")[0]) == {"city": "Paris"}
    b.one(".calls textarea").send_keys("rain")
    b.click(".calls .primary")
    b.wait(lambda: b.answer() == "It rains.")
    call, result = b.server.requests[-1].messages[-2:]
    assert call["tool_calls"][0] == {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
    }
    assert result == {"role": "tool", "content": "rain", "tool_call_id": "c1"}


def test_token_probabilities(page):
    steps = [logprob("The", 0.95, {" A": 0.03}), logprob(" capital", 0.05, {" city": 0.6})]
    b = page({"lp": steps})
    b.say("lp")
    b.click("[data-action=probabilities]")
    assert b.texts(".tokens .token") == ["The", " capital"]
    assert [e.get_attribute("class") for e in b.all(".tokens .token")] == ["token p0", "token p5"]
    ActionChains(b.driver).move_to_element(b.all(".tokens .token")[1]).perform()
    assert b.texts(".alternatives th") == ["␣capital", "␣city"]
    assert b.texts(".alternatives td:last-child") == ["5.0 %", "60 %"]
    b.js("document.querySelector('.tokens .token').focus()")
    assert b.texts(".alternatives th") == ["The", "␣A"]
    b.keys(Keys.ARROW_RIGHT)
    assert b.texts(".alternatives th")[0] == "␣capital"
    b.click("[data-action=probabilities]")
    assert b.answer() == "The capital"
