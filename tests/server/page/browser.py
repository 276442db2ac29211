"""Chromium, driven by Selenium: what a person does at the page, and what the page may not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
WAIT = 15


class Browser:
    """One window at one address."""

    def __init__(self, profile: Path, width: int = 1100, height: int = 800) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def command(self, name: str, **params: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, params)

    def media(self, **features: str) -> None:
        """media(prefers_color_scheme="dark")"""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", features=listed)

    def open(self, url: str) -> None:
        self.driver.get(url)
        self._begun()

    def reload(self) -> None:
        self.driver.refresh()
        self._begun()

    def _begun(self) -> None:
        """The page has asked the server what it has."""
        script = """return document.querySelectorAll("#model option").length > 0 || document.querySelector("#key").open
            || !document.querySelector("#server-error").hidden"""
        self.wait(lambda: self.js(script))

    def js(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def wait(self, condition: Any) -> Any:
        return WebDriverWait(self.driver, WAIT, 0.02).until(lambda _: condition())

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> Any:
        """The element, once it is there."""
        return self.wait(lambda: next(iter(self.all(selector)), None))

    def click(self, selector: str) -> None:
        self.one(selector).click()

    def texts(self, selector: str) -> list[str]:
        return list(self.js("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector))

    def keys(self, *keys: str) -> None:
        """To whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def chord(self, modifier: str, key: str) -> None:
        ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def type(self, text: str) -> None:
        """Into the message field, with Shift+Enter for new lines."""
        area = self.one("#input")
        for index, line in enumerate(text.split("\n")):
            if index:
                self.chord(Keys.SHIFT, Keys.ENTER)
            area.send_keys(line)

    def paste(self, text: str) -> None:
        """Into what has the focus, from the clipboard."""
        self.allow_clipboard()
        self.js("return navigator.clipboard.writeText(arguments[0])", text)
        self.chord(Keys.CONTROL, "v")

    def allow_clipboard(self) -> None:
        origin = self.js("return location.origin")
        permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        self.command("Browser.grantPermissions", permissions=permissions, origin=origin)

    def say(self, text: str) -> None:
        """Send a message, and wait until its answer is complete."""
        before = len(self.all(".assistant"))
        self.type(text)
        self.keys(Keys.ENTER)
        self.wait(lambda: len(self.all(".assistant")) > before and not self.all(".assistant.running"))

    def answer(self) -> str:
        """What the last answer shows."""
        return str(self.texts(".assistant .body")[-1])

    def focused(self) -> str:
        """The id or the label of what has the focus."""
        return str(self.js("const e = document.activeElement; return e.id || e.ariaLabel || e.textContent"))

    def requested(self) -> list[str]:
        """Addresses that were asked since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """What the console has of errors and violations of the policy since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def screenshot(self, path: str) -> None:
        self.driver.save_screenshot(path)

    def close(self) -> None:
        self.driver.quit()
