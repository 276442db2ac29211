"""What answers hold does nothing but show, and the policy would forbid it."""

from __future__ import annotations

import pytest

from localllm.server.endpoint import ApiError
from tests.server.page.scripted import logprob

pytest.importorskip("selenium", reason="selenium is not installed: pip install 'localllm[browser]'")
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow

HOSTILE = """<script>window.pwned = 1</script>
<img src=x onerror="window.pwned = 1"> <svg onload="window.pwned = 1">
<iframe src="javascript:window.pwned = 1"></iframe>

[a](javascript:window.pwned=1) [b](JAVASCRIPT:window.pwned=1) [c](data:text/html,<script>window.pwned=1</script>)
[d](&#106;avascript:window.pwned=1) ![e](https://example.org/tracker.png) <https://example.org/"onmouseover="window.pwned=1>
[f](vbscript:x) [g](//example.org/) [h](https://example.org/" onclick="window.pwned=1)

```html
</code></pre><script>window.pwned = 1</script>
```

`</code><script>window.pwned = 1</script>`

| <script>window.pwned = 1</script> | b |
|---|---|
| <img src=x onerror=window.pwned=1> | <style>*{display:none}</style> |

<style>body { display: none }</style><link rel=stylesheet href=https://example.org/a.css>
<meta http-equiv=refresh content=0>
"""


def test_hostile_texts_do_nothing(page):
    script = {
        "answer": [{"reasoning_content": HOSTILE}, HOSTILE],
        HOSTILE.strip(): ["echo"],
        "lp": [logprob("<img src=x onerror=window.pwned=1>", 0.5, {"<script>window.pwned=1</script>": 0.4})],
        "tool": [{"tool_calls": [{"index": 0, "id": "<b>", "function": {"name": HOSTILE, "arguments": HOSTILE}}]}],
        "error": ["x", ApiError(500, HOSTILE)],
    }
    b = page(script)
    b.say("answer")
    b.click(".thoughts summary")
    b.one("#input").click()
    b.paste(HOSTILE)
    b.keys(Keys.ENTER)
    b.wait(lambda: b.answer() == "echo")
    for text in ("lp", "tool", "error"):
        b.say(text)
        for button in b.all("[data-action=probabilities]"):
            button.click()
    for link in b.all("#messages a"):
        assert link.get_attribute("href").startswith(("https://example.org/", "mailto:"))
        assert "noopener" in link.get_attribute("rel")
        assert not b.js("return arguments[0].getAttributeNames().filter(n => n.startsWith('on'))", link)
    assert (
        b.js(
            "return document.querySelectorAll('#app :is(script, img, iframe, style, link, meta, object, base)').length"
        )
        == 0
    )
    assert b.js("return window.pwned") is None
    assert "<script>window.pwned = 1</script>" in b.texts("#messages")[0]


def test_the_policy_forbids_what_the_page_does_not_do(page):
    b = page()
    b.expected = ("Content Security Policy", "TrustedHTML", "example.org", "Refused", "violates", "TrustedScript")
    b.js(
        """const script = document.createElement("script");
        try { script.textContent = "window.pwned = 1" } catch {}
        document.head.append(script);"""
    )
    b.js("try { document.body.insertAdjacentHTML('beforeend', '<i id=made></i>') } catch {}")
    assert b.js("return fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    assert b.js("return window.pwned") is None
    assert not b.all("#made")
    b.requested()
