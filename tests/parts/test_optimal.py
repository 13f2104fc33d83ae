"""Predictors fitted to the target network's embeddings, the random one, and their statistics."""

from __future__ import annotations

import pytest
import torch

from tacit.parts import (
    ClosedFormPredictor,
    CorrelationEMA,
    FeatureQueue,
    half_rank_weight,
    minimal_space_weight,
    solve_weight,
)


def statistics(d=4, n=40, seed=0):
    g = torch.Generator().manual_seed(seed)
    f, k = torch.randn(2, n, d, generator=g, dtype=torch.float64).unbind()
    k = k + f @ torch.randn(d, d, generator=g, dtype=torch.float64)
    return f, k, f.T @ f / n, k.T @ f / n


def test_right_solution_is_the_least_squares_fit():
    f, k, F, M = statistics()
    W = solve_weight(F, M, side="right")
    assert torch.allclose(W, torch.linalg.lstsq(f, k).solution.T, atol=1e-10)
    ridge = solve_weight(F, M, side="right", ridge=0.3)
    want = torch.linalg.solve(F + 0.3 * torch.eye(4, dtype=torch.float64), M.T).T
    assert torch.allclose(ridge, want, atol=1e-10)
    assert torch.allclose(solve_weight(F, M) @ torch.linalg.inv(M), torch.linalg.inv(F), atol=1e-9)


def test_minimal_space_solves_its_equation():
    _, _, F, M = statistics()
    W = minimal_space_weight(F, M)
    assert torch.allclose(W, W.T, atol=1e-12)
    assert torch.allclose(F @ W + W @ F, M + M.T, atol=1e-10)
    # the best symmetric matrix: no symmetric change lowers ||Wf - k||^2
    W = W.requires_grad_()
    loss = (W @ F @ W).trace() - 2 * (W @ M).trace()
    (gradient,) = torch.autograd.grad(loss, W)
    assert torch.allclose(gradient + gradient.T, torch.zeros(4, 4, dtype=torch.float64), atol=1e-9)


def test_minimal_space_options():
    _, _, F, M = statistics()
    S = (M + M.T) / 2
    s, U = torch.linalg.eigh(F)
    diagonal = minimal_space_weight(F, M, ridge=0.4, diagonal=True)
    assert torch.allclose(U.T @ diagonal @ U, torch.diag((U.T @ S @ U).diagonal() / (s + 0.2)))
    E = torch.linalg.matrix_exp(-0.7 * F)
    assert torch.allclose(minimal_space_weight(F, M, time=0.7), E @ S @ E)
    raw = minimal_space_weight(F, M, time=0.0, symmetric=False)
    assert torch.allclose(raw, M, atol=1e-12)
    psd = minimal_space_weight(F, -torch.eye(4, dtype=torch.float64) + 2 * S, psd=True)
    assert torch.linalg.eigvalsh(psd)[0] > -1e-12
    # scaling f and k alike changes nothing
    assert torch.allclose(minimal_space_weight(9 * F, 9 * M), minimal_space_weight(F, M))


def test_half_rank():
    W = half_rank_weight(7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(W, W.T)
    eig = torch.linalg.eigvalsh(W.double())
    assert torch.allclose(eig[:4], torch.full((4,), 1e-5, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(eig[4:], torch.full((3,), 0.50001, dtype=torch.float64), atol=1e-6)
    none = half_rank_weight(3, rank=0.0, eps=0.2)
    assert torch.allclose(none, 0.2 * torch.eye(3))


def test_bad_input():
    F = torch.eye(3)
    with pytest.raises(ValueError, match="ridge > 0"):
        solve_weight(torch.diag(torch.tensor([1.0, 0.0, 0.0])), F)
    with pytest.raises(ValueError, match="ridge > 0"):
        minimal_space_weight(torch.diag(torch.tensor([1.0, 0.0, 0.0])), F)
    with pytest.raises(ValueError, match="ridge must"):
        solve_weight(F, F, ridge=-1.0)
    with pytest.raises(ValueError, match="NaN"):
        minimal_space_weight(F, F * float("nan"))
    with pytest.raises((ValueError, TypeError), match="side"):
        solve_weight(F, F, side="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="symmetric=True"):
        minimal_space_weight(F, F, psd=True, symmetric=False)
    with pytest.raises(ValueError, match="for a time"):
        minimal_space_weight(F, F, diagonal=True, time=1.0)
    with pytest.raises(ValueError, match="rank"):
        half_rank_weight(3, rank=1.5)
    with pytest.raises((ValueError, TypeError), match="mode"):
        ClosedFormPredictor(3, "copy")  # type: ignore[arg-type]


def test_cross_statistics_follow_the_rule_of_the_correlation():
    g = torch.Generator().manual_seed(0)
    c = CorrelationEMA(4, 0.3, track_mean=True, track_cross=True)
    cross = None
    for f1, f2, k1, k2 in torch.randn(3, 4, 8, 4, generator=g, dtype=torch.float64):
        c.update(f1, f2, targets=(k2, k1))
        f, k = torch.cat([f1, f2]), torch.cat([k2, k1])
        now, mean, goal = k.T @ f / 16, f.mean(0), k.mean(0)
        if cross is None:
            cross, m, t = now, mean, goal
        else:
            cross, m, t = 0.3 * cross + 0.7 * now, 0.3 * m + 0.7 * mean, 0.3 * t + 0.7 * goal
    assert c.corr.dtype == torch.float64  # nothing of a float64 batch is lost
    assert torch.allclose(c.cross, cross, atol=1e-14)
    assert torch.allclose(c.cross_covariance, cross - torch.outer(t, m), atol=1e-14)
    with pytest.raises(ValueError, match="targets"):
        c.update(torch.ones(2, 4))
    with pytest.raises((ValueError, TypeError)):
        c.update(torch.ones(2, 4), targets=[torch.ones(3, 4)])
    with pytest.raises(ValueError, match="track_cross"):
        _ = CorrelationEMA(4, track_mean=True).cross_covariance


@pytest.mark.parametrize("mode", ["solve", "minimal_space"])
def test_fitted_predictor(mode):
    f, k, F, M = statistics()
    predictor = ClosedFormPredictor(4, mode, 0.3, 0.1, 5)
    predictor.observe(f[:20], f[20:], targets=(k[:20], k[20:]))
    predictor.refresh(0)
    fit = solve_weight if mode == "solve" else minimal_space_weight
    assert torch.allclose(predictor.weight.double(), fit(F, M, ridge=0.1), atol=1e-5)
    with torch.no_grad():
        predictor.weight[0, 1] += 1
    before = predictor.weight.detach().clone()
    predictor.refresh(1)  # between settings the released code keeps minimal_space symmetric
    kept = before if mode == "solve" else (before + before.T) / 2
    assert torch.equal(predictor.weight, kept)


def test_half_rank_predictor_draws_anew_and_resumes():
    predictor, other = ClosedFormPredictor(6, "half_rank"), ClosedFormPredictor(6, "half_rank")
    for p in (predictor, other):
        p.observe(torch.eye(6))
    other.load_state_dict(predictor.state_dict())
    seen = []
    for step in range(2):
        for p in (predictor, other):
            p.refresh(step)
        assert torch.equal(predictor.weight, other.weight)
        seen.append(predictor.weight.detach().clone())
    assert not torch.allclose(*seen)


def test_queue_keeps_float64():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 3, generator=g, dtype=torch.float64)
    queue = FeatureQueue(4, 3)
    queue.push(rows[:2].bfloat16())
    assert queue.features.dtype == torch.float32
    queue.push(rows)
    unit = torch.nn.functional.normalize(rows, dim=1)
    assert torch.equal(queue.rows[[2, 3, 0, 1]], unit)
    assert torch.equal(queue.nearest(rows), unit)
