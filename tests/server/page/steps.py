"""Steps that tests of the page share. The browser imports selenium, these do not."""

from __future__ import annotations

ENTER = "\ue007"


def begin(browser, text):
    """Send a message without waiting for the end of its answer."""
    browser.type(text)
    browser.keys(ENTER)


def ended(browser):
    browser.wait(lambda: browser.all(".assistant") and not browser.all(".assistant.running"))


def go_on(browser):
    browser.server.release()
    ended(browser)


def sent(browser):
    """The messages of the last request."""
    return [(message["role"], message["content"]) for message in browser.server.requests[-1].messages]


def titles(browser):
    return browser.texts("#conversations a")
