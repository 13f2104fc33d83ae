"""Frame Projections as one module: three encoders of one window, their loss, the latent mappers."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.distributed import as_global_mean, count_rows
from tacit.encoders.base import Encoder
from tacit.encoders.heads import MLPHead
from tacit.encoders.series import LatentMapper, MappedEncoder
from tacit.errors import ConfigError
from tacit.losses import nt_xent
from tacit.views import fourier_view, morlet_scalogram


class FrameBranches(nn.Module):
    """What pre-training has beside the time encoder: the other encoders, projectors, predictors.

    Parameters
    ----------
    dim : width of the time encoder; the other encoders have the same.
    fourier, wavelet : encoders of `fourier_view` and `morlet_scalogram`; one of them may be None.
    proj_dim : width in which the loss acts, even.
    temperature : tau of the contrast.
    l1_weight : weight of the predictors' error; None is 1 / batch, as published.
    """

    def __init__(
        self,
        dim: int,
        fourier: nn.Module | None,
        wavelet: nn.Module | None,
        *,
        proj_dim: int = 128,
        temperature: float = 0.15,
        l1_weight: float | None = None,
    ) -> None:
        super().__init__()
        if fourier is None and wavelet is None:
            raise ConfigError("give a Fourier encoder, a wavelet encoder or both; both are None")
        encoders: dict[str, Any] = {"fourier": fourier, "wavelet": wavelet}
        encoders = {name: encoder for name, encoder in encoders.items() if encoder is not None}
        for name, encoder in encoders.items():
            if encoder.dim != dim:
                raise ConfigError(
                    f"the {name} encoder has {encoder.dim} features and the time encoder {dim}; "
                    "the mappers need one width for all"
                )
        self.temperature, self.l1_weight = temperature, l1_weight
        self.encoders = nn.ModuleDict(encoders)
        self.projectors = nn.ModuleDict(
            {name: MLPHead((dim, dim, proj_dim), bn=False) for name in ("time", *encoders)}
        )
        self.predictors = nn.ModuleDict({name: LatentMapper(proj_dim, 64) for name in encoders})

    def embed(
        self, x: Tensor, X_F: Tensor | None = None, X_W: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Outputs (n, dim) of the encoders that there are; spectra are computed where not given."""
        given = {"fourier": X_F, "wavelet": X_W}
        views = {"fourier": fourier_view, "wavelet": morlet_scalogram}
        out = {}
        for name, encoder in self.encoders.items():
            view = given[name]
            out[name] = encoder(views[name](x) if view is None else view)
        return out

    def loss(self, h: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and its terms from the outputs of all encoders, the time encoder's as "time"."""
        n = len(h["time"])
        batch = count_rows(n, h["time"].device).total
        if batch < 2:
            raise ValueError("a batch of one window has no negatives; use at least two")
        z = {name: F.normalize(self.projectors[name](h[name]), eps=1e-12) for name in h}
        parts = {}
        for one, two in (("time", "wavelet"), ("time", "fourier"), ("wavelet", "fourier")):
            if one in z and two in z:
                parts[f"{one}_{two}"] = nt_xent(z[one], z[two], self.temperature, gather=True)
        weight = 1 / batch if self.l1_weight is None else self.l1_weight
        total = torch.stack(list(parts.values())).sum()
        for name, predictor in self.predictors.items():
            parts[f"l1_{name}"] = as_global_mean((predictor(z["time"]) - z[name]).abs().mean(), n)
            total = total + weight * parts[f"l1_{name}"]
        return total, parts


class FrameProjectionSSL(nn.Module):
    r"""Frame Projections: one window as time series, Fourier coefficients and wavelet scalogram.

    .. math:: L = NT(z_t, z_W) + NT(z_t, z_F) + NT(z_W, z_F)
              + w \, (\overline{|\Phi_F(z_t) - z_F|} + \overline{|\Phi_W(z_t) - z_W|})

    with unit vectors z of the projectors and w = 1 / batch. Targets receive gradient too.

    Parameters
    ----------
    time_encoder, fourier_encoder, wavelet_encoder : networks of one width on (n, C, T), on
        `fourier_view` and on `morlet_scalogram`. One of the last two may be None (ablation).
    proj_dim : width of the projectors' output, even.
    temperature : tau.
    l1_weight : w; None is 1 / batch, as published.

    References
    ----------
    Demirel and Holz, "Learning Without Augmenting", NeurIPS 2025, and its official code. The
    Fourier mapper imitates the Fourier embedding (until January 2026 that code aimed it at the
    time embedding itself, a typo).

    Examples
    --------
    >>> from tacit.encoders.series import FourierEncoder, ResNet1D, ScalogramEncoder
    >>> networks = ResNet1D(1), FourierEncoder(1, 40), ScalogramEncoder(1, 48, 40)
    >>> model, x = FrameProjectionSSL(*networks), torch.randn(8, 1, 40)
    >>> sorted(model(x)["parts"])
    ['l1_fourier', 'l1_wavelet', 'time_fourier', 'time_wavelet', 'wavelet_fourier']
    >>> errors = model.fit_mappers([x], epochs=2)
    >>> model.encode(x).shape, model.encode(x, maps=False).shape
    (torch.Size([8, 384]), torch.Size([8, 128]))
    """

    def __init__(
        self,
        time_encoder: Encoder,
        fourier_encoder: nn.Module | None,
        wavelet_encoder: nn.Module | None,
        proj_dim: int = 128,
        temperature: float = 0.15,
        l1_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.branches = FrameBranches(
            time_encoder.dim,
            fourier_encoder,
            wavelet_encoder,
            proj_dim=proj_dim,
            temperature=temperature,
            l1_weight=l1_weight,
        )
        self.encoder = MappedEncoder(
            time_encoder,
            fourier=fourier_encoder is not None,
            wavelet=wavelet_encoder is not None,
        )

    def forward(
        self, x: Tensor, X_F: Tensor | None = None, X_W: Tensor | None = None
    ) -> dict[str, Any]:
        """The loss of a batch of windows (n, C, T), n >= 2: ``{"loss": ..., "parts": {...}}``.

        `X_F` (n, C, T // 2 + 1) and `X_W` (n, C, 48, T) are computed where they are not given.
        """
        h = {"time": self.encoder.time(x), **self.branches.embed(x, X_F, X_W)}
        loss, parts = self.branches.loss(h)
        return {"loss": loss, "parts": parts}

    def fit_mappers(self, loader: Iterable[Any], **options: Any) -> list[float]:
        """Fit both latent mappers on the frozen encoders; options as in `fit_mappers`.

        Parameters
        ----------
        loader : one pass over batches, each x or a tuple (x, X_F, X_W).

        Returns
        -------
        The mean error of every epoch.
        """
        return fit_mappers(self.encoder, self.branches, loader, **options)

    @torch.no_grad()
    def encode(self, x: Tensor, maps: bool = True) -> Tensor:
        """Features [map_F(h), h, map_W(h)] of windows, or h alone; always in evaluation mode.

        Raises
        ------
        RuntimeError : the mappers are asked for and not fitted yet.
        """
        if maps and not bool(self.encoder.fitted):
            raise RuntimeError(
                "the latent mappers are not fitted: call fit_mappers(loader) first, or "
                "encode(x, maps=False) for the time encoder's features alone"
            )
        was_training = self.training
        self.eval()
        try:
            return self.encoder(x) if maps else self.encoder.time(x)
        finally:
            self.train(was_training)


class Frozen(NamedTuple):
    """Outputs of the frozen encoders for all windows, and the batch size they came in."""

    outputs: dict[str, Tensor]
    batch_size: int


def fit_mappers(
    encoder: MappedEncoder,
    branches: FrameBranches,
    loader: Iterable[Any],
    *,
    epochs: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 1e-6,
    keep: Literal["last", "best"] = "last",
    seed: int = 0,
) -> list[float]:
    """Fit fresh latent mappers from the time embedding to the others, with the mean L1 distance.

    The encoders are frozen in evaluation mode, so every window is encoded once; the mappers then
    train on these embeddings (12 bytes a window and feature), in new random batches of the
    loader's size every epoch, an incomplete last one dropped.

    Parameters
    ----------
    encoder : gets the mappers; marked as fitted.
    branches : the other encoders.
    loader : one pass over batches, each x or a tuple (x, X_F, X_W).
    epochs, lr, weight_decay : of Adam, one for each mapper.
    keep : "last" are the mappers after the last epoch (official code), "best" those of the epoch
        with the lowest mean error.
    seed : of the mappers' first weights and of the order.

    Returns
    -------
    The mean of both errors in every epoch.
    """
    if epochs < 1 or keep not in ("last", "best"):
        raise ConfigError(
            f"epochs must be positive and keep 'last' or 'best', got {epochs}, {keep}"
        )
    outputs, batch_size = _freeze(encoder, branches, loader)
    h, device = outputs["time"], outputs["time"].device
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mappers = {n: LatentMapper(h.shape[1], 1).to(device) for n in outputs if n != "time"}
    optimizers = [
        torch.optim.Adam(mapper.parameters(), lr=lr, weight_decay=weight_decay)
        for mapper in mappers.values()
    ]
    errors: list[float] = []
    best = {}
    steps = max(len(h) // batch_size, 1)
    for _ in range(epochs):
        total = torch.zeros((), device=device)
        order = torch.randperm(len(h), generator=generator).to(device)
        for step in range(steps):
            index = order[step * batch_size : (step + 1) * batch_size]
            losses = [F.l1_loss(m(h[index]), outputs[n][index]) for n, m in mappers.items()]
            for optimizer, loss in zip(optimizers, losses):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
        errors.append(float(total) / (steps * len(mappers)))
        if keep == "best" and errors[-1] == min(errors):
            best = {name: copy.deepcopy(m.state_dict()) for name, m in mappers.items()}
    for name, mapper in mappers.items():
        target = getattr(encoder, f"map_{name}")
        target.load_state_dict(best.get(name) or mapper.state_dict())
    encoder.fitted.fill_(True)
    return errors


@torch.no_grad()
def _freeze(encoder: MappedEncoder, branches: FrameBranches, loader: Iterable[Any]) -> Frozen:
    modes = encoder.training, branches.training
    encoder.eval(), branches.eval()
    collected: dict[str, list[Tensor]] = {}
    for batch in loader:
        x, *spectra = batch if isinstance(batch, tuple | list) else (batch,)
        for name, h in {"time": encoder.time(x), **branches.embed(x, *spectra)}.items():
            collected.setdefault(name, []).append(h.float())
    encoder.train(modes[0]), branches.train(modes[1])
    if not collected:
        raise ValueError("there is no batch to fit the mappers on")
    size = max(len(h) for h in collected["time"])
    return Frozen({name: torch.cat(parts) for name, parts in collected.items()}, size)
