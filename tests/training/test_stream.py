import numpy as np
import torch

from tacit.seeds import seed_of, split_reservoir
from tacit.training.stream import BatchStream


class Numbers:
    def batch(self, index):
        return torch.as_tensor(index)


def take(stream, n):
    iterator = iter(stream)
    return [next(iterator) for _ in range(n)]


def make(**options):
    settings = {"batch_size": 8, "accumulate": 1, "seed": 3} | options
    return BatchStream(Numbers(), np.arange(100), **settings)


def test_an_epoch_visits_every_sample_at_most_once_and_epochs_differ():
    stream = make()
    assert stream.steps_per_epoch == 12
    epochs = [torch.cat([b.rows for b in take(stream, 24)[e * 12 :][:12]]) for e in range(2)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 96
    assert epochs[0].tolist() != epochs[1].tolist()


def test_a_resumed_stream_continues_the_order():
    whole = take(make(), 30)
    rest = make()
    rest.micro_step = 17
    for expected, got in zip(whole[17:], take(rest, 13)):
        assert got.micro_step == expected.micro_step
        assert torch.equal(got.rows, expected.rows)


def test_ranks_and_micro_batches_partition_the_same_global_batch():
    whole = take(make(batch_size=16), 6)
    parts = [take(make(batch_size=8, accumulate=2, rank=r, world=2), 12) for r in range(2)]
    for step, batch in enumerate(whole):
        pieces = [parts[r][2 * step + m].rows for r in range(2) for m in range(2)]
        assert torch.equal(torch.cat(pieces), batch.rows)


def test_reservoir_is_held_out_and_repeatable():
    training, held = split_reservoir(1000, 64, seed=1)
    assert len(held) == 64
    assert len(training) == 936
    assert not set(training) & set(held)
    assert np.array_equal(held, split_reservoir(1000, 64, seed=1)[1])
    assert not np.array_equal(held, split_reservoir(1000, 64, seed=2)[1])
    assert len(split_reservoir(50, 64, seed=1)[1]) == 5


def test_seeds_are_spread():
    seeds = {seed_of(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert all(0 <= s < 2**63 for s in seeds)
