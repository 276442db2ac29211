"""A process of its own that reads a prompt with a cache on disk:

python -m tests.generate.cached MODEL FOLDER SEED N [LIMIT of a file's bytes]

It prints the tokens that it did not have to read, a digest of the logits, and what went wrong. With STOP_IN_WRITE in
the environment it stops in the middle of a write, for who wants to kill it there.
"""

import hashlib
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from localllm.generate import saved_file
from localllm.generate.prompt_cache import PromptCache
from localllm.model.model import LoadedModel


def main(path, folder, seed, n, limit="0"):
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    if "STOP_IN_WRITE" in os.environ:
        saved_file._write_all = stop_in_the_middle
    ids = np.random.default_rng(int(seed)).integers(1, 80, int(n)).tolist()
    with LoadedModel.load(path, n_ctx=2048) as model:
        context = model.context()
        cache = PromptCache(context, 0, Path(folder))
        known = cache.find(ids).restore_into(context, 0)
        for start in range(known, len(ids), 512):
            logits = context.forward(ids[start : start + 512])
        cache.save(context, 0, ids)
        cache.close(60)
        print(known, hashlib.sha256(logits.tobytes()).hexdigest(), cache.status().note)


def stop_in_the_middle(file, piece):
    file.write(piece[: len(piece) // 2])
    print("stopped", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
