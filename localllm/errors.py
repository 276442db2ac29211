"""Errors that people see: one line that says what is wrong, where, and what to do."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells report it: 128 + SIGINT."""


TERMINATED = 143
"""Exit status after SIGTERM: 128 + SIGTERM."""


HUNG_UP = 129
"""Exit status after SIGHUP, when the terminal is gone: 128 + SIGHUP."""


_MOST_SHOWN = 200
"""Characters of a place in a schema."""


class LocalllmError(Exception):
    """Base of every error this package raises on purpose. The command line prints it and exits with `status`."""

    status = 1


class FileError(LocalllmError):
    """A file is missing, unreadable or not of a kind we can open."""


class ChangedError(FileError):
    """The file of a model was changed while the model was used; loaded again, it is the new one."""


class FormatError(LocalllmError):
    """A model file says something impossible: names the file, the field, the value and the limit."""


class NeedMoreError(LocalllmError):
    """Of a file only the beginning is at hand, and that is too short: `n_bytes` of it are needed at least."""

    def __init__(self, path: str, at_hand: int, n_bytes: int) -> None:
        super().__init__(f"{path}: {at_hand} bytes of it are at hand, {n_bytes} or more are needed")
        self.n_bytes = n_bytes


class UnsupportedError(LocalllmError):
    """A valid file needs an architecture, format or feature that is not supported; names those that are."""


class TokenizerError(LocalllmError):
    """The vocabulary of a file cannot be used, or a text cannot be encoded."""


class TemplateError(LocalllmError):
    """A chat template is broken, or tried something that it may not do."""


class TemplateTimeError(TemplateError):
    """A chat template takes too long."""


class ContextFullError(LocalllmError):
    """The prompt or the answer does not fit into the context; names both sizes."""


class QueueFullError(LocalllmError):
    """More requests wait than are let in: try again later."""


class NotEnoughMemoryError(LocalllmError):
    """More memory is needed than is free; raised before anything is allocated."""


class ShortageError(LocalllmError):
    """The system gave no more memory, threads or files, in the middle of some work."""


class NotFiniteError(LocalllmError):
    """Activations or logits are NaN or infinite: names the first operation and tensor where. `sequences`: whose rows of
    the batch they are; it has changed nothing of these, nor of the others."""

    def __init__(self, message: str, sequences: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.sequences = sequences


class TargetError(LocalllmError):
    """A kernel target was requested that this processor cannot run."""


class StoreError(LocalllmError):
    """A model could not be found, fetched or verified."""


class UsageError(LocalllmError):
    """The command line was used wrongly."""

    status = 2


class GrammarError(UsageError):
    """A grammar or a JSON schema that no answer can be held to. `where` is the place in it: a JSON pointer into the
    schema ("/properties/age"), "line 3, column 7", or "" for all of it."""

    def __init__(self, kind: str, where: str, what: str) -> None:
        text = f"{kind}{', ' if where else ''}{where[:_MOST_SHOWN]}: {what}"
        # It quotes what anybody has written.
        super().__init__("".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text))
        self.where, self.what = where, what


class Cancelled(LocalllmError):
    """The work was stopped on request."""

    status = INTERRUPTED
