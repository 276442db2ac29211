"""States without a model's help: slots and checkpoints, what a stopped pass leaves, what a saved sequence must be."""

import random

import numpy as np
import pytest

from localllm.errors import Cancelled, LocalllmError, UsageError
from localllm.model.model import LoadedModel
from localllm.model.sequences import Sequences
from localllm.model.states.cells import Cells, Plane
from localllm.model.states.recurrent import Recurrent
from localllm.model.states.slots import EVERY, MAX_CHECKPOINTS, MIN_CHECKPOINTS, Slots
from localllm.model.states.state import StateOptions, Track
from localllm.runtime.arrays import SLACK
from tests.recorded import models
from tests.recorded.models import IDS


class Block:
    """A mixer that keeps keys and values (with a window), and a recurrent state."""

    def states(self, options):
        return Cells([Plane(2, 8, tiled=True), Plane(2, 8)], options, window=20), Recurrent(5, 3)

    def record(self, r, x, to, table):
        raise AssertionError("states are used without a plan")


@pytest.fixture
def sequences():
    made = Sequences([Block()], StateOptions(2048, 3, "f32"), 64)
    made.allocate()
    return made


def feed(sequences, *seq_ids):
    """A batch as a model's kernels would run it: the state of a sequence is the number of its tokens."""
    sequences.begin(seq_ids)
    _, recurrent = next(iter(sequences.states.values()))
    for track, count, target, mark, mark_slot in sequences._under_way:
        for slot, n in ((target, count), (mark_slot, mark)):
            if slot >= 0:
                for view in recurrent._views(slot):
                    view[:] = track.past + n
    sequences.commit()


def holds(sequences, seq):
    """How many tokens the recurrent state says that a sequence has."""
    _, recurrent = next(iter(sequences.states.values()))
    slot = sequences.tracks[seq].slot
    return int(recurrent._views(slot)[0][0]) if slot >= 0 else 0


def used(slots):
    return len(slots._users) - len(slots._free)


def test_bytes_are_known_before_anything_is_allocated():
    made = Sequences([Block()], StateOptions(2048, 3, "f32"), 64)
    n_slots = made._slots.n_slots
    made.allocate()
    cells, recurrent = next(iter(made.states.values()))
    assert isinstance(cells, Cells)
    assert isinstance(recurrent, Recurrent)
    arrays = [array for state in (cells, recurrent) for array in state._arrays]
    assert sum(array.nbytes + SLACK for array in arrays) == made.n_bytes
    assert n_slots * recurrent.slot_bytes == made._slots.n_bytes


def test_a_saved_window_is_whole():
    """Cells beyond a ring's length have overwritten what a row sees."""
    cells = Cells([Plane(1, 4)], StateOptions(4096, 1, "f32"), window=100)
    cells.allocate(0)
    limit = cells.n_cells + 900 - 99
    track = Track(0, 900, limit)
    assert cells.rewind(track, 900) == 900
    assert not cells.check(900, saved := cells.save(track))
    track.written += 1
    assert cells.rewind(track, 900) == 0
    assert f"has {limit + 1} tokens written: after {limit} " in cells.check(900, cells.save(track))
    assert cells.check(900, b"\xff" * 8 + saved[8:])


def test_a_context_without_recurrent_states_has_no_slots():
    slots = Slots(3, 0)
    assert (slots.n_slots, slots.n_bytes, slots.take()) == (0, 0, -1)


def test_cells_that_stand_for_several_positions():
    options = StateOptions(1024, 2, "f32")
    cells = Cells([Plane(1, 4), Plane(1, 4, tiled=True)], options, ratio=4)
    cells.allocate(0)
    assert cells.n_cells == 256
    rows, tiles = (array.view(np.float32).reshape(2, -1) for array in cells._arrays)
    rows[0], tiles[0] = np.arange(1024), np.arange(1024)
    track = Track(0, 71, 1023)
    assert cells.rewind(track, 6) == 6
    saved = cells.save(track)
    assert len(saved) == 8 + 4 * (17 * 4 + 2 * 64)
    assert not cells.check(71, saved)
    assert cells.check(72, saved)
    assert not cells.check(71, (1027).to_bytes(8, "little") + saved[8:])
    assert "has 1028 tokens written" in cells.check(71, (1028).to_bytes(8, "little") + saved[8:])
    cells.restore(Track(1, 71, 71), saved)
    assert np.array_equal(rows[1, : 17 * 4], rows[0, : 17 * 4])
    assert np.array_equal(tiles[1, : 2 * 64], tiles[0, : 2 * 64])
    assert not rows[1, 17 * 4 :].any()
    cells.copy(Track(0, 1023, 1023), Track(1))
    assert np.array_equal(rows[1, : 255 * 4], rows[0, : 255 * 4])


@pytest.mark.parametrize(("slot_bytes", "expected"), [(1, MAX_CHECKPOINTS), (1 << 30, MIN_CHECKPOINTS)])
def test_checkpoints_are_bounded_by_number_and_bytes(slot_bytes, expected):
    assert Slots(2, slot_bytes).n_checkpoints == expected


def test_rows_are_sorted_into_runs(sequences):
    feed(sequences, 0, 0)
    assert sequences.begin([2, 0, 2, 1, 0, 2]) == 3
    assert sequences._order[:6].tolist() == [1, 4, 3, 0, 2, 5]
    runs = sequences._runs[:3]
    assert runs[:, :4].tolist() == [[0, 2, 0, 2], [1, 0, 2, 1], [2, 0, 3, 3]]
    assert runs[:, 4].tolist() == [sequences.tracks[0].slot, -1, -1]
    assert len(set(runs[:, 5]) | {sequences.tracks[0].slot}) == 4
    assert runs[:, 6].tolist() == [1, 0, 2]
    assert (runs[:, 7] >= 0).tolist() == [True, False, True]
    sequences.abandon()


def test_a_stopped_pass_changes_nothing(sequences):
    feed(sequences, *[0] * 10)
    before = used(sequences._slots)
    sequences.begin([0] * 5 + [1] * 5)
    sequences.abandon()
    assert [t.past for t in sequences.tracks] == [10, 0, 0]
    assert holds(sequences, 0) == 10
    assert used(sequences._slots) == before


def test_cut_goes_back_to_what_is_there(sequences):
    feed(sequences, *[0] * 30)
    for _ in range(100):
        feed(sequences, 0)
    track = sequences.tracks[0]
    assert [c.position for c in track.checkpoints] == [29, 30, 64, 128]
    assert sequences.cut(track, 129) == 128 == holds(sequences, 0)
    assert sequences.cut(track, 128) == 128
    assert sequences.cut(track, 70) == 64 == holds(sequences, 0)
    assert sequences.cut(track, 29) == 29 == holds(sequences, 0)
    assert sequences.cut(track, 28) == 0 == holds(sequences, 0)
    assert used(sequences._slots) == 0


def test_a_window_that_has_lost_its_cells_starts_over(sequences):
    """Cells alone could go on at 1500 of 2000, and not at 300; the recurrent state has no checkpoint in between."""
    for _ in range(2000 // 50):
        feed(sequences, *[0] * 50)
    track = sequences.tracks[0]
    kept = [c.position for c in track.checkpoints]
    assert len(kept) == MAX_CHECKPOINTS
    at = max(p for p in kept if p <= 1960)
    assert sequences.cut(track, 1960) == at == holds(sequences, 0)
    assert sequences.cut(track, 300) == 0
    assert track.written == 0


def test_checkpoints_thin_out_evenly(sequences):
    for _ in range(20 * MAX_CHECKPOINTS * EVERY):
        feed(sequences, 1)
        sequences.tracks[1].past %= 1 << 20
    kept = [c.position for c in sequences.tracks[1].checkpoints]
    gaps = np.diff([0, *kept])
    assert len(kept) == MAX_CHECKPOINTS
    assert kept[-2:] == [20 * MAX_CHECKPOINTS * EVERY - EVERY, 20 * MAX_CHECKPOINTS * EVERY]
    assert gaps.max() <= 4 * 20 * EVERY


def test_copies_share_slots_and_part_ways(sequences):
    feed(sequences, *[0] * 8)
    sequences.copy(sequences.tracks[0], sequences.tracks[1])
    assert sequences.tracks[0].slot == sequences.tracks[1].slot
    feed(sequences, 1)
    assert (holds(sequences, 0), holds(sequences, 1)) == (8, 9)
    assert sequences.cut(sequences.tracks[1], 7) == 7
    sequences.copy(sequences.tracks[1], sequences.tracks[1])
    sequences.clear()
    assert used(sequences._slots) == 0


def test_no_slot_is_lost_or_used_twice(sequences):
    """Anything in any order: every sequence's state stays its own, and at the end all slots are free."""
    chance = random.Random(3)
    for _ in range(3000):
        seq, other = chance.randrange(3), chance.randrange(3)
        track = sequences.tracks[seq]
        what = chance.randrange(8)
        if what < 4 and track.past < 1500:
            feed(sequences, *[seq] * chance.choice([1, 1, 5, 20]), *[other] * chance.randrange(3))
        elif what == 4:
            sequences.begin([seq] * 3)
            sequences.abandon()
        elif what == 5 and track.past:
            sequences.cut(track, chance.randrange(track.past + 1))
        elif what == 6:
            sequences.copy(track, sequences.tracks[other])
        else:
            sequences.restore(track, track.past, sequences.save(track))
        assert [holds(sequences, s) for s in range(3)] == [t.past for t in sequences.tracks]
        assert used(sequences._slots) <= sequences._slots.n_slots - 6
    sequences.clear()
    assert used(sequences._slots) == 0


def test_a_saved_sequence_is_checked_whole_before_anything_is_written(sequences):
    feed(sequences, *[0] * 9)
    saved = sequences.save(sequences.tracks[0])
    feed(sequences, *[1] * 4)
    target = sequences.tracks[1]
    short = saved[0][:-1]
    lying = (3).to_bytes(8, "little") + saved[0][8:]
    for past, content, words in (
        (9, saved[:1], "has 2 parts, not 1"),
        (9, [short, saved[1]], "part 0 .* has [0-9]+ bytes, must have"),
        (9, [saved[0], saved[1] + b"x"], "part 1 .* bytes, must have 32"),
        (9, [lying, saved[1]], "has 3 tokens written, fewer than the 9"),
        (0, saved, "part 0 of the saved sequence of 0 tokens has"),
        (40, saved, "part 0 .* bytes, must have"),
    ):
        with pytest.raises(UsageError, match=words):
            sequences.restore(target, past, content)
    assert (target.past, holds(sequences, 1)) == (4, 4)
    sequences.restore(target, 9, saved)
    assert (target.past, holds(sequences, 1)) == (9, 9)
    feed(sequences, *[1] * 3)
    assert sequences.cut(target, 9) == 9 == holds(sequences, 1)


# --- with a model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = models.write(tmp_path_factory.mktemp("states") / "m.gguf", models.cases()["lfm2"])
    with LoadedModel.load(path, n_ctx=512, kv_type="f32") as loaded:
        yield loaded


def test_a_cancelled_prompt_can_be_fed_again(model):
    exact = model.logits(IDS)
    context = model.context()
    context.forward(IDS[:10])
    run = model.team.run

    def stopped(plan, cancel, rows=1):
        cancel[0] = 1
        run(plan, cancel, rows)

    model.team.run = stopped
    try:
        with pytest.raises(Cancelled):
            context.forward(IDS[10:30])
    finally:
        del model.team.run
    assert context.n_past() == 10
    logits = context.forward(IDS[10:], want_logits=[True] * (len(IDS) - 10))
    assert np.array_equal(logits, exact[10:])
    context.close()


def test_wrong_calls_are_refused_and_change_nothing(model):
    context = model.context(n_ctx=64)
    context.forward(IDS[:10])
    saved = context.save()
    for call, words in (
        (lambda: context.cut(0, 11), "holds 10 tokens: it cannot be cut at 11"),
        (lambda: context.cut(0, -1), "cannot be cut at -1"),
        (lambda: context.cut(1, 0), "sequence 1 is not one of the 1"),
        (lambda: context.copy(0, 3), "sequence 3 is not one of the 1"),
        (lambda: context.restore(0, 65, saved), "n_past is 65, must be 0 to n_ctx, 64"),
        (lambda: context.restore(0, -1, saved), "n_past is -1"),
        (lambda: context.restore(0, 9, saved), "part [01] of the saved sequence of 9 tokens has"),
    ):
        with pytest.raises(UsageError, match=words):
            call()
    assert context.n_past() == 10
    context.close()
    for call in (context.save, context.checkpoint, lambda: context.restore(0, 10, saved), lambda: context.cut(0, 0)):
        with pytest.raises(LocalllmError, match="this context is closed"):
            call()


def test_tracks_begin_with_zeros():
    assert Track(3) == Track(3, 0, 0, -1, [])
