"""Frame Projections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from tacit.distributed import all_reduce_mean
from tacit.encoders import Encoder
from tacit.encoders.series import FourierEncoder, MappedEncoder, ScalogramEncoder
from tacit.errors import ConfigError
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.methods.contrastive._frames import FrameBranches, fit_mappers
from tacit.parts import BestEpoch
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig
from tacit.views.spectral import default_scales


class FrameProjections(Method):
    """A window must be recognised across time series, Fourier coefficients and wavelet scalogram.

    L = NT(z_t, z_W) + NT(z_t, z_F) + NT(z_W, z_F) + (1/B) (|Phi_F(z_t) - z_F| + |Phi_W(z_t) - z_W|)

    NT is NT-Xent over both views. No augmentation: the three views are the same window in another
    basis. After training, two small mappers learn to say from the time embedding what the other
    encoders would say; the exported encoder gives [Fourier-mapped, time, wavelet-mapped].

    The encoder is ``mapped:NAME``, for instance ``mapped:tcn``; its options ``fourier=false`` or
    ``wavelet=false`` leave that view out. Windows need a length divisible by 4, at least 32.

    References
    ----------
    Demirel and Holz, 2025, and the official code: its loss divides the distances, an L1 with
    weight 1 in the paper, by the batch size (`l1_weight=1` is the paper's); it keeps the networks
    of the epoch with the lowest training loss, but the mappers of the last. The Fourier mapper has
    the corrected target.
    """

    paper = Paper(
        "Learning Without Augmenting: Unsupervised Time Series Representation Learning via Frame "
        "Projections",
        "Demirel, Holz",
        2025,
        "https://arxiv.org/abs/2510.22655",
    )
    modalities: ClassVar[tuple[str, ...]] = ("series",)
    n_views = 1
    in_pieces = False

    class Config(Method.Config):
        temperature: float = Field(0.15, gt=0, description="tau of the contrast")
        l1_weight: float | None = Field(
            None, ge=0, description="weight of the predictors' distances; null: 1 / batch"
        )
        proj_dim: int = Field(128, ge=2, multiple_of=2, description="width of the projectors")
        wavelet_width: int = Field(
            32, ge=1, description="base width of the scalogram's encoder; 8 is 16 times cheaper"
        )
        checkpoint: Literal["best", "last"] = Field(
            "best", description="weights of the epoch with the lowest mean loss, or the last ones"
        )
        mapper_epochs: int | None = Field(
            None, ge=1, description="epochs of the mappers; null: as many as were trained"
        )
        mapper_lr: float = Field(1e-3, gt=0, description="learning rate of the mappers")
        mapper_weight_decay: float = Field(1e-6, ge=0, description="weight decay of the mappers")
        mapper_keep: Literal["last", "best"] = Field("last", description="which epoch's mappers")

    encoder: MappedEncoder

    def __init__(self, encoder: Encoder, config: Any) -> None:
        if not isinstance(encoder, MappedEncoder) or encoder.length is None:
            raise ConfigError(
                "frame-projections exports a time encoder with latent mappers, for series of a "
                "known length: name it with --encoder mapped:NAME, for instance mapped:resnet1d "
                "(in Python: MappedEncoder(encoder, length))"
            )
        super().__init__(encoder, config)
        for mapper in (encoder.map_fourier, encoder.map_wavelet):
            if mapper is not None:
                mapper.requires_grad_(False)  # fitted after training, on their own
        channels, length, dim = encoder.in_channels, encoder.length, encoder.time.dim
        if dim % 8:
            raise ConfigError(f"frame-projections needs a width divisible by 8, got {dim}")
        width = config.wavelet_width
        out_dim = None if 4 * width == dim else dim
        self.branches = FrameBranches(
            dim,
            FourierEncoder(channels, length, base=dim // 8) if encoder.map_fourier else None,
            ScalogramEncoder(channels, len(default_scales()), length, width, out_dim=out_dim)
            if encoder.map_wavelet
            else None,
            proj_dim=config.proj_dim,
            temperature=config.temperature,
            l1_weight=config.l1_weight,
        )

        self.best = BestEpoch()

    def project(self, x: Tensor) -> Tensor:
        return self.branches.projectors["time"](self.encoder.time(x))

    def embed(self, x: Tensor) -> Tensor:
        """The exported features; the time encoder's alone until the mappers are fitted."""
        return self.encoder(x) if bool(self.encoder.fitted) else self.encoder.time(x)

    def training_loss(self, batch: Batch) -> Losses:
        (x,) = batch.views
        h = {"time": self.encoder.time(x), **self.branches.embed(x)}
        total, parts = self.branches.loss(h)
        if self.training and self.config.checkpoint == "best":
            self.best.watch(self._trained, all_reduce_mean(total), self.progress.epoch)
        return Losses(total, parts)

    @property
    def _trained(self) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": self.encoder, "branches": self.branches})

    def finish(self, batches: Callable[[], Iterator[Batch]]) -> None:
        if self.config.checkpoint == "best":
            self.best.restore(self._trained)
        fit_mappers(
            self.encoder,
            self.branches,
            (batch.views[0] for batch in batches()),
            epochs=self.config.mapper_epochs or self.progress.epoch + 1,
            lr=self.config.mapper_lr,
            weight_decay=self.config.mapper_weight_decay,
            keep=self.config.mapper_keep,
        )

    @classmethod
    def default_recipe(cls, modality: str = "series") -> Recipe:
        adam = OptimizerConfig(
            name="adam", lr=1e-3, scale_lr=False, weight_decay=1e-6, decay_all=True
        )
        return Recipe(
            method="frame-projections",
            modality="series",
            encoder="mapped:resnet1d",
            views="none",
            n_views=1,
            batch_size=None,  # up to 256 windows; 512 and 1024 in the paper
            optimizer=adam,
            schedule=ScheduleConfig(name="cosine", warmup=0.0),
            epochs=256,
        )
