"""Cases of localllm/gate/files.py and localllm/gate/memory.py."""

import stat

from localllm.gate.files import MAX_PARTS
from tests.gate.cases import Cases, K, P

REGULAR = stat.S_IFREG | 0o644
NOT_REGULAR = {
    stat.S_IFDIR | 0o755: "a directory",
    stat.S_IFIFO | 0o644: "a pipe",
    stat.S_IFSOCK | 0o644: "a socket",
    stat.S_IFCHR | 0o644: "a device",
    stat.S_IFBLK | 0o644: "a device",
}
CASES = {
    "files.regular": Cases(
        [(("m", REGULAR), REGULAR)],
        [(("m", mode), f"m: is {name}, must be a reg") for mode, name in NOT_REGULAR.items()],
    ),
    "files.holds_model": Cases(
        [(("m", None, None), None), (("m", "llama", "model"), None), (("m", ["clip"], 7), None)],
        [
            (("m", "llama", "adapter"), "m: this is a LoRA adapter, not a model"),
            (("m", "clip", None), "m: this is what a model sees or hears with"),
            (("m", None, "mmproj"), "m: this is what a model sees or hears with"),
            (("m", None, "imatrix"), "m: this is an importance matrix"),
            (("m", "controlvector", "model"), "m: this is a control vector"),
        ],
    ),
    "files.unchanged": Cases(
        [(("m", (9, 5), (9, 5)), (9, 5))],
        [
            (("m", (9, 5), (8, 5)), "m: changed while in use (size 9, now 8): load it again"),
            (("m", (9, 5), (9, 6)), "m: changed while in use (size 9, now 9)"),
        ],
    ),
    "files.split_number": Cases(
        [((K, 0, 2), 0), ((K, 2, 2), 2), ((K, MAX_PARTS, MAX_PARTS), MAX_PARTS)],
        [((K, 3, 2), "is 3, must be 0 to 2"), ((K, -1, 2), "is -1, must be 0 to 2")],
    ),
    "files.part_name": Cases(
        [(("m", 3, 3, "e"), 3)],
        [
            (("m", 1, 3, "-00002-of-00003.gguf"), "m: is one of 3 parts of a model: its name must end in -00002-of"),
            (("m", 4, 3, "e"), "is one of 3 parts"),
        ],
    ),
    "files.parts_present": Cases(
        [(([], "m", 3), [])],
        [
            ((["a"], "m", 3), "a: is missing: m is one of 3 parts of a model"),
            ((["a", "b"], "m", 4), "a: is missing, with 1 more: m is one of 4 parts of a model"),
            ((["a", "b", "c"], "m", 4), "a: is missing, with 2 more: m is one of 4 parts of a model"),
        ],
    ),
    "files.by_name": Cases(
        [((K, 1, 1), 1)], [((K, 2, 1), "is 2, must be 1 by its name"), ((K, 0, 1), "is 0, must be 1 by its name")]
    ),
    "files.alike": Cases(
        [((P, 3, 3, "m"), 3), ((P, "llama", "llama", "m"), "llama")],
        [
            ((P, 2, 3, "m"), "is 2, must be 3: as m is"),
            ((P, 4, 3, "m"), "is 4"),
            ((P, "a", "b", "m"), "is 'a', must be 'b': as m is"),
        ],
    ),
    "files.one_part": Cases([((P, None), None)], [((P, "m"), "field: also stands in m"), ((P, ""), "also stands in")]),
    "files.n_tensors": Cases(
        [((P, 1 << 17, 2), 1 << 17), ((P, 9, 2), 9)],
        [((P, (1 << 17) + 1, 2), "its 2 parts hold 131073 tensors, the limit is 131072")],
    ),
    "files.tensors_in_all": Cases(
        [((K, 5, 5), 5)], [((K, 4, 5), "is 4, the parts hold 5 tensors"), ((K, 6, 5), "is 6, the parts hold 5")]
    ),
    "memory.fits": Cases([((10, 10, str), 10), ((0, 10, str), 0)], [((11, 10, lambda: "told"), "told")]),
}
