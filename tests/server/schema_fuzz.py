"""Random requests after /openapi.json, by schemathesis, on `localllm serve`: no answer may be a server error.

    python -m tests.server.schema_fuzz MODEL.gguf --schemathesis /venv/bin/schemathesis

schemathesis (pip install schemathesis) has an environment of its own. Exit status 1 where an answer is a 5xx, or has
not the type that the document tells of; what was sent is printed with a curl command. `--path` chooses among the paths.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from tempfile import TemporaryDirectory

CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"
_SERVE = ("-c", "512", "--parallel", "4", "--port", "0", "--timeout", "500ms", "--no-cache", "--drain", "1s")


@contextmanager
def serving(model: str, *options: str):
    """The URL of a server of its own."""
    line = [sys.executable, "-m", "localllm.cli.main", "serve", model, *_SERVE, *options]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for told in process.stderr:
            if found := re.match(r"(http://\S+) serves", told):
                break
        else:
            raise SystemExit("the server has not started")
        try:
            yield found[1], process
        finally:
            process.terminate()
            process.stderr.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="path of a GGUF file, or a name of `localllm list`")
    parser.add_argument("--schemathesis", required=True, help="path of the command")
    parser.add_argument("--path", action="append", default=[], help="only paths that this regular expression matches")
    parser.add_argument("--examples", type=int, default=100, help="requests of each kind and path")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with serving(given.model) as (url, process):
        line = [
            os.path.abspath(given.schemathesis), "run", f"{url}/openapi.json",
            "--checks", CHECKS, "--seed", str(given.seed),
            "--max-examples", str(given.examples), "--phases", "coverage,fuzzing", "--mode", "all", "--workers", "2",
            "--request-timeout", "60", "--continue-on-failure", "--generation-database", "none",
            *(part for path in given.path for part in ("--include-path-regex", path)),
        ]  # fmt: skip
        with TemporaryDirectory() as folder:  # where it leaves what it has found
            status = subprocess.run(line, check=False, cwd=folder).returncode
        if process.poll() is not None:
            print(f"the server has ended with {process.returncode}")
            return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
