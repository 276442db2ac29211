"""Themes, keys, screen readers, narrow screens, long texts."""

from __future__ import annotations

import json

import pytest

from tests.server.page.scripted import HELD
from tests.server.page.steps import begin, ended, go_on, sent, titles

pytest.importorskip("selenium", reason="selenium is not installed: pip install 'localllm[browser]'")
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


def test_themes(page):
    b = page()
    background = "return getComputedStyle(document.body).backgroundColor"
    light = b.js(background)
    b.media(prefers_color_scheme="dark")
    dark = b.js(background)
    assert light != dark
    b.click("#theme")
    assert b.js(background) == light
    b.click("#theme")
    b.media(prefers_color_scheme="light")
    assert b.js(background) == dark
    b.open(b.server.url)
    assert b.js(background) == dark


def test_keyboard_alone(page):
    b = page({"slow": ["begin", HELD]})
    assert b.focused() == "input"
    b.keys("first", Keys.ENTER)
    b.wait(lambda: b.answer() == "You said: first")
    assert b.focused() == "input"
    b.keys(Keys.ARROW_UP)
    b.wait(lambda: b.focused() == "Edit message")
    b.keys(Keys.ESCAPE)
    assert b.focused() == "Edit"
    b.js("document.activeElement.blur()")
    b.keys(Keys.TAB)
    b.js("document.querySelector('.skip').focus()")
    assert b.js("return getComputedStyle(document.querySelector('.skip')).top") == "12px"
    b.keys(Keys.ENTER)
    b.wait(lambda: b.focused() == "input")
    assert len(b.all(".message")) == 2
    b.keys("two")
    b.chord(Keys.SHIFT, Keys.ENTER)
    b.keys("lines")
    assert b.js("return document.querySelector('#input').value") == "two\nlines"
    b.keys(Keys.ENTER)
    b.wait(lambda: b.texts(".user .text")[-1] == "two\nlines")
    ended(b)
    b.keys("slow", Keys.ENTER)
    b.wait(lambda: b.answer() == "begin")
    b.keys(Keys.ESCAPE)
    ended(b)
    b.chord(Keys.CONTROL, "k")
    assert b.texts("#title") == ["New chat"]
    assert b.focused() == "input"


def test_screen_readers_hear_an_answer_once(page):
    b = page({"hello": ["one ", HELD, "two ", HELD, "three"]})
    b.js(
        """window.heard = [];
        new MutationObserver(() => heard.push(document.querySelector("#status").textContent))
          .observe(document.querySelector("#status"), {childList: true, subtree: true, characterData: true});"""
    )
    begin(b, "hello")
    b.wait(lambda: b.answer() == "one")
    b.server.release()
    b.wait(lambda: b.answer() == "one two")
    go_on(b)
    b.wait(lambda: len(b.js("return heard")) == 2)
    assert b.js("return heard") == ["Waiting for the answer.", "Answer: one two three"]
    assert b.one("#messages").get_attribute("aria-live") == "off"


def test_a_narrow_screen_has_a_drawer(page):
    b = page(size=(360, 700))
    b.say("hello, this is a longer message that does not fit into a line of a phone")
    wide = "| a long head of a column | another long head of a column | and another one |\n|---|---|---|\n| 1 | 2 | 3 |"
    b.server.script["wide"] = [f"{wide}\n\n```\n{'long line ' * 20}\n```\n\n{'x' * 300}"]
    b.say("wide")
    assert b.js("return document.documentElement.scrollWidth") == 360
    assert b.js("return document.querySelector('#thread').scrollWidth <= 360")
    assert not b.one("#new").is_displayed()
    b.click("#menu")
    b.wait(lambda: b.one("#new").is_displayed())
    assert b.focused() == "new"
    b.keys(Keys.ESCAPE)
    b.wait(lambda: not b.one("#new").is_displayed())
    assert b.focused() == "menu"
    b.click("#open-settings")
    assert b.js("return document.querySelector('#settings').scrollWidth <= 360")
    b.keys(Keys.ESCAPE)


def test_a_long_text_is_pasted_sent_and_folded(page):
    text = "\n".join(f"line {index} of a long text that somebody pastes" for index in range(2500))
    b = page({text: ["Read."]})
    b.one("#input").click()
    b.paste(text)
    b.keys(Keys.ENTER)
    b.wait(lambda: b.answer() == "Read.")
    assert sent(b) == [("user", text)]
    assert b.js("return document.querySelector('.text').clientHeight < 400")
    b.click(".user .link")
    assert b.js("return document.querySelector('.text').clientHeight > 10000")


def test_what_is_written_is_there_after_a_reload(page):
    b = page()
    b.type("half a thought")
    b.reload()
    assert b.js("return document.querySelector('#input').value") == "half a thought"
    b.keys(Keys.ENTER)
    ended(b)
    b.reload()
    assert b.js("return document.querySelector('#input').value") == ""


def test_the_page_follows_an_answer_until_the_reader_scrolls_up(page):
    part = "A paragraph of some words.\n\n" * 30
    b = page({"long": [part, HELD, part, HELD, part, HELD, part]})
    at_end = "const t = document.querySelector('#thread'); return t.scrollHeight - t.scrollTop - t.clientHeight < 2"
    count = "return document.querySelectorAll('.assistant .markdown p').length"
    begin(b, "long")
    b.wait(lambda: b.js(count) == 30)
    assert b.js(at_end)
    b.server.release()
    b.wait(lambda: b.js(count) == 60)
    assert b.js(at_end)
    b.js("document.querySelector('#thread').scrollTop -= 300")
    b.wait(lambda: not b.js("return document.querySelector('#jump').hidden"))
    top = b.js("return document.querySelector('#thread').scrollTop")
    b.server.release()
    b.wait(lambda: b.js(count) == 90)
    assert b.js("return document.querySelector('#thread').scrollTop") == top
    b.click("#jump")
    b.wait(lambda: b.js(at_end))
    go_on(b)
    b.wait(lambda: b.js(at_end))


def test_a_long_conversation_shows_its_end_first(page):
    b = page()
    b.say("start")
    messages = [{"role": role, "content": f"{role} {i}"} for i in range(100) for role in ("user", "assistant")]
    file = {
        "format": "localllm conversations",
        "version": 1,
        "conversations": [{"title": "long", "messages": messages}],
    }
    b.js(
        """const transfer = new DataTransfer();
        transfer.items.add(new File([arguments[0]], "long.json"));
        const input = document.querySelector("#import-file");
        input.files = transfer.files;
        input.dispatchEvent(new Event("change"));""",
        json.dumps(file),
    )
    b.wait(lambda: "long" in titles(b))
    b.js("[...document.querySelectorAll('#conversations a')].find(a => a.innerText === 'long').click()")
    b.wait(lambda: b.texts(".earlier") == ["Show 140 earlier messages"])
    assert len(b.all(".message")) == 60
    b.say("and now?")
    assert len(b.server.requests[-1].messages) == 201
    b.click(".earlier")
    assert len(b.all(".message")) == 202
    assert b.texts(".message:first-child .body") == ["user 0"]


def test_text_from_right_to_left(page):
    b = page({"שלום": ["مرحبا بالعالم\n\nHello"]})
    b.say("שלום")
    assert b.js("return getComputedStyle(document.querySelector('.user .text')).direction") == "rtl"
    assert b.js(
        "return [...document.querySelectorAll('.assistant .markdown p')].map(p => getComputedStyle(p).direction)"
    ) == ["rtl", "ltr"]


def test_copying(page):
    b = page({"code": ["Some *text*\n\n```py\nx = 1\ny = 2\n```"]})
    b.allow_clipboard()
    b.say("code")
    b.click("[data-action=copy-code]")
    b.wait(lambda: b.js("return navigator.clipboard.readText()") == "x = 1\ny = 2")
    b.click(".assistant [data-action=copy]")
    b.wait(lambda: b.js("return navigator.clipboard.readText()").startswith("Some *text*"))
