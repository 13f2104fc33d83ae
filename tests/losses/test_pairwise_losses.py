"""Every loss over all pairs: in tiles it is the plain one, and never holds the pairwise matrix."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from tacit import losses
from tacit.losses import _tiles, tiled

ROWS, DIM, QUEUE = 24, 4, 40
TILE = 4 * _tiles.LIVE * 16 * 8  # bytes: 128 elements of float32, 64 of float64

PAIR = {
    "nt_xent": losses.nt_xent_loss,
    "nt_xent, other view": partial(losses.nt_xent, temperature=0.3, negatives="cross"),
    "dcl": losses.dcl_loss,
    "dcl, product": partial(losses.dcl_loss, negatives="product"),
    "dclw": losses.dclw_loss,
    "dhel": losses.dhel_loss,
    "uniform": lambda a, b: losses.uniform_loss(a) + losses.uniform_loss(b, t=30.0),
    "nnclr": losses.nnclr_loss,
    "nnclr_dcl": losses.nnclr_dcl_loss,
    "moco": lambda a, b: losses.moco_loss(a, b, queue(a)),
    "moco_dcl": lambda a, b: losses.moco_dcl_loss(a, b, queue(a)),
    "moco_v3": losses.moco_v3_loss,
    **{
        f"kcl, {kernel}": partial(losses.kcl_loss, kernel=kernel, t=t)
        for kernel, t in (("gaussian", 2.0), ("imq", 0.7), ("log", 2.0), ("riesz", 1.0))
    },
}


def queue(like):
    g = torch.Generator().manual_seed(2)
    rows = torch.randn(QUEUE, DIM, generator=g, dtype=torch.float64).to(like.dtype)
    return normalize(rows, dim=1).T


def queue_cacr(z, **options):
    z = normalize(z, dim=2)
    return losses.cacr_queue_loss(z, z, queue(z), return_weights=False, **options).loss


def cacr(z, **options):
    return losses.cacr_loss(normalize(z, dim=2), return_weights=False, **options).loss


VIEWS = {
    "multi-positive, inside": losses.multi_positive_nt_xent_loss,
    "multi-positive, outside": partial(losses.multi_positive_nt_xent_loss, positives="outside"),
    "supervised": lambda z: losses.multi_positive_nt_xent_loss(
        z.flatten(0, 1), torch.arange(len(z) * ROWS) % 5, positives="outside"
    ),
    "mv_infonce": losses.mv_infonce_loss,
    "mv_infonce, paper": partial(losses.mv_infonce_loss, variant="paper"),
    "mv_dhel": losses.mv_dhel_loss,
    "mv_dhel, paper": partial(losses.mv_dhel_loss, variant="paper"),
    "cl1": losses.cl1_loss,
    "cl2": losses.cl2_loss,
    "pvc": losses.pvc_loss,
    "pvc, arithmetic": partial(losses.pvc_loss, method="arithmetic"),
    "cacr": cacr,
    "cacr, detached": partial(cacr, detach_weights=True, symmetric=True),
    "cacr, rbf": partial(cacr, cost="rbf"),
    "cacr_queue": queue_cacr,
    "cacr_moco_v3": lambda z: losses.cacr_moco_v3_loss(z[1:], z[0]),
    "cacr_moco_v3, euclidean": lambda z: losses.cacr_moco_v3_loss(z[1:], z[0], form="euclidean"),
}
CASES = [
    *(pytest.param(lambda z, f=f: f(z[0], z[1]), 2, id=name) for name, f in PAIR.items()),
    *(pytest.param(f, 3, id=name) for name, f in VIEWS.items()),
]


def make(views, dtype):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(views, ROWS, DIM, generator=g, dtype=torch.float64)
    return z.to(dtype).requires_grad_()


@pytest.fixture
def tiny_tiles(monkeypatch):
    monkeypatch.setattr(tiled, "_CPU_DENSE", 0)
    monkeypatch.setattr(_tiles, "_CPU_TILE", TILE)


@pytest.fixture
def one_tile(monkeypatch):
    monkeypatch.setattr(tiled, "_CPU_DENSE", 2**30)
    monkeypatch.setattr(_tiles, "_CPU_TILE", 2**30)


def value_and_gradient(loss, z):
    value = loss(z)
    return value.detach(), torch.autograd.grad(value, z)[0]


@pytest.mark.parametrize(
    ("dtype", "value_tol", "grad_tol"),
    [(torch.float32, 1e-6, 1e-5), (torch.float64, 1e-10, 1e-10)],
)
@pytest.mark.parametrize(("loss", "views"), CASES)
def test_tiles_are_exact(loss, views, dtype, value_tol, grad_tol, tiny_tiles, request):
    z = make(views, dtype)
    value, grad = value_and_gradient(loss, z)
    request.getfixturevalue("one_tile")
    want, want_grad = value_and_gradient(loss, make(views, torch.float64))
    assert value.dtype == dtype
    assert abs(value - want) <= value_tol * max(1, abs(want))
    assert (grad - want_grad).abs().max() <= grad_tol * max(1, want_grad.abs().max())


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.elements = max(self.elements, storage)
        return out


@pytest.mark.parametrize(("loss", "views"), CASES)
def test_the_matrix_is_never_in_memory(loss, views, tiny_tiles):
    z = make(views, torch.float32)
    with Largest() as largest:
        loss(z).backward()
    # All embeddings lifted by two coordinates, beside buffers of two tiles; a matrix has 24 x 24.
    assert largest.elements <= max(views * ROWS * (DIM + 2), 2 * 128) < ROWS * ROWS


def test_the_plain_form_has_it(one_tile):
    z = make(2, torch.float32)
    with Largest() as largest:
        losses.nt_xent_loss(*z).backward()
    assert largest.elements == (2 * ROWS) ** 2


def test_pair_accuracy_in_tiles(tiny_tiles):
    z = make(2, torch.float64).detach()
    with Largest() as largest:
        found = losses.pair_accuracy(*z)
    assert largest.elements <= 2 * ROWS * DIM < ROWS * ROWS
    u = normalize(z.flatten(0, 1), dim=1)
    cosines = (u @ u.T).fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * ROWS).roll(ROWS)
    assert found == (cosines.argmax(1) == partner).double().mean()
    assert 0 < found < 1
