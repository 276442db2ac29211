"""Settings, models, keys, and servers that fail."""

from __future__ import annotations

import pytest

from localllm.server.endpoint import ApiError
from tests.server.page.steps import sent

pytest.importorskip("selenium", reason="selenium is not installed: pip install 'localllm[browser]'")
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


def test_settings_are_sent_and_belong_to_a_conversation(page):
    b = page()
    b.say("before")
    b.click("#open-settings")
    b.wait(lambda: b.one("#setting-temperature").get_attribute("placeholder") == "0.7")
    values = {
        "system": "Be brief.", "temperature": "0.3", "seed": "7", "max_tokens": "50", "stop": "END\nSTOP",
        "logprobs": "3", "schema": '{"type": "object"}',
    }  # fmt: skip
    for name, value in values.items():
        b.js("arguments[0].value = arguments[1]", b.one(f"#setting-{name}"), value)
    b.js("document.querySelector('#setting-thinking').value = 'off'")
    b.click("#settings .primary")
    b.say("after")
    body = b.server.requests[-1]
    assert sent(b)[0] == ("system", "Be brief.")
    assert (body.temperature, body.seed, body.max_tokens, body.stop) == (0.3, 7, 50, ["END", "STOP"])
    assert (body.logprobs, body.top_logprobs, body.top_k) == (True, 3, None)
    assert body.response_format["json_schema"]["schema"] == {"type": "object"}
    assert body.chat_template_kwargs == {"enable_thinking": False}
    b.chord(Keys.CONTROL, "k")
    b.say("fresh")
    assert sent(b) == [("user", "fresh")]
    assert b.server.requests[-1].seed is None


def test_thinking_cannot_be_set_for_a_model_without(page):
    b = page()
    b.click("#open-settings")
    b.wait(lambda: b.one("#setting-top_k").get_attribute("placeholder") == "20")
    assert b.one("#setting-thinking").is_enabled()
    b.server.template = "{{ messages }}"
    b.reload()
    b.click("#open-settings")
    b.wait(lambda: not b.one("#setting-thinking").is_enabled())


def test_settings_out_of_range_are_refused_and_defaults_are_kept(page):
    b = page()
    b.click("#open-settings")
    b.one("#setting-top_p").send_keys("1.5", Keys.ENTER)
    assert b.wait(lambda: b.texts("#settings-error")) == ["Top-p must lie between 0 and 1"]
    assert b.focused() == "setting-top_p"
    b.one("#setting-top_p").clear()
    b.one("#setting-top_p").send_keys("0.5")
    b.click("#settings-default")
    b.click("#settings .primary")
    b.open(b.server.url)
    b.click("#open-settings")
    assert b.wait(lambda: b.one("#setting-top_p").get_attribute("value")) == "0.5"
    b.keys(Keys.ESCAPE)


def test_the_model_is_chosen_and_remembered(page):
    b = page()
    assert b.texts("#model option") == ["tiny", "other"]
    b.js("const s = document.querySelector('#model'); s.value = 'other'; s.dispatchEvent(new Event('change'))")
    b.say("hello")
    assert b.server.requests[-1].model == "other"
    assert not b.texts(".facts")[0].startswith("other")
    b.js("const s = document.querySelector('#model'); s.value = 'tiny'; s.dispatchEvent(new Event('change'))")
    b.wait(lambda: b.texts(".facts")[0].startswith("other · 17.0 tokens/s"))
    b.js("const s = document.querySelector('#model'); s.value = 'other'; s.dispatchEvent(new Event('change'))")
    b.open(b.server.url)
    assert b.js("return document.querySelector('#model').value") == "other"


def test_a_key_is_asked_for_once(page):
    b = page(keys=("secret",))
    b.expected = ("401",)
    b.wait(lambda: b.js("return document.querySelector('#key').open"))
    b.one("#key-input").send_keys("wrong", Keys.ENTER)
    b.wait(lambda: b.texts("#key-error") == ["The server does not take this key."])
    b.one("#key-input").send_keys("secret", Keys.ENTER)
    b.wait(lambda: b.texts("#model option") == ["tiny", "other"])
    b.say("hello")
    assert b.answer() == "You said: hello"
    b.reload()
    assert b.texts("#model option") == ["tiny", "other"]
    assert not b.js("return document.querySelector('#key').open")
    assert "secret" not in b.js("return JSON.stringify({...localStorage})")


def test_a_full_context_is_explained_and_older_messages_can_be_left_out(page):
    full = ApiError(400, "too long", "exceed_context_size_error", details={"n_prompt_tokens": 5000, "n_ctx": 4096})
    b = page()
    b.expected = ("400",)
    for text in ("one", "two", "three"):
        b.say(text)
    b.server.script["four"] = [full]
    b.say("four")
    [told] = b.texts(".message .note.error p")
    assert told.startswith("The conversation has 5,000 tokens, the context holds 4,096. The model reads")
    b.server.script["four"] = ["There."]
    b.click("[data-action=leave-out]")
    b.wait(lambda: b.answer() == "There.")
    assert sent(b)[0] == ("user", "three")
    assert sent(b)[-1] == ("user", "four")
    assert b.texts(".divider") == ["Messages above are not sent to the model."]


def test_errors_are_told_and_can_be_tried_again(page):
    b = page(
        {
            "busy": [ApiError(503, "the model is loading", retry_after=7)],
            "half": ["It beg", ApiError(500, "the disk is on fire")],
        }
    )
    b.expected = ("503",)
    b.say("busy")
    assert b.texts(".message .note.error p") == ["The model is loading. It is busy or still loading. Try again in 7 s."]
    b.say("else")
    assert sent(b) == [("user", "else")]
    assert b.texts(".message .note") == ["The model is loading. The question is not sent again."]
    b.chord(Keys.CONTROL, "k")
    b.say("busy")
    b.server.script["busy"] = ["Now."]
    b.click("[data-action=retry]")
    b.wait(lambda: b.answer() == "Now.")
    b.say("half")
    assert b.texts(".assistant .markdown")[-1] == "It beg"
    assert b.texts(".message .note.error p") == ["The disk is on fire."]


def test_a_server_that_is_gone(page):
    b = page()
    b.expected = ("ERR_CONNECTION_REFUSED",)
    b.server.close()
    b.say("anybody?")
    assert b.texts(".message .note.error p") == ["The server does not answer. Is `localllm serve` still running?"]
