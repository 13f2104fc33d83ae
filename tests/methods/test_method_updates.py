"""What methods change outside the gradient: queues, targets, predictors, prototypes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tacit.methods.base import Batch, Method, Progress
from tacit.parts import (
    SharedGenerator,
    directcopy_weight,
    directpred_weight,
    minimal_space_weight,
    solve_weight,
)


def sgd(method: Method, lr: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr)


@pytest.mark.parametrize("name", ["moco-v2", "nnclr", "cacr-queue", "swav"])
def test_queues_change_after_the_loss_first_in_first_out(
    name: str, make_method: Callable, make_batch: Callable
) -> None:
    method, batch = make_method(name), make_batch(2)
    queues = getattr(method, "queues", None) or [method.queue]
    before = [queue.features.clone() for queue in queues]
    method.training_loss(batch).total.backward()
    for queue, old in zip(queues, before):
        assert torch.equal(queue.features, old)
        assert int(queue.pointer) == 0
    if hasattr(method, "target"):
        keys = [F.normalize(method.target(view), dim=1) for view in batch.views]
        new = keys if name == "moco-v2" else keys[-1:]
    else:  # train-mode batch norm: the same statistics as in the loss
        joint = method.project(torch.cat(batch.views)).chunk(2)
        alone = [method.project(batch.views[0])]
        new = [F.normalize(z, dim=1) for z in (joint if name == "swav" else alone)]
    method.after_step()
    for queue, old, keys in zip(queues, before, new):
        torch.testing.assert_close(queue.features[:32], keys.detach())
        assert torch.equal(queue.features[32:], old[32:])
    method.training_loss(make_batch(2, seed=1))
    method.after_step()
    for queue in queues:
        assert int(queue.pointer) == 64 % 40  # wrapped around


def test_accumulated_batches_are_all_queued(make_method: Callable, make_batch: Callable) -> None:
    method = make_method("moco-v2")
    for seed in range(2):
        method.training_loss(make_batch(n=8, seed=seed)).total.backward()
    method.after_step()
    assert [int(queue.pointer) for queue in method.queues] == [16, 16]


def test_asymmetric_moco_has_one_queue_of_the_second_view(
    make_method: Callable, make_batch: Callable
) -> None:
    method, batch = make_method("moco-v2", symmetric=False), make_batch()
    keys = F.normalize(method.target(batch.views[1]), dim=1)
    method.training_loss(batch)
    method.after_step()
    assert len(method.queues) == 1
    torch.testing.assert_close(method.queues[0].features[:32], keys)


def test_directpred_order_of_a_step(make_method: Callable, make_batch: Callable) -> None:
    method = make_method("directpred")
    optimizer = sgd(method)
    expected_f = None
    for step in range(3):
        batch = make_batch(seed=step)
        method.progress = Progress(step, 0, 0.0)
        used = method.predictor.weight.detach().clone()
        with torch.no_grad():
            f1, f2 = (method.project(view) for view in batch.views)
            k1, k2 = (method.target(view) for view in batch.views)
            cosines = [F.cosine_similarity(f @ used.T, k).mean() for f, k in ((f1, k2), (f2, k1))]
            rows = torch.cat([f1, f2])
            now = rows.T @ rows / len(rows)
            expected_f = now if expected_f is None else 0.3 * expected_f + 0.7 * now
        optimizer.zero_grad()
        loss = method.training_loss(batch).total
        # the loss uses the predictor of the previous step, F already has this batch
        torch.testing.assert_close(loss, -2 * sum(cosines))
        torch.testing.assert_close(method.predictor.correlation.corr, expected_f)
        assert torch.equal(method.predictor.weight, used)
        loss.backward()
        assert method.predictor.weight.grad is None
        optimizer.step()
        method.after_step()
        torch.testing.assert_close(method.predictor.weight, directpred_weight(expected_f))


def test_directpred_is_trained_between_settings(
    make_method: Callable, make_batch: Callable, take_step: Callable
) -> None:
    method = make_method("directpred", freq=3)
    optimizer = sgd(method)
    for step in range(4):
        method.progress = Progress(step, 0, 0.0)
        before = method.predictor.weight.detach().clone()
        take_step(method, make_batch(seed=step), optimizer)
        closed = directpred_weight(method.predictor.correlation.corr)
        if step % 3 == 0:
            torch.testing.assert_close(method.predictor.weight.detach(), closed)
        else:
            assert not torch.allclose(method.predictor.weight, closed)
            assert not torch.equal(method.predictor.weight, before)


def test_directcopy_copies_the_correlation(
    make_method: Callable, make_batch: Callable, take_step: Callable
) -> None:
    method = make_method("directcopy")
    take_step(method, make_batch(), sgd(method))
    expected = directcopy_weight(method.predictor.correlation.corr, eps=0.3, normalize=True)
    torch.testing.assert_close(method.predictor.weight, expected)


def test_evaluation_leaves_the_statistics_alone(
    make_method: Callable, make_batch: Callable
) -> None:
    method = make_method("directpred").eval()
    method.training_loss(make_batch())
    assert int(method.predictor.correlation.updates) == 0


def test_target_of_another_start(make_method: Callable) -> None:
    method = make_method("directpred", copy_init=False)
    online = nn.Sequential(method.encoder, method.projector)
    pairs = list(zip(online.parameters(), method.target.target.parameters()))
    assert not any(torch.equal(p, q) for p, q in pairs if p.ndim > 1)
    assert not any(q.requires_grad for _, q in pairs)


@pytest.mark.parametrize("name", ["byol", "directpred", "moco-v3"])
def test_target_uses_batch_statistics_in_training(
    name: str, make_method: Callable, make_batch: Callable
) -> None:
    method = make_method(name)
    norm = method.target.target[0].layers[1]
    assert norm.training
    method.training_loss(make_batch(seed=1))
    assert norm.running_mean.abs().sum() > 0, "its own passes fill its running statistics"
    method.eval()
    assert not norm.training


@pytest.mark.parametrize("kind", ["linear", "symmetric", "symmetric_norm", "diagonal", "none"])
def test_linear_predictors_of_byol(
    kind: str, make_method: Callable, make_batch: Callable, take_step: Callable
) -> None:
    method = make_method("byol", predictor=kind)
    take_step(method, make_batch(), sgd(method, lr=0.5))
    if kind == "none":
        assert not list(method.predictor.parameters())
        return
    (w,) = method.predictor.parameters()
    assert torch.allclose(w, w.T) == (kind != "linear")
    if kind == "diagonal":
        assert torch.equal(w, torch.diag(w.diagonal()))
    if kind == "symmetric_norm":
        assert float(torch.linalg.eigvalsh(w.detach())[-1]) == pytest.approx(1, abs=1e-5)


def test_tied_two_layer_predictor_of_byol(
    make_method: Callable, make_batch: Callable, take_step: Callable
) -> None:
    method = make_method("byol", predictor="symmetric_pair")
    take_step(method, make_batch(), sgd(method, lr=0.5))
    first, second = method.predictor.parameters()
    assert first.shape == (12, 8)
    assert torch.equal(first, second.T)


@pytest.mark.parametrize(
    "kind", ["directpred", "directcopy", "solve", "minimal_space", "half_rank"]
)
def test_set_predictors_of_byol(
    kind: str, make_method: Callable, make_batch: Callable, take_step: Callable
) -> None:
    method, batch = make_method("byol", predictor=kind, eps=0.2), make_batch()
    with torch.no_grad():
        f = torch.cat([method.project(view) for view in batch.views])
        k = torch.cat([method.target(view) for view in reversed(batch.views)])
        F, M = f.T @ f / len(f), k.T @ f / len(f)
    take_step(method, batch, sgd(method))
    w = method.predictor.weight
    assert w.grad is None
    want = {
        "directpred": directpred_weight(F, eps=0.2),
        "directcopy": directcopy_weight(F, eps=0.2),
        "solve": solve_weight(F, M, ridge=0.2),
        "minimal_space": minimal_space_weight(F, M, ridge=0.2),
    }
    if kind == "half_rank":
        eig = torch.linalg.eigvalsh(w)
        torch.testing.assert_close(eig, torch.tensor([0.2] * 4 + [0.7] * 4))
    else:
        torch.testing.assert_close(w.detach(), want[kind], atol=1e-5, rtol=1e-4)


def test_directpred_without_normalisation(make_method: Callable, make_batch: Callable) -> None:
    method, batch = make_method("directpred", l2_normalize=False), make_batch()
    loss = method.training_loss(batch).total
    with torch.no_grad():
        q1, q2 = (method.predictor(method.project(view)) for view in batch.views)
        k1, k2 = (method.target(view) for view in batch.views)
        want = sum((q - k).square().sum(1).mean() for q, k in ((q1, k2), (q2, k1)))
    torch.testing.assert_close(loss, want)


def test_only_simsiams_predictor_keeps_its_learning_rate(make_method: Callable) -> None:
    method = make_method("simsiam")
    expected = {id(p) for p in method.predictor.parameters()}
    assert {id(p) for p in method.constant_lr_parameters()} == expected
    assert make_method("byol").constant_lr_parameters() == []


def test_prototypes_are_frozen_first_and_stay_unit(
    make_method: Callable, make_batch: Callable, take_step: Callable
) -> None:
    method = make_method("swav", freeze_prototypes_epochs=1)
    optimizer = torch.optim.SGD(method.parameters(), 0.5, momentum=0.9, weight_decay=0.1)
    start = method.prototypes.weight.detach().clone()
    encoder = method.encoder.layers[0].weight.detach().clone()
    take_step(method, make_batch(), optimizer)
    torch.testing.assert_close(method.prototypes.weight.detach(), start)
    assert not torch.equal(method.encoder.layers[0].weight, encoder)
    method.progress = Progress(1, 1, 0.1)
    take_step(method, make_batch(seed=1), optimizer)
    assert not torch.allclose(method.prototypes.weight, start)
    norms = method.prototypes.weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_swav_uses_its_queue_when_full_and_late_enough(
    make_method: Callable, make_batch: Callable
) -> None:
    with_queue = make_method("swav", queue_start_epoch=1, queue_size=64)
    without = make_method("swav", queue_size=0)
    equal = []
    for epoch, seed in ((0, 0), (1, 1), (1, 2)):  # full after two batches
        pair = []
        for method in (with_queue, without):
            method.progress = Progress(seed, epoch, 0.0)
            pair.append(method.training_loss(make_batch(seed=seed)).total)
            method.after_step()
        equal.append(bool(torch.equal(*pair)))
    assert equal == [True, True, False]
    with_queue.progress = Progress(3, 0, 0.0)
    without.progress = Progress(3, 0, 0.0)
    batch = make_batch(seed=3)
    assert torch.equal(with_queue.training_loss(batch).total, without.training_loss(batch).total)


@pytest.mark.parametrize("name", ["swav", "cacr-moco-v3"])
def test_small_crops(name: str, make_method: Callable, make_batch: Callable) -> None:
    method = make_method(name)
    g = torch.Generator().manual_seed(0)
    small = [torch.randn(32, 3, 8, 8, generator=g) for _ in range(3)]
    batch = Batch(make_batch(2).views + small)
    loss = method.training_loss(batch).total
    loss.backward()
    assert torch.isfinite(loss)
    with pytest.raises(Exception, match="n_views"):
        method.training_loss(make_batch(1))


def test_regulariser_warms_up(make_method: Callable) -> None:
    method = make_method("mix-bt", lambda_reg=4.0, reg_warmup_steps=8)
    for step, expected in ((0, 0.0), (2, 1.0), (8, 4.0), (100, 4.0)):
        method.progress = Progress(step, 0, 0.0)
        assert method.reg_weight() == expected


def test_shared_generator_goes_on_after_a_reload() -> None:
    torch.manual_seed(0)
    first = SharedGenerator()
    draws = [float(torch.rand((), generator=first.next())) for _ in range(2)]
    assert draws[0] != draws[1]
    second = SharedGenerator()
    second.load_state_dict(first.state_dict())
    a, b = (float(torch.rand((), generator=s.next())) for s in (first, second))
    assert a == b
    assert a not in draws
