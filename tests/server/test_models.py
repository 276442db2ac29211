"""Models come when they are asked for, go when nobody asks any more, and make room for each other."""

from __future__ import annotations

import asyncio
import threading

import pytest

from localllm.errors import FormatError, NotEnoughMemoryError
from localllm.server.endpoint import ApiError
from localllm.server.library import Library
from localllm.server.models import Models
from tests.generate.fake import FakeModel
from tests.server.fake_engine import FakeEngine


class Shelf:
    """Fake models by name; `loads`: the paths that were loaded, in order."""

    def __init__(self, tmp_path, names="abc", size=100):
        self.files = {}
        for name in names:
            path = tmp_path / f"{name}.gguf"
            path.write_bytes(b"x" * size)
            self.files[name] = str(path)
        self.loads, self.made, self.errors = [], {}, {}
        self.may_load = threading.Event()
        self.may_load.set()

    def load(self, path):
        self.may_load.wait()
        name = path[-6]
        self.loads.append(name)
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        model = FakeModel()
        self.made[name] = (model, FakeEngine(model))
        return self.made[name]

    def models(self, **options):
        return Models(Library(self.files), self.load, **options)

    def is_closed(self, name):
        model, engine = self.made[name]
        return model.closed and engine.closed


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def run(work):
    return asyncio.run(asyncio.wait_for(work, 20))


async def use(models, name, **options):
    async with models.open(name, **options) as served:
        return served


async def gone(models, shelf, name):
    while name in names(models) or not shelf.is_closed(name):
        await asyncio.sleep(0)


def names(models):
    return [loaded.served.name for loaded in models.loaded()]


def test_a_model_is_loaded_once_for_all_who_ask(shelf):
    async def work():
        models = shelf.models()
        served = await asyncio.gather(*(use(models, name) for name in ("a", "A", "a:latest", None)))
        assert shelf.loads == ["a"]
        assert {id(s) for s in served} == {id(served[0])}
        assert served[0].created > 0

    run(work())


def test_who_stops_waiting_does_not_stop_the_loading(shelf):
    async def work():
        models = shelf.models()
        shelf.may_load.clear()
        task = asyncio.ensure_future(use(models, "a"))
        while not models.loading():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        shelf.may_load.set()
        await use(models, "a")
        assert shelf.loads == ["a"]

    run(work())


def test_a_model_goes_after_its_time(shelf):
    async def work():
        models = shelf.models(keep_alive=0.0)
        async with models.open("a"):
            await asyncio.sleep(0.05)
            assert names(models) == ["a"]  # never while it answers
        await gone(models, shelf, "a")

    run(work())


def test_a_call_says_how_long_a_model_stays(shelf):
    async def work():
        models = shelf.models(keep_alive=3600.0)
        await use(models, "a")
        await use(models, "b", keep_alive=-1)
        assert models.loaded()[1].expires == float("inf")
        await use(models, "a", keep_alive=0)
        await gone(models, shelf, "a")
        assert names(models) == ["b"]

    run(work())


def test_a_model_that_is_to_go_while_it_answers_goes_after_that(shelf):
    async def work():
        models = shelf.models()
        async with models.open("a"):
            await models.unload("a")
            assert not shelf.is_closed("a")
        while models.loaded():
            await asyncio.sleep(0.01)
        assert shelf.is_closed("a")
        await models.unload("a")

    run(work())


def test_a_pinned_model_stays(shelf):
    async def work():
        models = shelf.models(keep_alive=0.0, pinned="a")
        await use(models, "a")
        await use(models, "b")
        await gone(models, shelf, "b")
        assert names(models) == ["a"]

    run(work())


def test_the_one_used_least_recently_makes_room(shelf):
    async def work():
        models = shelf.models(n_bytes=250)
        for name in ("a", "b", "a", "c"):
            await use(models, name)
        assert names(models) == ["a", "c"]
        assert shelf.is_closed("b")

    run(work())


def test_models_that_answer_make_no_room(shelf):
    async def work():
        models = shelf.models(n_bytes=150)
        async with models.open("a"):
            with pytest.raises(ApiError) as caught:
                await use(models, "b")
        assert (caught.value.status, caught.value.retry_after) == (503, 5.0)
        await use(models, "b")
        assert names(models) == ["b"]

    run(work())


def test_a_model_larger_than_the_budget_is_loaded_alone(shelf):
    async def work():
        models = shelf.models(n_bytes=10)
        await use(models, "a")
        await use(models, "b")
        assert names(models) == ["b"]

    run(work())


def test_want_of_memory_drops_what_is_idle(shelf):
    async def work():
        models = shelf.models()
        await use(models, "a")
        shelf.errors["b"] = [NotEnoughMemoryError("more")]
        await use(models, "b")
        assert names(models) == ["b"]
        shelf.errors["c"] = [NotEnoughMemoryError("more")] * 2
        with pytest.raises(ApiError) as caught:
            await use(models, "c")
        assert caught.value.status == 503
        assert models.loaded() == []

    run(work())


def test_errors_name_no_path_and_are_logged_but_not_kept(shelf, caplog):
    async def work():
        models = shelf.models()
        shelf.errors["a"] = [FormatError(f"{shelf.files['a']}: cut off")]
        with pytest.raises(ApiError) as caught:
            await use(models, "a")
        assert caught.value.message == "a: cut off"
        assert "a cannot be loaded: a: cut off" in caplog.text
        await use(models, "a")

    run(work())


def test_a_model_whose_engine_has_failed_is_loaded_anew(shelf):
    async def work():
        models = shelf.models()
        await use(models, "a")
        failed = shelf.made["a"][1]
        failed.broken = "MemoryError"
        first, second = await asyncio.gather(use(models, "a"), use(models, "a"))
        assert first is second
        assert failed.closed
        assert not first.engine.closed
        assert shelf.loads == ["a", "a"]

    run(work())


def test_a_file_of_two_names_is_loaded_once(shelf):
    async def work():
        models = Models(Library({"one": shelf.files["a"], "two": shelf.files["a"]}), shelf.load)
        first, second = await use(models, "one"), await use(models, "two")
        assert (first.name, second.name) == ("one", "two")
        assert first.engine is second.engine
        assert shelf.loads == ["a"]
        assert [models.state(name)[0] for name in ("one", "two")] == ["loaded", "loaded"]
        await models.unload("two")
        assert models.state("one") == ("unloaded", None)

    run(work())


def test_names_that_are_unknown(shelf):
    models = shelf.models()
    with pytest.raises(ApiError) as caught:
        models.name("aa")
    assert (caught.value.status, caught.value.param) == (404, "model")
    with pytest.raises(ApiError, match="nothing-like-it is not here; /v1/models lists those that are"):
        models.name("nothing-like-it")
    with pytest.raises(ApiError, match="there is no model"):
        Models(Library({}), shelf.load).name(None)


def test_nothing_begins_while_the_server_ends(shelf):
    async def work():
        models = shelf.models()
        models.draining()
        with pytest.raises(ApiError) as caught:
            await use(models, "a")
        assert caught.value.status == 503

    run(work())
