"""What is computed on a GPU equals what is computed on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tacit.encoders.series.scan import parallel_scan, sequential_scan
from tacit.evaluation import criteria, evaluate_embeddings, linear_probe
from tacit.evaluation.criteria import DIRECTIONS
from tacit.evaluation.knn import cosine_neighbors
from tacit.evaluation.protocols import USUAL
from tacit.views import Views, build_views

sys.path.append(str(Path(__file__).resolve().parents[2]))
EVERY = pytest.importorskip("benchmarks.losses").EVERY

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: make test-gpu")


@pytest.mark.parametrize("name", EVERY)
def test_losses_and_their_gradients(name):
    z = torch.randn(2, 96, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    single = "queue" in name or name in ("moco_loss", "moco_dcl_loss")  # whose queue is float32
    z = z.float() if single else z
    found = []
    for device in ("cpu", "cuda"):
        x = z.to(device, copy=True).requires_grad_()
        value = EVERY[name](x)
        value.backward()
        found.append((value.detach().cpu(), x.grad.cpu()))
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if single else {"rtol": 1e-9, "atol": 1e-11}
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("own", [False, True])
def test_neighbours(own):
    g = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(5000, 64, generator=g), torch.randn(3000, 64, generator=g)
    a = cosine_neighbors(bank, None if own else queries, 20)
    b = cosine_neighbors(bank.cuda(), None if own else queries.cuda(), 20)
    torch.testing.assert_close(a.similarities, b.similarities, rtol=0, atol=2e-6)
    assert (a.indices == b.indices).float().mean() > 0.999


def test_protocols():
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(7, (900,), generator=g)
    x = torch.randn(7, 24, generator=g)[labels] + 2 * torch.randn(900, 24, generator=g)
    split = (x[:600].numpy(), labels[:600], x[600:].numpy(), labels[600:])
    on_gpu = evaluate_embeddings(*split, protocols=[*USUAL, "svm"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        on_cpu = evaluate_embeddings(*split, protocols=[*USUAL, "svm"])
    for name, row in on_cpu.items():
        assert on_gpu[name] == pytest.approx(row, abs=0.01), name
    probe = linear_probe(x[:600].cuda(), labels[:600], x[600:].cuda(), labels[600:])
    right = probe.predict(x[600:].cuda()) == labels[600:]
    assert float(right.double().mean()) == pytest.approx(probe.accuracy)


def test_criteria():
    z = (
        torch.randn(3000, 32, generator=torch.Generator().manual_seed(0))
        * torch.arange(1, 33) ** -0.5
    )
    names = [name for name in DIRECTIONS if name != "lidar"]
    a, b = criteria(z, names), criteria(z.cuda(), names)
    for name in names:
        assert a[name].value == pytest.approx(b[name].value, rel=1e-4), name


@pytest.mark.parametrize("size", [32, 96])
def test_views(size):
    raw = torch.nn.functional.interpolate(torch.rand(64, 3, 8, 8), (size, size), mode="bilinear")
    raw = (raw * 255).to(torch.uint8)
    options = {"channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
    configs = build_views("simclr", image_size=size, **options).configs
    views = Views(configs, chunk=64, **options)
    a = views(raw, torch.Generator().manual_seed(0))
    b = views.to("cuda")(raw.cuda(), torch.Generator().manual_seed(0))
    for x, y in zip(a, b, strict=True):
        # a pixel of the 8-bit crop of the CPU, at most
        assert (x - y.cpu()).abs().max() < 12 / 255 / 0.25
        assert (x - y.cpu()).abs().mean() < 1.5 / 255 / 0.25


def test_scan():
    a = torch.rand(2, 300, 8, 4, device="cuda", dtype=torch.float64)
    b = torch.randn(2, 300, 8, 4, device="cuda", dtype=torch.float64)
    torch.testing.assert_close(parallel_scan(a, b), sequential_scan(a, b), rtol=1e-9, atol=1e-9)
