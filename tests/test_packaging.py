"""What is installed is what stands in the tree: nothing missing from the wheel, nothing beside localllm/ in it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {"localllm.store.models"}  # models/, for its catalog alone
    for top, name in (("localllm", "localllm"), ("kernels", "localllm.kernels")):
        for path in (ROOT / top).rglob("__init__.py"):
            relative = path.parent.relative_to(ROOT / top)
            if "kernels" not in relative.parts:
                there.add(".".join([name, *relative.parts]))
    assert sorted(there) == listed


def test_every_module_is_in_a_package() -> None:
    for top in ("localllm", "kernels"):
        for path in (ROOT / top).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path}: its folder has no __init__.py"


def test_kernels_is_one_package_under_one_name() -> None:
    assert (ROOT / "localllm/kernels").resolve() == ROOT / "kernels"
    done = subprocess.run([sys.executable, "-c", "import kernels"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "import localllm.kernels" in done.stderr


@pytest.mark.skipif(not os.environ.get("CI_WHEEL"), reason="CI_WHEEL names no wheel; .ci/run builds one")
def test_wheel() -> None:
    import zipfile

    names = zipfile.ZipFile(os.environ["CI_WHEEL"]).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"localllm"}
    sources = {f"localllm/{p.relative_to(ROOT / 'localllm')}" for p in (ROOT / "localllm").rglob("*.py")}
    sources = {name for name in sources if not name.startswith("localllm/kernels/")}
    sources |= {f"localllm/kernels/{p.relative_to(ROOT / 'kernels')}" for p in (ROOT / "kernels").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    others = {n for n in names if not n.endswith(".py") and ".dist-info/" not in n}
    texts = {"localllm/quantize/calibration.txt", "localllm/tools/evaluation.txt"}
    page = {f"localllm/server/page/{path.name}" for path in (ROOT / "localllm/server/page").iterdir()}
    assert others == {"localllm/py.typed", "localllm/store/models/catalog.toml", *texts, *page}
