"""The machine in words."""

import json

import pytest

from localllm.runtime.processors import Processors
from localllm.tools import machine
from tests.runtime.test_system import write


def test_this_machine():
    found = machine.machine()
    assert found.memory > 1 << 20
    assert all((found.processor, found.target, found.system, found.kernel, found.cores))
    assert json.loads(json.dumps(found.fields()))["processors"]["logical"] == found.processors.logical


@pytest.mark.parametrize(
    ("processors", "text"),
    [
        (Processors(1, 1, 1), "1 core"),
        (Processors(8, 8, 8), "8 cores"),
        (Processors(16, 8, 8), "8 cores with 16 threads"),
        (Processors(20, 14, 6, 2.5), "14 cores with 20 threads, 6 of them fast, quota of 2.5 cores"),
    ],
)
def test_cores(processors, text):
    assert machine.Machine("", processors, "", (), 0, "", "", "").cores == text


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, ""),
        ({"proc/cpuinfo": "flags : fpu sse"}, ""),
        ({"proc/cpuinfo": "model name : x\nflags : fpu hypervisor lahf"}, "virtual machine"),
        ({"proc/cpuinfo": "flags : hypervisor", "sys/class/dmi/id/sys_vendor": "QEMU"}, "virtual machine (QEMU)"),
        ({"sys/hypervisor/type": "xen"}, "virtual machine"),
        ({".dockerenv": ""}, "Docker container"),
        ({"run/.containerenv": ""}, "Podman container"),
        ({"proc/version": "Linux version 6.6.1-microsoft-standard-WSL2", ".dockerenv": ""}, "Docker container, WSL"),
        ({".dockerenv": "", "proc/cpuinfo": "flags : hypervisor"}, "Docker container, virtual machine"),
    ],
)
def test_what_it_runs_in(tmp_path, files, text):
    assert machine.inside(write(tmp_path, files)) == text
