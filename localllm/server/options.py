"""How a server behaves: what the command line sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerOptions:
    """Sizes in bytes, times in seconds."""

    keys: tuple[str, ...] = ()
    """API keys; none: nobody is asked for one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which browsers may reach the server, beside addresses of the machine itself."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of pages that may ask ("https://example.org", "*"): CORS is off unless one is named."""
    max_body: int = 32 << 20
    max_depth: int = 64
    """Levels of a JSON body."""
    timeout: float | None = None
    """After so long an answer ends; None: never."""
    body_timeout: float = 30.0
    """A body has so long, and a second more for each 10 kB that came."""
    ping: float = 15.0
    """A stream that has said nothing for so long gets a comment, so that nobody on the way hangs up."""
    log_prompts: bool = False
    slots: bool = True
    metrics: bool = True
