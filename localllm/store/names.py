"""What a MODEL can be: a path, a catalog name, a repository of a hub, an address, a name of another program's model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from localllm.store.hub_address import HubAddress, address, is_address, short_name

Kind = Literal["path", "catalog", "hub", "url", "name"]


@dataclass(frozen=True)
class ModelName:
    """A MODEL as it was written (`text`), and what it means; `hub` is set for the kind "hub"."""

    kind: Kind
    text: str
    hub: HubAddress | None = None

    @property
    def label(self) -> str:
        """The shortest name that means the same: ORG/REPO:QUANT for a repository."""
        return self.hub.label if self.hub else self.text


def parse(text: str) -> ModelName:
    """What a MODEL means. Looks at the disk (a file goes before a name) and at the catalog, never at the network.

    `org/repo` is a repository of the hub unless there is such a path. Raises StoreError for an address that cannot be
    one of a model.
    """
    if os.path.isfile(text):
        return ModelName("path", text)
    if is_address(text):
        hub = address(text)
        return ModelName("hub" if hub else "url", text, hub)
    from localllm.store.catalog import find_entry

    if find_entry(text) is not None:
        return ModelName("catalog", text)
    if os.path.exists(text):
        return ModelName("path", text)
    hub = short_name(text)
    if hub is not None:
        return ModelName("hub", text, hub)
    return ModelName("path" if is_path(text) else "name", text)


def is_path(text: str) -> bool:
    """Whether a text has the form of a path, or of the name of a GGUF file."""
    separated = os.sep in text or (os.altsep is not None and os.altsep in text)
    return separated or bool(os.path.splitdrive(text)[0]) or text.lower().endswith(".gguf")
