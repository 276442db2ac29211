"""The machine in a few words, as a card of figures or a bug report needs it."""

from __future__ import annotations

import contextlib
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from localllm.kernels.simd.targets import current, host_features
from localllm.runtime.processors import Processors, processor_name, processors
from localllm.runtime.system import ROOT, text_of, total_memory

_CONTAINERS = {".dockerenv": "Docker", "run/.containerenv": "Podman"}
"""Files that are there inside of a container."""


@dataclass(frozen=True)
class Machine:
    """What figures depend on."""

    processor: str
    processors: Processors
    target: str
    """Of the kernels."""
    features: tuple[str, ...]
    """That the target uses because this processor has them."""
    memory: int
    """Bytes."""
    system: str
    kernel: str
    inside: str
    """What the system runs in: "virtual machine", "WSL", "Docker container"; empty where nothing shows."""

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def cores(self) -> str:
        """Like "8 cores with 16 threads, 4 of them fast, quota of 2.5 cores": what this process may use."""
        p = self.processors
        text = f"{p.physical} core{'s' * (p.physical != 1)}"
        text += f" with {p.logical} threads" if p.logical != p.physical else ""
        text += f", {p.fast} of them fast" if p.fast != p.physical else ""
        return text + (f", quota of {p.quota:g} cores" if p.quota else "")


def machine() -> Machine:
    """This one."""
    target = current()
    features = tuple(name for name in target.optional if name in host_features())
    kernel = f"{platform.system()} {platform.release()}"
    return Machine(
        processor_name(), processors(), target.name, features, total_memory(), _system(), kernel, inside()
    )  # fmt: skip


def _system() -> str:
    """The system's name and version for people."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    with contextlib.suppress(OSError):
        return str(platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"))
    return f"{platform.system()} {platform.release()}"


def inside(root: Path = ROOT) -> str:
    """By Linux's files; elsewhere nothing is known."""
    found = [f"{what} container" for name, what in _CONTAINERS.items() if (root / name).exists()]
    if "microsoft" in text_of(root / "proc/version").lower():
        return ", ".join([*found, "WSL"])
    flags = next((line for line in text_of(root / "proc/cpuinfo").splitlines() if line.startswith("flags")), "")
    vendor = text_of(root / "sys/class/dmi/id/sys_vendor")
    if "hypervisor" in flags.split() or text_of(root / "sys/hypervisor/type"):
        found.append(f"virtual machine ({vendor})" if vendor else "virtual machine")
    return ", ".join(found)
