"""What holds for every method."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tacit.methods.base import Batch, Method, Progress
from tacit.recipe import Recipe
from tacit.registry import METHODS
from tacit.views import build_views

NAMES = [name for name in METHODS.names() if "image" in METHODS.get(name).modalities]
WITH_TARGET = [
    "byol",
    "cacr-moco-v3",
    "cacr-queue",
    "directcopy",
    "directpred",
    "moco-v2",
    "moco-v3",
]
UNDEFINED_FOR_ONE = [
    *["dcl", "dclw", "mv-infonce", "mv-dhel", "dhel", "kcl", "cacr"],
    *["cacr-moco-v3", "align-uniform", "barlow-twins", "mix-bt", "vicreg", "wmse"],
]


def sgd(method: Method, lr: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr, momentum=0.9)


def test_all_methods_are_registered() -> None:
    assert {
        *["simclr", "moco-v2", "moco-v3", "nnclr", "dcl", "dclw", "cacr", "cacr-queue"],
        *["cacr-moco-v3", "mv-infonce", "mv-dhel", "dhel", "kcl", "multi-view", "align-uniform"],
        *["byol", "simsiam", "directpred", "directcopy", "barlow-twins", "mix-bt", "vicreg"],
        *["wmse", "swav"],
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_what_is_trained_and_nothing_else(
    name: str, make_method: Callable, make_batch: Callable
) -> None:
    method = make_method(name)
    losses = method.training_loss(make_batch(method.n_views))
    assert losses.total.shape == ()
    assert torch.isfinite(losses.total)
    assert all(torch.isfinite(part) for part in losses.parts.values())
    losses.total.backward()
    for key, p in method.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, key
            # a bias before a batch norm, or before standardisation, has no effect
            if p.ndim > 1:
                assert p.grad.abs().sum() > 0, key
        else:
            assert p.grad is None, key


@pytest.mark.parametrize("name", NAMES)
def test_steps_move_all_weights(
    name: str, make_method: Callable, make_batch: Callable, take_step: Callable
) -> None:
    method = make_method(name)
    before = {key: p.detach().clone() for key, p in method.named_parameters() if p.requires_grad}
    optimizer = sgd(method)
    for step in range(3):
        method.progress = Progress(step, step, step / 3)
        take_step(method, make_batch(method.n_views, seed=step), optimizer)
    for key, p in method.named_parameters():
        if key in before and p.ndim > 1:
            assert not torch.equal(p, before[key]), key
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_continues_with_the_same_numbers(
    name: str, make_method: Callable, make_batch: Callable, take_step: Callable
) -> None:
    options = {"queue_start_epoch": 0} if name == "swav" else {}
    method = make_method(name, **options)
    optimizer = sgd(method)
    for step in range(2):
        method.progress = Progress(step, step, step / 4)
        take_step(method, make_batch(method.n_views, seed=step), optimizer)
    resumed = make_method(name, **options)
    with torch.no_grad():
        for p in resumed.parameters():
            p.add_(1.0)
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    progress, batch = Progress(2, 2, 0.5), make_batch(method.n_views, seed=2)
    for twin in (method, resumed):
        twin.progress = progress
    assert torch.equal(method.training_loss(batch).total, resumed.training_loss(batch).total)


@pytest.mark.parametrize("name", NAMES)
def test_project_and_embed(name: str, make_method: Callable, make_batch: Callable) -> None:
    method = make_method(name).eval()
    x = make_batch(1, n=5).views[0]
    assert method.embed(x).shape == (5, method.encoder.dim)
    assert method.project(x).shape == (5, method.config.proj_output_dim)


@pytest.mark.parametrize("name", NAMES)
def test_options_are_checked_and_described(name: str) -> None:
    cls = METHODS.get(name)
    with pytest.raises(ValidationError, match="not_an_option"):
        cls.Config(not_an_option=1)
    with pytest.raises(ValidationError):
        cls.Config(proj_output_dim=0)
    for key, field in cls.Config.model_fields.items():
        assert field.description, key
    assert cls.paper.url.startswith("https://")
    assert "References" in cls.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_default_recipe_is_complete_and_replayable(name: str) -> None:
    cls = METHODS.get(name)
    recipe = cls.default_recipe()
    assert recipe.method == name
    assert recipe.n_views == cls.n_views
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    cls.Config.model_validate(recipe.options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (32, 1), (96, 3), (96, 1)])
def test_default_views_feed_the_method(
    name: str, size: int, channels: int, make_method: Callable
) -> None:
    recipe = METHODS.get(name).default_recipe()
    views = build_views(
        recipe.views,
        image_size=size,
        channels=channels,
        mean=[0.5] * channels,
        std=[0.25] * channels,
        n_views=recipe.n_views,
        **recipe.views_options,
    )
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, channels, size, size), generator=g, dtype=torch.uint8)
    batch = Batch([view.expand(-1, 3, -1, -1) for view in views(images, g)])
    assert torch.isfinite(make_method(name).training_loss(batch).total)


@pytest.mark.parametrize("name", WITH_TARGET)
@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_target_follows_the_online_network(
    name: str,
    fraction: float,
    make_method: Callable,
    make_batch: Callable,
    take_step: Callable,
) -> None:
    method = make_method(name)
    constant = "ema" in type(method.config).model_fields
    first = method.config.ema if constant else method.config.ema_base
    last = method.config.ema if constant else method.config.ema_final
    m = first if fraction == 0 else last
    online = nn.Sequential(method.encoder, method.projector)
    start = [p.detach().clone() for p in method.target.target.parameters()]
    for p, q in zip(online.parameters(), start):
        assert torch.equal(p, q), "the target starts as a copy"
    method.progress = Progress(0, 0, fraction)
    take_step(method, make_batch(method.n_views), sgd(method))
    for p, q, now in zip(online.parameters(), start, method.target.target.parameters()):
        torch.testing.assert_close(now, m * q + (1 - m) * p)
        assert not now.requires_grad


@pytest.mark.parametrize("name", UNDEFINED_FOR_ONE)
def test_one_sample_is_refused_where_the_loss_needs_more(
    name: str, make_method: Callable, make_batch: Callable
) -> None:
    method = make_method(name).eval()  # batch norm of one sample fails before the loss does
    with pytest.raises(ValueError, match=r"at least|between|larger batch"):
        method.training_loss(make_batch(method.n_views, n=1))


@pytest.mark.parametrize("name", ["simclr", "mv-infonce", "mv-dhel", "multi-view", "cacr", "wmse"])
@pytest.mark.parametrize("n_views", [2, 3, 4])
def test_any_number_of_views(
    name: str, n_views: int, make_method: Callable, make_batch: Callable
) -> None:
    method = make_method(name)
    method.training_loss(make_batch(n_views)).total.backward()
    assert method.encoder.layers[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["byol", "dcl", "barlow-twins", "directpred", "nnclr", "moco-v3"])
def test_two_view_methods_refuse_more(
    name: str, make_method: Callable, make_batch: Callable
) -> None:
    with pytest.raises(Exception, match="takes 2 views"):
        make_method(name).training_loss(make_batch(3))
