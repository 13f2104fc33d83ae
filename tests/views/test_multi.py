"""Several views from a transform of one's own."""

from __future__ import annotations

import pytest
import torch

from tacit.views import MultiViewTransform


def test_every_view_has_its_own_draws_and_the_generator_repeats_them():
    def noise(x, generator):
        return x + torch.randn(x.shape, generator=generator)

    transform = MultiViewTransform(noise, 3)
    first, again = (transform(torch.zeros(4), torch.Generator().manual_seed(1)) for _ in range(2))
    assert len(first) == 3
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], first[1])


def test_without_a_generator_and_bad_input():
    assert MultiViewTransform(lambda x: x + 1, 2)(1) == [2, 2]
    with pytest.raises(ValueError, match="n_views"):
        MultiViewTransform(torch.flip, 0)
