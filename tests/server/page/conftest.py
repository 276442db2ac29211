from __future__ import annotations

import os

import pytest

from tests.server.page.scripted import Scripted

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


@pytest.fixture(scope="package")
def browser(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium is not installed: pip install 'localllm[browser]'")
    for program in (CHROMIUM, DRIVER):
        if not os.path.exists(program):
            pytest.skip(f"{program} is missing: apt-get install chromium chromium-driver")
    from tests.server.page.browser import Browser

    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser):
    """page(script, **options) -> the browser at a server of that script (`browser.server`).

    Afterwards: nothing else was asked, and neither the policy nor the console complains, but for what holds one of
    `browser.expected`.
    """
    servers = []
    browser.expected = ()
    browser.requested(), browser.complaints()

    def start(script=None, size=(1100, 800), **options):
        servers.append(Scripted(script or {}, **options))
        browser.server = servers[-1]
        browser.resize(*size)
        browser.open(browser.server.url)
        return browser

    yield start
    complaints = [text for text in browser.complaints() if not any(part in text for part in browser.expected)]
    asked = [url for url in browser.requested() if not url.startswith(("blob:", browser.server.url))]
    browser.media()
    browser.driver.get("about:blank")
    for server in servers:
        server.close()
    assert not complaints
    assert not [url for url in asked if url != "about:blank"]
