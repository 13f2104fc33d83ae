import pytest
import torch
from torch import nn

from tacit.recipe import OptimizerConfig, ScheduleConfig
from tacit.training.muon import Muon, orthogonalise
from tacit.training.optim import LARS, build_optimizer, parameter_groups
from tacit.training.schedule import lr_factor


def reference_lars(p, g, v, *, lr, momentum, wd, trust, clip):
    decayed = g + wd * p
    if clip:
        ratio = min(trust * p.norm() / (g.norm() + wd * p.norm() + 1e-8) / lr, 1.0)
    else:
        ratio = trust * p.norm() / decayed.norm()
    v = momentum * v + ratio * decayed
    return p - lr * v, v


@pytest.mark.parametrize("clip", [False, True])
def test_lars_matches_its_equations(clip):
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    settings = {"lr": 0.3, "momentum": 0.9, "trust": 0.02}
    optimizer = LARS([p], weight_decay=0.1, clip=clip, **settings)
    expected, velocity = p.detach().clone(), torch.zeros_like(p)
    for _ in range(3):
        p.grad = torch.randn_like(p)
        expected, velocity = reference_lars(
            expected, p.grad, velocity, wd=0.1, clip=clip, **settings
        )
        optimizer.step()
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-12)


def test_lars_leaves_vectors_to_plain_sgd():
    p, q = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    config = OptimizerConfig(name="lars", lr=0.5, weight_decay=0.1)
    module = nn.ParameterList([p])
    lars = build_optimizer(module, config, global_batch=256)
    sgd = torch.optim.SGD([q], 0.5, momentum=0.9)
    for _ in range(3):
        p.grad = q.grad = torch.tensor([1.0, -2.0, 3.0])
        lars.step()
        sgd.step()
    torch.testing.assert_close(p, q)


@pytest.mark.parametrize("name", ["sgd", "lars", "adam", "adamw", "muon"])
def test_every_optimizer_descends_and_scales_its_rate(name):
    torch.manual_seed(0)
    net = nn.Linear(4, 4)
    optimizer = build_optimizer(net, OptimizerConfig(name=name, lr=0.01), global_batch=512)
    assert optimizer.param_groups[0]["base_lr"] == pytest.approx(0.02)
    x = torch.randn(64, 4)
    first = (net(x) - 1).pow(2).mean().item()
    for _ in range(100):
        optimizer.zero_grad()
        loss = (net(x) - 1).pow(2).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * first


def test_muon_follows_its_equations_and_adam_on_vectors():
    torch.manual_seed(0)
    p, b = nn.Parameter(torch.randn(6, 2, 3, 3)), nn.Parameter(torch.randn(5))
    twin = nn.Parameter(b.detach().clone())
    muon = Muon([{"params": [p]}, {"params": [b], "matrix": False}], 0.02, weight_decay=0.1)
    adam = torch.optim.Adam([twin], 2e-3)
    expected, m = p.detach().clone(), torch.zeros(6, 18)
    for _ in range(3):
        p.grad, b.grad = torch.randn_like(p), torch.randn_like(b)
        twin.grad = b.grad.clone()
        g = p.grad.reshape(6, 18)
        m = 0.95 * m + 0.05 * g
        expected = expected * (1 - 0.02 * 0.1)
        expected -= 0.02 * orthogonalise(0.05 * g + 0.95 * m).reshape(p.shape)
        muon.step()
        adam.step()
    torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(b, twin, rtol=1e-5, atol=1e-6)


def test_orthogonalise_keeps_directions_and_levels_the_spectrum():
    torch.manual_seed(0)
    for shape in ((8, 20), (20, 8)):
        x = torch.randn(shape)
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        y = orthogonalise(x)
        assert (torch.linalg.svdvals(y) - 1).abs().max() < 0.4
        inner = u.T @ y @ v.T
        assert (inner - torch.diag(inner.diag())).abs().max() < 1e-3


def test_groups_exclude_vectors_and_mark_constant_rates():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    groups = parameter_groups(net, constant=[net[0].weight])
    by_flags = {(g["matrix"], g["constant_lr"]): g for g in groups}
    assert by_flags[True, True]["params"] == [net[0].weight]
    assert by_flags[False, False]["weight_decay"] == 0.0
    assert len(by_flags[False, False]["params"]) == 3
    assert "weight_decay" not in parameter_groups(net, decay_all=True)[1]


def test_schedule_shapes():
    cosine = ScheduleConfig(name="cosine", warmup=0.1, final=0.01)
    assert lr_factor(0.0, cosine) == 0.0
    assert lr_factor(0.05, cosine) == pytest.approx(0.5)
    assert lr_factor(0.1, cosine) == pytest.approx(1.0)
    assert lr_factor(0.55, cosine) == pytest.approx(0.505)
    assert lr_factor(1.0, cosine) == pytest.approx(0.01)
    step = ScheduleConfig(name="step", warmup=0.0, milestones=(0.5, 0.75), gamma=0.1)
    assert [lr_factor(f, step) for f in (0.4, 0.5, 0.9)] == pytest.approx([1, 0.1, 0.01])
