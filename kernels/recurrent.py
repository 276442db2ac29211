"""A unit's part of a state that runs along a sequence: from where it is read, and where it is left (thread.Run). `at`:
where the part lies in slot 0; slots are `stride` bytes apart."""

from .vectors import clear, copy


def opened(run, at, stride, n_bytes):
    """(where the state before the first row is, where it goes): where there is none yet, both are the target, all
    zeros. Else what is written must not be the source."""
    target = at + run.target * stride
    if run.source >= 0:
        return at + run.source * stride, target
    clear(target, n_bytes)
    return target, target


def keep_marked(run, t, now, at, stride, n_bytes):
    """Keep the state, which is at `now` before row t, if it is wanted as it was before that row."""
    if t == run.mark and run.mark_slot >= 0:
        copy(now, n_bytes, at + run.mark_slot * stride)
