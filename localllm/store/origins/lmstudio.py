"""LM Studio: models/PUBLISHER/MODEL/FILE.gguf in its home, which ~/.lmstudio-home-pointer names.

Layout: https://lmstudio.ai/docs/app/advanced/import-model. Of another folder for models, which people choose in the
program, settings.json of its home tells ("downloadsFolder").
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from localllm.store.filenames import Note, stem, whole_models
from localllm.store.origins.files import Parts, model_files, named, open_file, read_json, stored
from localllm.store.origins.origin import Origin
from localllm.store.stored import StoredModel

_POINTER = ".lmstudio-home-pointer"
_HOMES = (".lmstudio", ".cache/lm-studio")
"""Below the user's folder; the second one until version 0.3.6."""
_MAX_PATH = 4096


def _homes() -> list[Path]:
    user = Path.home()
    homes = [user / name for name in _HOMES]
    with contextlib.suppress(OSError, UnicodeDecodeError), open_file(user / _POINTER) as file:
        pointed = file.read(_MAX_PATH).decode().strip().partition("\n")[0]
        if pointed and "\0" not in pointed:
            homes.insert(0, Path(pointed))
    return list(dict.fromkeys(homes))


def _folders() -> list[Path]:
    return list(dict.fromkeys(_models_of(home) for home in _homes()))


def _models_of(home: Path) -> Path:
    chosen = read_json(home / "settings.json", lambda _: None).get("downloadsFolder")
    return Path(chosen) if isinstance(chosen, str) and chosen and "\0" not in chosen else home / "models"


def _models(note: Note) -> Iterator[StoredModel]:
    for folder in _folders():
        places: dict[Path, list[Parts]] = {}
        for parts in whole_models(model_files(folder, note), note):
            places.setdefault(parts[0].parent, []).append(parts)
        for place, models in places.items():
            for name, parts in _named(place.relative_to(folder).parts, models):
                yield from stored(name, LM_STUDIO.name, parts, note)


def _named(place: tuple[str, ...], models: list[Parts]) -> Iterator[tuple[str, Parts]]:
    """By publisher and model, as on the hub; in other folders by the file's name."""
    if len(place) == 2:
        return named("/".join(place), models)
    return ((stem(parts[0].name), parts) for parts in models)


LM_STUDIO = Origin("lmstudio", "LM Studio", _folders, _models)
