"""CACR with a momentum encoder: queue form and predictor form."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from tacit.losses import cacr_moco_v3_loss, cacr_queue_loss

EXACT = {"rel": 1e-9, "abs": 1e-9}


def unit(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=-1)


def plain_queue(q, k, queue, t_pos, t_neg, alpha, beta, intra_batch):
    """The two terms with one explicit list of costs for every view and query."""
    attraction, repulsion = [], []
    for x in range(len(q)):
        others = torch.stack([k[y] for y in range(len(k)) if y != x], 1)
        c = (q[x][:, None] - others).square().sum(-1)
        attraction.append((torch.softmax(t_pos * c.detach(), 1) * c).sum(1).mean())
        n = len(q[x])
        c = 2 - 2 * q[x] @ queue  # the released form of the distance of unit vectors
        for_weights = c.detach()
        if intra_batch:
            inside = (q[x][:, None] - q[x][None]).square().sum(-1)
            inside = inside[~torch.eye(n, dtype=torch.bool)].view(n, n - 1)
            c = torch.cat([c, inside], 1)
            for_weights = torch.cat([for_weights, inside], 1)
        repulsion.append(-(torch.softmax(-t_neg * for_weights, 1) * c).sum(1).mean())
    return alpha * torch.stack(attraction).mean(), beta * torch.stack(repulsion).mean()


@pytest.mark.parametrize("intra_batch", [True, False])
@pytest.mark.parametrize(("t_pos", "t_neg"), [(1.0, 2.0), (0.0, 0.0), (3.0, 0.9)])
def test_queue_form(intra_batch, t_pos, t_neg):
    q, k, queue = unit(3, 6, 4), unit(3, 6, 4, seed=1), unit(10, 4, seed=2).T
    mine, ref = q.clone().requires_grad_(), q.clone().requires_grad_()
    options = {"t_pos": t_pos, "t_neg": t_neg, "alpha": 1.5, "beta": 3.0}
    out = cacr_queue_loss(mine, list(k), queue, intra_batch=intra_batch, **options)
    attraction, repulsion = plain_queue(ref, k, queue, intra_batch=intra_batch, **options)
    assert float(out.attraction) == pytest.approx(float(attraction), **EXACT)
    assert float(out.repulsion) == pytest.approx(float(repulsion), **EXACT)
    assert float(out.loss) == pytest.approx(float(attraction + repulsion), **EXACT)
    (got,) = torch.autograd.grad(out.loss, mine)
    (want,) = torch.autograd.grad(attraction + repulsion, ref)
    assert torch.allclose(got, want, atol=1e-10)
    columns = 10 + (5 if intra_batch else 0)
    assert out.w_neg.shape == (3, 6, columns)
    assert torch.allclose(out.w_neg.sum(-1), torch.ones(3, 6, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(out.w_pos.sum(-1), torch.ones(3, 6, dtype=torch.float64), atol=1e-12)


def test_every_view_has_its_own_distances_to_the_queue():
    q, queue = unit(2, 5, 4), unit(9, 4, seed=2).T
    both = cacr_queue_loss(q, q, queue).repulsion
    alone = [cacr_queue_loss([view, view], [view, view], queue).repulsion for view in q]
    assert float(both) == pytest.approx(float(alone[0] + alone[1]) / 2, **EXACT)
    assert abs(float(alone[0] - alone[1])) > 1e-3


def test_attraction_gradient_of_a_query():
    q, k, queue = unit(3, 5, 4).requires_grad_(), unit(3, 5, 4, seed=1), unit(8, 4, seed=2).T
    out = cacr_queue_loss(q, k, queue, alpha=2.0)
    (grad,) = torch.autograd.grad(out.attraction, q)
    expected = 2 * 2.0 * (out.w_pos[1][:, :, None] * (q[1][:, None] - k[[0, 2]].transpose(0, 1)))
    assert torch.allclose(grad[1], expected.sum(1) / (3 * 5), atol=1e-12)


def test_keys_and_queue_get_no_gradient():
    q, k = unit(2, 5, 4).requires_grad_(), unit(2, 5, 4, seed=1).requires_grad_()
    queue = unit(8, 4, seed=2).T.clone().requires_grad_()
    cacr_queue_loss(q, k, queue).loss.backward()
    assert q.grad is not None
    assert k.grad is None
    assert queue.grad is None


def test_large_queue_beyond_the_dense_path():
    q, k, queue = unit(2, 40, 4), unit(2, 40, 4, seed=1), unit(60_000, 4, seed=2).T
    mine, ref = q.clone().requires_grad_(), q.clone().requires_grad_()
    out = cacr_queue_loss(mine, k, queue, return_weights=False)
    attraction, repulsion = plain_queue(ref, k, queue, 1.0, 2.0, 1.0, 1.0, True)
    assert out.w_neg is None
    assert float(out.loss) == pytest.approx(float(attraction + repulsion), abs=1e-10)
    (got,) = torch.autograd.grad(out.loss, mine)
    (want,) = torch.autograd.grad(attraction + repulsion, ref)
    assert torch.allclose(got, want, atol=1e-10)


@pytest.mark.parametrize("T", [0.2, 1.0])
def test_one_query_is_infonce(T):
    q, k = unit(1, 8, 5), unit(8, 5, seed=1)
    infonce = cross_entropy(q[0] @ k.T / T, torch.arange(8))
    assert float(cacr_moco_v3_loss(q, k, T)) == pytest.approx(2 * T * float(infonce), **EXACT)


@pytest.mark.parametrize("T", [0.2, 1.0])
def test_predictor_forms(T):
    q, k, pool = unit(3, 6, 5), unit(6, 5, seed=1), unit(18, 5, seed=2)
    pool = torch.cat([pool[:6], k, pool[12:]])
    target = torch.arange(6) + 6
    mine, ref = (3 * q).requires_grad_(), (3 * q).requires_grad_()
    unit_ref = normalize(ref, dim=-1)
    share = torch.softmax((unit_ref - k).square().sum(-1).detach() / T, 0)
    rbf, euclidean = [], []
    for v in range(3):
        logits = unit_ref[v] @ pool.T / T
        rbf.append((share[v] * cross_entropy(logits, target, reduction="none")).mean() * 2 * T)
        c = 1 - unit_ref[v] @ pool.T
        keep = torch.ones(6, 18, dtype=torch.bool).scatter(1, target[:, None], False)
        negative = -c[keep].view(6, 17)
        w = torch.softmax(negative.detach() / T, 1)
        pull = c.gather(1, target[:, None])[:, 0]
        euclidean.append((share[v] * (pull + (w * negative).sum(1))).sum())
    for form, terms in (("rbf", rbf), ("euclidean", euclidean)):
        value = cacr_moco_v3_loss(mine, 2 * k, T, form, all_keys=pool, rank=1)
        expected = torch.stack(terms).sum()
        assert float(value) == pytest.approx(float(expected), **EXACT)
        (got,) = torch.autograd.grad(value, mine)
        (want,) = torch.autograd.grad(expected, ref, retain_graph=True)
        assert torch.allclose(got, want, atol=1e-10)


def test_reductions_differ_by_the_batch():
    q, k = unit(3, 6, 5), unit(6, 5, seed=1)
    for form, default in (("rbf", "mean"), ("euclidean", "sum")):
        total = cacr_moco_v3_loss(q, k, form=form, reduction="sum")
        mean = cacr_moco_v3_loss(q, k, form=form, reduction="mean")
        assert float(total) == pytest.approx(6 * float(mean), **EXACT)
        released = cacr_moco_v3_loss(q, k, form=form)
        assert float(released) == pytest.approx(
            float(mean if default == "mean" else total), **EXACT
        )


def test_gradcheck():
    q, k, queue = unit(2, 4, 3).requires_grad_(), unit(2, 4, 3, seed=1), unit(5, 3, seed=2).T
    assert torch.autograd.gradcheck(
        lambda z: cacr_moco_v3_loss(z[:1], k[0], 0.5), q
    )  # weights over one query are constant
    assert torch.autograd.gradcheck(
        lambda z: cacr_queue_loss(z, k, queue, t_pos=0.0, t_neg=0.0).loss, q
    )


def test_half_precision_is_computed_in_float32():
    q, k = unit(2, 4, 3).to(torch.bfloat16), unit(2, 4, 3, seed=1).to(torch.bfloat16)
    queue = unit(5, 3, seed=2).T.to(torch.bfloat16)
    assert cacr_queue_loss(q, k, queue).loss.dtype == torch.float32
    assert cacr_moco_v3_loss(list(q), k[0]).dtype == torch.float32


@pytest.mark.parametrize(
    "call",
    [
        lambda q, k, queue: cacr_queue_loss(q[:1], k[:1], queue),
        lambda q, k, queue: cacr_queue_loss(q[:, :1], k[:, :1], queue),
        lambda q, k, queue: cacr_queue_loss(q, k[:, :3], queue),
        lambda q, k, queue: cacr_queue_loss(q, k, queue.T),
        lambda q, k, queue: cacr_queue_loss(q, k, queue[:, :0]),
        lambda q, k, queue: cacr_queue_loss(q, k, queue, t_neg=-1.0),
        lambda q, k, queue: cacr_queue_loss(q, k, queue, alpha=-1.0),
        lambda q, k, queue: cacr_moco_v3_loss(q, k[0], 0.0),
        lambda q, k, queue: cacr_moco_v3_loss(q, k[0], form="cosine"),
        lambda q, k, queue: cacr_moco_v3_loss(q, k[0], reduction="none"),
        lambda q, k, queue: cacr_moco_v3_loss(q, k[0][:3]),
        lambda q, k, queue: cacr_moco_v3_loss(q, k[0], all_keys=k[0], rank=1),
        lambda q, k, queue: cacr_moco_v3_loss(q[:, :1], k[0][:1]),
        lambda q, k, queue: cacr_moco_v3_loss([], k[0]),
    ],
)
def test_bad_inputs(call):
    with pytest.raises(ValueError):
        call(unit(2, 5, 4), unit(2, 5, 4, seed=1), unit(8, 4, seed=2).T)
