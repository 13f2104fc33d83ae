"""NeuroNet: loss, options, limiting cases, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tacit.encoders.series import TCN
from tacit.errors import ConfigError
from tacit.losses import masked_mse, nt_xent, pair_accuracy
from tacit.methods.base import Batch
from tacit.methods.hybrid.neuronet import PRESETS, NeuroNet, NeuroNetMethod, Preset
from tacit.recipe import Recipe
from tacit.registry import METHODS

TINY = Preset(16, 2, 1, 8, 2, 1)


def tiny(**options: Any) -> NeuroNet:
    torch.manual_seed(0)
    options = {"mask_ratio": 0.6, "proj": (12, 6), **options}
    return NeuroNet(100, 9, 3.0, 1.0, preset=TINY, **options)  # 7 frames


def batch(n: int = 6) -> Tensor:
    return torch.randn(n, 900, generator=torch.Generator().manual_seed(1))


def noise(n: int = 6) -> Tensor:
    return torch.rand(2, n, 7, generator=torch.Generator().manual_seed(2))


def test_presets_have_the_published_sizes() -> None:
    sizes = {}
    for name in PRESETS:
        net = NeuroNet(preset=name)
        sizes[name] = sum(p.numel() for p in net.parameters())
        assert net.encoder.n_frames == 73
        assert net.encoder.cnn.dim == 256
    assert sizes == {"T": 14_880_640, "B": 33_014_272}


def test_loss_is_written_out() -> None:
    net = tiny(alpha=0.7).double()
    x, m = batch().double(), noise().double()
    out = net(x, m)
    method = net.method
    frames = net.encoder.frames(x[:, None])
    recon, u = 0.0, []
    for branch in m:
        latent, mask, restore = net.encoder.tokens.masked(frames, 0.6, branch)
        recon = recon + masked_mse(method.decoder(latent, restore), frames, mask)
        u.append(method.projector(latent[:, 0]))
        assert mask.sum(1).tolist() == [5.0] * 6
    contrast = nt_xent(u[0], u[1], 0.05)
    assert torch.allclose(out["recon"], recon, rtol=1e-9)
    assert torch.allclose(out["contrastive"], contrast, rtol=1e-9)
    assert torch.allclose(out["loss"], recon + 0.7 * contrast, rtol=1e-9)
    assert out["acc"] == pair_accuracy(u[0], u[1])


def test_equal_masks_find_each_other() -> None:
    net, x = tiny().eval().double(), batch().double()
    m = noise().double()[:1].expand(2, -1, -1)
    out = net(x, m)
    assert out["acc"] == 1
    latent = net.encoder.tokens.masked(net.encoder.frames(x[:, None]), 0.6, m[0]).latent
    u = torch.nn.functional.normalize(net.method.projector(latent[:, 0]))
    s = (u @ u.T - 1)[~torch.eye(6, dtype=torch.bool)].view(6, 5) / 0.05
    wanted = torch.log1p(2 * s.exp().sum(1)).mean()  # each negative is there twice
    assert torch.allclose(out["contrastive"], wanted, rtol=1e-9)


def test_nt_xent_and_accuracy_in_closed_form() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    assert math.isclose(
        float(nt_xent(eye, eye, 0.05)), math.log1p(2 * math.exp(-20)), abs_tol=1e-13
    )
    one = torch.randn(1, 4, dtype=torch.float64)
    assert abs(float(nt_xent(one, torch.randn(1, 4, dtype=torch.float64), 0.05))) < 1e-12
    a, b = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0)).double()
    assert torch.allclose(nt_xent(a, b, 0.1), nt_xent(b, a, 0.1), rtol=1e-12)
    z = torch.nn.functional.normalize(torch.cat([a, b]))
    near = (z @ z.T).fill_diagonal_(-2).argmax(1)
    found = (near == torch.arange(18).roll(9)).double().mean()
    assert torch.allclose(pair_accuracy(a, b), found)


@pytest.mark.parametrize(
    ("options", "gone"), [({"alpha": 0.0}, "projector"), ({"recon_weight": 0.0}, "decoder")]
)
def test_each_half_alone(options: dict[str, float], gone: str) -> None:
    net = tiny(**options)
    out = net(batch(), noise())
    assert torch.equal(out["loss"], out["recon" if gone == "projector" else "contrastive"])
    out["loss"].backward()
    unused = getattr(net.method, gone).parameters()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in unused)
    assert net.encoder.cnn.trunk.conv.weight.grad.abs().sum() > 0


def test_targets_detached_or_standardised() -> None:
    grads = {}
    for detach in (False, True):
        net = tiny(alpha=0.0, detach_target=detach, mask_ratio=0.8)
        frames: list[Tensor] = []
        net.encoder.cnn.register_forward_hook(lambda *call, kept=frames: kept.append(call[2]))
        loss = net(batch(), noise())["loss"]
        grads[detach] = torch.autograd.grad(loss, frames[0])[0]
    _, mask, _ = net.encoder.tokens.masked(frames[0], 0.8, noise()[0])
    _, other, _ = net.encoder.tokens.masked(frames[0], 0.8, noise()[1])
    hidden = (mask * other).bool()  # in neither branch seen: only a target
    assert hidden.any()
    assert grads[True][hidden].abs().max() == 0
    assert grads[False][hidden].abs().min(-1).values.max() > 0
    plain, normal = (tiny(norm_target=flag)(batch(), noise())["recon"] for flag in (False, True))
    assert plain < 1 < normal  # tiny embeddings against unit variance


def test_without_masks_there_is_nothing_to_predict() -> None:
    with pytest.raises(ValueError, match="no token is masked"):
        tiny(mask_ratio=0.0)(batch(), noise())
    out = tiny(mask_ratio=0.0, recon_weight=0.0)(batch(), noise())
    assert out["acc"] == 1


def test_encode_pools_tokens_and_keeps_a_batch_of_one() -> None:
    net, x = tiny().eval(), batch()
    latent = net.encoder.tokens(net.encoder.frames(x[:, None]))
    assert torch.equal(net.encode(x), latent[:, 1:].mean(1))
    assert torch.equal(net.encode(x[:, None], pool="cls"), latent[:, 0])
    assert net.encode(x[:1]).shape == (1, 16)
    assert torch.equal(net.encode(x), net.method.embed(x[:, None]))
    assert net.method.project(x[:, None]).shape == (6, 6)
    with pytest.raises(ConfigError, match="pool"):
        net.encode(x, pool="max")


def test_masks_are_new_in_every_step_and_continue_after_a_resume() -> None:
    net, x = tiny().eval(), batch()
    first, second = net(x)["recon"], net(x)["recon"]
    assert first != second
    other = tiny().eval()
    other.load_state_dict(net.state_dict())
    assert net(x)["recon"] == other(x)["recon"]


def test_training_lowers_the_loss_through_the_method() -> None:
    net = tiny()
    method = net.method
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 3e-3)
    x, values = batch(8)[:, None], []
    for _ in range(6):
        losses = method.training_loss(Batch([x]))
        assert set(losses.parts) == {"recon", "contrastive", "acc"}
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        values.append(float(losses.total.detach()))
    assert values[-1] < 0.8 * values[0]
    for name, p in method.named_parameters():
        assert p.grad is not None or not p.requires_grad, name


def test_default_recipe_is_the_paper() -> None:
    assert METHODS.get("neuronet") is NeuroNetMethod
    recipe = NeuroNetMethod.default_recipe()
    assert (recipe.batch_size, recipe.epochs, recipe.encoder) == (None, 30, "neuronet_t")
    assert (recipe.optimizer.lr, recipe.optimizer.weight_decay) == (1e-5, 0.01)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    config = NeuroNetMethod.Config()
    assert (config.mask_ratio, config.temperature, config.alpha) == (0.8, 0.05, 1.0)
    assert all(field.description for field in NeuroNetMethod.Config.model_fields.values())


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="Known: T, B"):
        NeuroNet(preset="L")
    with pytest.raises(ConfigError, match="FrameTransformer"):
        NeuroNetMethod(TCN(1), NeuroNetMethod.Config())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="hides all of 7 tokens"):
        tiny(mask_ratio=0.9)
    net, x = tiny(), batch()
    x[2, 5] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        net(x)
    with pytest.raises(ValueError, match="at least 2 series"):
        net(batch(1))
    with pytest.raises(ValueError, match="900 samples"):
        net(torch.zeros(2, 800))
