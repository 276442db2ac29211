"""What a pass is made of."""

from __future__ import annotations

import numpy as np
import pytest

from localllm.engine.lane import Job, Lane, Slot
from localllm.engine.parts import MAX_LOGITS_BYTES, pick
from localllm.engine.request import Request
from localllm.generate.params import Sampling
from localllm.generate.sampling import Sampler
from localllm.generate.sequence import AnswerSequence
from tests.generate.fake import FakeStream

N_VOCAB = 64


def lane(n_prompt, n_held, n_more=0, seq=0, **options) -> Lane:
    """Of a prompt 1, 2, ... of n_prompt tokens with n_more that follow, n_held of which were evaluated."""
    ids = list(range(1, n_prompt + 1))
    sequence = AnswerSequence(ids, Sampler(Sampling()), FakeStream(), n_ctx=1000)
    sequence.ids += range(n_prompt + 1, n_prompt + n_more + 1)
    job = Job(Request(ids, **options), lambda _: None, [sequence], number=1, outbox=[])
    slot = Slot(seq, np.zeros(1000, np.int32))
    slot.add(sequence.ids[:n_held])
    job.lanes[0].slot = slot
    return job.lanes[0]


def rows(parts):
    return [(part.slot.seq, part.tokens, part.whole) for part in parts]


def test_each_answer_has_a_row():
    parts = pick([lane(3, 3, 1, seq=0), lane(5, 6, 2, seq=1)], [], 0, N_VOCAB)
    assert rows(parts) == [(0, [4], True), (1, [7], True)]
    assert [part.want for part in parts] == [[True], [True]]
    assert not any(part.reading for part in parts)


def test_tokens_that_constraints_have_set_come_before_prompts():
    parts = pick([lane(3, 3, 4)], [lane(9, 0, seq=1)], 5, N_VOCAB)
    assert rows(parts) == [(0, [4, 5, 6, 7], True), (1, [1, 2], False)]
    parts = pick([lane(3, 3, 4)], [lane(9, 0, seq=1)], 2, N_VOCAB)
    assert rows(parts) == [(0, [4, 5, 6], False)]
    assert parts[0].want == [False] * 3


def test_a_prompt_gives_logits_at_its_end():
    (part,) = pick([], [lane(5, 2)], 2, N_VOCAB)
    assert (part.tokens, part.want, part.whole, part.reading) == ([3, 4], [False, False], False, True)
    (part,) = pick([], [lane(5, 2)], 9, N_VOCAB)
    assert (part.tokens, part.want, part.whole) == ([3, 4, 5], [False, False, True], True)


@pytest.mark.parametrize(
    ("pending", "room", "expected"),
    [
        ([100, 3, 50, 5], 40, [20, 3, 12, 5]),  # half for the first, then the shortest
        ([100, 3, 5], 40, [32, 3, 5]),  # what the others do not need
        ([4, 100], 40, [4, 36]),
        ([100], 40, [40]),
        ([100, 100], 1, [1]),
    ],
)
def test_the_first_prompt_has_half_and_the_shortest_are_done_first(pending, room, expected):
    reading = [lane(n, 0, seq=i) for i, n in enumerate(pending)]
    parts = {part.slot.seq: part.n_rows for part in pick([], reading, room, N_VOCAB)}
    assert [parts[i] for i in sorted(parts)] == expected


def test_a_lane_stops_at_its_marks():
    marked = lane(20, 0)
    for position in (12, 5, 12):
        marked.mark(position)
    (part,) = pick([], [marked], 40, N_VOCAB)
    assert (part.n_rows, part.whole) == (5, False)
    marked.marks.pop()
    assert pick([], [marked], 40, N_VOCAB)[0].n_rows == 12


def test_logits_of_prompts_are_bounded():
    n_vocab = MAX_LOGITS_BYTES // (4 * 10)  # ten rows
    reading = [lane(30, 0, seq=i, prompt_logprobs=1) for i in range(3)] + [lane(30, 0, seq=3)]
    parts = pick([], reading, 400, n_vocab)
    assert sum(sum(part.want) for part in parts if part.lane.tells_prompt) == 10
    assert all(part.want == [True] * part.n_rows for part in parts if part.lane.tells_prompt)
    assert parts[-1].slot.seq == 3
    assert parts[-1].n_rows == 30
