"""The loss of a method is the pure function of its own embeddings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tacit import losses as fn
from tacit.methods.base import Method, cat_views
from tacit.views import mixup_views


def embeddings(method: Method, x: list[torch.Tensor]) -> list[torch.Tensor]:
    return [method.project(view) for view in x]


def targets(method: Method, x: list[torch.Tensor]) -> list[torch.Tensor]:
    return [method.target(view) for view in x]


def predictions(method: Method, x: list[torch.Tensor]) -> list[torch.Tensor]:
    return [method.predictor(method.project(view)) for view in x]


def nearest(queue: nn.Module, z: torch.Tensor) -> torch.Tensor:
    rows = queue.features
    return rows[(F.normalize(z, dim=1) @ rows.T).argmax(1)]


def both(pair: Callable, first: list, second: list) -> torch.Tensor:
    return (pair(first[0], second[1]) + pair(first[1], second[0])) / 2


def moco_both(m: Method, x: list, loss: Callable) -> torch.Tensor:
    q, k = embeddings(m, x), targets(m, x)
    queues = [queue.features.T for queue in m.queues]
    first = loss(q[0], k[1], queues[1], temperature=0.2)
    return (first + loss(q[1], k[0], queues[0], temperature=0.2)) / 2


def nnclr_both(m: Method, x: list, loss: Callable) -> torch.Tensor:
    neighbours = [nearest(m.queue, z) for z in embeddings(m, x)]
    return both(lambda n, p: loss(n, p, temperature=0.2), neighbours, predictions(m, x))


def euclidean(m: Method, x: list) -> torch.Tensor:
    q, k = predictions(m, x), targets(m, x[:2])
    terms = [
        fn.cacr_moco_v3_loss(q[1:], k[0], 1.0, "euclidean"),
        fn.cacr_moco_v3_loss([q[0], *q[2:]], k[1], 1.0, "euclidean"),
    ]
    return torch.stack(terms).mean()


def nt_xent(m: Method, x: list) -> torch.Tensor:
    return fn.nt_xent_loss(*embeddings(m, x), temperature=0.5)


def unit(views: list[torch.Tensor]) -> list[torch.Tensor]:
    return [F.normalize(view, dim=1) for view in views]


CASES: list[tuple[str, dict, int, Callable]] = [
    ("simclr", {}, 2, lambda m, x: fn.nt_xent_loss(*embeddings(m, x), temperature=0.2)),
    (
        "simclr",
        {"temperature": 0.5},
        3,
        lambda m, x: fn.multi_positive_nt_xent_loss(embeddings(m, x), temperature=0.5),
    ),
    ("dcl", {}, 2, lambda m, x: fn.dcl_loss(*embeddings(m, x), temperature=0.1)),
    (
        "dcl",
        {"negatives": "product"},
        2,
        lambda m, x: fn.dcl_loss(*embeddings(m, x), temperature=0.1, negatives="product"),
    ),
    ("dclw", {"sigma": 0.3}, 2, lambda m, x: fn.dclw_loss(*embeddings(m, x), sigma=0.3)),
    ("mv-infonce", {}, 4, lambda m, x: fn.mv_infonce_loss(embeddings(m, x))),
    (
        "mv-infonce",
        {"variant": "paper"},
        3,
        lambda m, x: fn.mv_infonce_loss(embeddings(m, x), variant="paper"),
    ),
    ("mv-dhel", {}, 4, lambda m, x: fn.mv_dhel_loss(embeddings(m, x))),
    ("dhel", {}, 2, lambda m, x: fn.dhel_loss(*embeddings(m, x))),
    ("kcl", {"kernel": "imq"}, 2, lambda m, x: fn.kcl_loss(*embeddings(m, x), kernel="imq")),
    (
        "multi-view",
        {},
        3,
        lambda m, x: fn.pairwise_aggregate(
            lambda a, b: fn.nt_xent_loss(a, b, temperature=0.5), embeddings(m, x)
        ),
    ),
    (
        "multi-view",
        {"loss": "avg", "pair_loss": "dhel"},
        3,
        lambda m, x: fn.average_view_aggregate(
            lambda a, b: fn.dhel_loss(a, b, temperature=0.5), embeddings(m, x)
        ),
    ),
    ("multi-view", {"loss": "pvc"}, 3, lambda m, x: fn.pvc_loss(embeddings(m, x), temperature=0.5)),
    # at two views every baseline is NT-Xent
    *[
        ("multi-view", {"loss": kind}, 2, nt_xent)
        for kind in ("pwe", "avg", "pvc", "multi_positive")
    ],
    (
        "align-uniform",
        {"uniform_weight": 3.0},
        2,
        lambda m, x: (
            fn.align_loss(*embeddings(m, x))
            + 1.5 * sum(fn.uniform_loss(z) for z in embeddings(m, x))
        ),
    ),
    ("cacr", {}, 5, lambda m, x: fn.cacr_loss(unit(embeddings(m, x)), t_neg=0.9).loss),
    (
        "cacr",
        {"choice": "without_w1", "beta": 2.0, "t_neg": 2.0},
        3,
        lambda m, x: (
            fn.cacr_loss(unit(embeddings(m, x)), choice="without_w1", beta=2.0, t_neg=2.0).loss
        ),
    ),
    (
        "cacr-queue",
        {},
        3,
        lambda m, x: (
            fn.cacr_queue_loss(unit(embeddings(m, x)), unit(targets(m, x)), m.queue.features.T).loss
        ),
    ),
    # with two crops CACR's form is half of MoCo v3's loss
    (
        "cacr-moco-v3",
        {},
        2,
        lambda m, x: fn.moco_v3_loss(*predictions(m, x), *targets(m, x), temperature=1.0) / 2,
    ),
    ("cacr-moco-v3", {"form": "euclidean"}, 4, euclidean),
    ("moco-v2", {}, 2, lambda m, x: moco_both(m, x, fn.moco_loss)),
    ("moco-v2", {"loss": "dcl"}, 2, lambda m, x: moco_both(m, x, fn.moco_dcl_loss)),
    (
        "moco-v2",
        {"symmetric": False},
        2,
        lambda m, x: fn.moco_loss(m.project(x[0]), m.target(x[1]), m.queues[0].features.T),
    ),
    ("moco-v3", {}, 2, lambda m, x: fn.moco_v3_loss(*predictions(m, x), *targets(m, x))),
    ("nnclr", {}, 2, lambda m, x: nnclr_both(m, x, fn.nnclr_loss)),
    ("nnclr", {"loss": "dcl"}, 2, lambda m, x: nnclr_both(m, x, fn.nnclr_dcl_loss)),
    ("byol", {}, 2, lambda m, x: fn.byol_loss(*predictions(m, x), *targets(m, x))),
    (
        "byol",
        {"predictor": "none"},
        2,
        lambda m, x: fn.byol_loss(*embeddings(m, x), *targets(m, x)),
    ),
    ("simsiam", {}, 2, lambda m, x: fn.simsiam_loss(*predictions(m, x), *embeddings(m, x))),
    (
        "directpred",
        {},
        2,
        lambda m, x: (
            -2
            * sum(
                F.cosine_similarity(p, k).mean()
                for p, k in zip(predictions(m, x), reversed(targets(m, x)))
            )
        ),
    ),
    (
        "barlow-twins",
        {"scale": 1.0},
        2,
        lambda m, x: fn.barlow_twins_loss(*embeddings(m, x), lambd=0.0051),
    ),
    ("vicreg", {}, 2, lambda m, x: fn.vicreg_loss(*embeddings(m, x))),
    ("wmse", {"w_size": 32}, 2, lambda m, x: fn.wmse_loss(*embeddings(m, x))),
    ("wmse", {"w_size": 32}, 4, lambda m, x: fn.wmse_loss(*embeddings(m, x))),
]


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda i: str(CASES[i][:3]))
def test_loss_is_the_pure_function(index: int, make_method: Callable, make_batch: Callable) -> None:
    name, options, n_views, expected = CASES[index]
    method = make_method(name, **options).double().eval()  # eval: how views share BN is no matter
    batch = make_batch(n_views)
    batch.views = [view.double() for view in batch.views]
    loss = method.training_loss(batch).total
    torch.testing.assert_close(loss, expected(method, batch.views), rtol=1e-9, atol=1e-9)


def test_average_view_keeps_the_short_mean(make_method: Callable, make_batch: Callable) -> None:
    method = make_method("multi-view", loss="avg").double().eval()
    views = [view.double() for view in make_batch(3, n=6).views]
    u = unit(embeddings(method, views))
    terms = []
    for v in range(3):
        pair = torch.cat([u[v], (sum(u) - u[v]) / 2])
        s = pair @ pair.T / 0.5
        logits = s.masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf)
        terms.append(F.cross_entropy(logits, torch.arange(12).roll(6)))
    batch = make_batch(3, n=6)
    batch.views = views
    torch.testing.assert_close(method.training_loss(batch).total, torch.stack(terms).mean())


def test_swav_swaps_codes(make_method: Callable, make_batch: Callable) -> None:
    method = make_method("swav").eval()
    batch = make_batch(4)
    scores = [method.prototypes(method.project(view)) for view in batch.views]
    codes = [fn.sinkhorn(s) for s in scores[:2]]
    expected = fn.swav_loss(scores, codes)
    torch.testing.assert_close(method.training_loss(batch).total, expected)


@pytest.mark.parametrize("l2", [True, False])
def test_mixed_barlow_twins_is_two_terms(
    l2: bool, make_method: Callable, make_batch: Callable
) -> None:
    method = make_method("mix-bt", l2_normalize=l2, lambda_reg=2.0)
    batch, (x1, x2) = make_batch(), make_batch().views
    generator = torch.Generator().manual_seed(int(method.random.seed))
    xm, perm, lam = mixup_views(x1, x2, generator=generator)
    z1, z2, zm = (method.project(x) for x in (x1, x2, xm))
    twins = fn.barlow_twins_loss(z1, z2, lambd=1 / 128, standardize="unbiased")
    mixed = fn.mixed_barlow_reg(z1, z2, zm, perm, lam)
    out = method.training_loss(batch)
    torch.testing.assert_close(out.parts["barlow_twins"], twins)
    torch.testing.assert_close(out.parts["mixed"], mixed)
    torch.testing.assert_close(out.total, twins + 2 / 128 * mixed)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_mixture_of_one_view_costs_nothing(
    lam: float, make_method: Callable, make_batch: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = make_method("mix-bt"), make_batch()

    def mix(x1, x2, **_):  # type: ignore[no-untyped-def]
        perm = torch.arange(len(x1)).flip(0)
        return lam * x1 + (1 - lam) * x2[perm], perm, lam

    monkeypatch.setattr("tacit.methods.redundancy.mix_bt.mixup_views", mix)
    assert method.training_loss(batch).parts["mixed"] < 1e-6


def test_mixed_barlow_twins_without_regulariser_is_barlow_twins(
    make_method: Callable, make_batch: Callable
) -> None:
    gradients = []
    for name in ("mixed", "twins"):
        method, batch = make_method("mix-bt", lambda_reg=0.0), make_batch()
        z1, z2 = (method.project(x) for x in batch.views)
        twins = fn.barlow_twins_loss(z1, z2, lambd=1 / 128, standardize="unbiased")
        total = method.training_loss(batch).total if name == "mixed" else twins
        total.backward()
        gradients.append((total.detach(), method.encoder.layers[0].weight.grad))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_views_of_several_sizes_go_through_together(make_method: Callable) -> None:
    method = make_method("simclr").eval()
    g = torch.Generator().manual_seed(0)
    views = [torch.randn(4, 3, size, size, generator=g) for size in (16, 8, 16)]
    for out, view in zip(cat_views(method.project, views), views):
        torch.testing.assert_close(out, method.project(view))
