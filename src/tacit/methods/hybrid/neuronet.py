"""NeuroNet: masked prediction and contrast of two masks, on one channel."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from tacit.distributed import as_global_mean, count_rows
from tacit.encoders import Encoder
from tacit.encoders.heads import MLPHead
from tacit.encoders.masked import TokenDecoder
from tacit.encoders.series.frame_transformer import FrameTransformer, check_pool, pool_tokens
from tacit.errors import ConfigError, did_you_mean
from tacit.losses import masked_mse, nt_xent, pair_accuracy
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.parts import SharedGenerator
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig
from tacit.views.masking import visible_count


class Preset(NamedTuple):
    """Sizes of encoder and decoder."""

    dim: int
    heads: int
    depth: int
    dec_dim: int
    dec_heads: int
    dec_depth: int


PRESETS = {"T": Preset(512, 8, 4, 192, 8, 1), "B": Preset(768, 8, 4, 256, 8, 3)}


class NeuroNetMethod(Method):
    """Predict the embeddings of hidden frames, and recognise an epoch behind two random masks.

    The frames f of a series are embedded once. Two independent masks, each hiding a part of the
    frames, give two passes through the same transformer: each predicts the hidden f from the
    visible ones, and the class tokens of the two are pulled together.

    L = R(p1, f, m1) + R(p2, f, m2) + alpha NT-Xent(u1, u2), R the mean squared error of the hidden
    frames, u the projected class tokens. f is not detached, as in the official code: a constant f
    would make R zero, which only the contrast prevents; `detach_target` does.

    The encoder is a `FrameTransformer` of one channel: `neuronet_t` (NeuroNet-T), or `neuronet_b`
    (NeuroNet-B; its decoder follows). Signals should be around one in size, not volts.

    References
    ----------
    Lee et al., 2024, and its official code.
    """

    paper = Paper(
        "NeuroNet: A Novel Hybrid Self-Supervised Learning Framework for Sleep Stage "
        "Classification Using Single-Channel EEG",
        "Lee, Kim, Han, Jung, Yoon, Kim",
        2024,
        "https://arxiv.org/abs/2404.17585",
    )
    modalities = ("series",)
    n_views = 1
    in_pieces = False

    class Config(Method.Config):
        mask_ratio: float = Field(0.8, ge=0, lt=1, description="share of hidden frames")
        temperature: float = Field(0.05, gt=0, description="tau of the contrast")
        alpha: float = Field(1.0, ge=0, description="weight of the contrast; 0: prediction only")
        recon_weight: float = Field(1.0, ge=0, description="weight of the prediction; 0: none")
        detach_target: bool = Field(False, description="no gradient into the predicted frames")
        norm_target: bool = Field(False, description="standardise every predicted frame")
        dec_dim: int | None = Field(
            None, ge=4, description="decoder width; null: 192 (T) or 256 (encoder of 768: B)"
        )
        dec_heads: int = Field(8, ge=1, description="attention heads of the decoder")
        dec_depth: int | None = Field(
            None, ge=1, description="blocks of the decoder; null: 1 (T) or 3 (B)"
        )
        proj_hidden_dim: int = Field(1024, ge=1, description="hidden width of the projector")
        proj_output_dim: int = Field(512, ge=1, description="output width of the projector")

    encoder: FrameTransformer

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__(encoder, config)
        if not isinstance(encoder, FrameTransformer):
            raise ConfigError(
                f"neuronet hides frames of its own encoder, 'neuronet_t' or 'neuronet_b' (class "
                f"FrameTransformer); got {type(encoder).__name__}"
            )
        try:
            visible_count(encoder.n_frames, config.mask_ratio)
        except ValueError as error:
            raise ConfigError(f"mask_ratio: {error}") from None
        default = PRESETS["B" if encoder.dim == PRESETS["B"].dim else "T"]
        self.decoder = TokenDecoder(
            encoder.dim,
            encoder.cnn.dim,
            encoder.n_frames,
            config.dec_dim or default.dec_dim,
            config.dec_heads,
            config.dec_depth or default.dec_depth,
        )
        dims = (encoder.dim, config.proj_hidden_dim, config.proj_output_dim)
        self.projector = MLPHead(dims, bias=True, activation="elu")
        self.masks = SharedGenerator()

    def draw_noise(self, n: int) -> Float[Tensor, "2 batch frames"]:
        """What decides the two masks; drawn for the samples of all processes."""
        rows = count_rows(n, next(self.parameters()).device)
        noise = torch.rand(rows.total, 2, self.encoder.n_frames, generator=self.masks.next())
        return noise[rows.own].transpose(0, 1)

    def terms(
        self, x: Float[Tensor, "batch 1 time"], noise: Float[Tensor, "2 batch frames"] | None = None
    ) -> dict[str, Tensor]:
        """`loss`, `recon` (sum of both branches), `contrastive` and `acc`.

        Parameters
        ----------
        x : (n, 1, T) one channel.
        noise : (2, n, frames) that decides the masks; drawn where None.

        Raises
        ------
        ValueError : wrong shape, non-finite values, or one sample in training (batch norm).
        """
        if not bool(torch.isfinite(x).all()):
            raise ValueError("the series have NaN or infinite values; remove or interpolate them")
        if self.training and len(x) < 2:
            raise ValueError("training needs batches of at least 2 series (batch norm); got 1")
        c = self.config
        frames = self.encoder.frames(x)
        target = frames.detach() if c.detach_target else frames
        recon, u = x.new_zeros(()), []
        for branch in self.draw_noise(len(x)) if noise is None else noise:
            latent, mask, restore = self.encoder.tokens.masked(frames, c.mask_ratio, branch)
            u.append(self.projector(latent[:, 0]))
            if c.recon_weight > 0:
                prediction = self.decoder(latent, restore)
                recon = recon + masked_mse(prediction, target, mask, c.norm_target)
        recon = as_global_mean(recon, len(x))  # every sample has as many hidden frames
        contrast = nt_xent(u[0], u[1], c.temperature, gather=True)
        return {
            "loss": c.recon_weight * recon + c.alpha * contrast,
            "recon": recon,
            "contrastive": contrast,
            "acc": pair_accuracy(u[0], u[1], gather=True),
        }

    def training_loss(self, batch: Batch) -> Losses:
        parts = self.terms(batch.views[0])
        return Losses(parts.pop("loss"), parts)

    def project(self, x: Tensor) -> Tensor:
        return self.projector(self.encoder.tokens(self.encoder.frames(x))[:, 0])

    @classmethod
    def default_recipe(cls, modality: str = "series") -> Recipe:
        return Recipe(
            method="neuronet",
            modality="series",
            encoder="neuronet_t",
            views="none",
            n_views=1,
            batch_size=None,  # 256, or all where there are fewer
            epochs=30,
            optimizer=OptimizerConfig(
                name="adamw", lr=1e-5, scale_lr=True, weight_decay=0.01, decay_all=True
            ),
            schedule=ScheduleConfig(name="cosine", warmup=0.0),
        )


class NeuroNet(nn.Module):
    """NeuroNet by itself: encoder, decoder, projector and loss, for a training loop of your own.

    Parameters
    ----------
    fs, second : samples a second, and seconds of a series.
    window_s, step_s : seconds of a frame, and from frame to frame.
    preset : "T", "B", or the six sizes as a `Preset`.
    proj : hidden and output width of the projector.
    temperature, mask_ratio, alpha, detach_target : as in `NeuroNetMethod.Config`.
    options : its other fields, for instance `norm_target` or `recon_weight`.

    Raises
    ------
    ConfigError : unknown preset, or a size out of range. ValueError : (forward) wrong shape,
        non-finite values, or one sample in training.

    References
    ----------
    Lee et al., 2024, and its official code.

    Examples
    --------
    >>> net = NeuroNet(100, 9, 3.0, 0.75, preset=Preset(32, 4, 1, 16, 2, 1), proj=(32, 16))
    >>> x = torch.randn(4, 900)
    >>> sorted(net(x)), net.encode(x, pool="cls").shape
    (['acc', 'contrastive', 'loss', 'recon'], torch.Size([4, 32]))
    """

    def __init__(
        self,
        fs: float = 100,
        second: float = 30,
        window_s: float = 3.0,
        step_s: float = 0.375,
        preset: str | Preset = "T",
        proj: tuple[int, int] = (1024, 512),
        temperature: float = 0.05,
        mask_ratio: float = 0.8,
        alpha: float = 1.0,
        detach_target: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if isinstance(preset, str):
            if preset not in PRESETS:
                raise ConfigError(
                    f"unknown preset '{preset}'.{did_you_mean(preset, PRESETS)} "
                    f"Known: {', '.join(PRESETS)}"
                )
            preset = PRESETS[preset]
        dim, heads, depth, dec_dim, dec_heads, dec_depth = preset
        encoder = FrameTransformer(
            1,
            int(fs * second),
            rate=fs,
            window_s=window_s,
            step_s=step_s,
            dim=dim,
            heads=heads,
            depth=depth,
        )
        hidden, out = proj
        config = NeuroNetMethod.Config(
            mask_ratio=mask_ratio,
            temperature=temperature,
            alpha=alpha,
            detach_target=detach_target,
            dec_dim=dec_dim,
            dec_heads=dec_heads,
            dec_depth=dec_depth,
            proj_hidden_dim=hidden,
            proj_output_dim=out,
            **options,
        )
        self.method = NeuroNetMethod(encoder, config)

    @property
    def encoder(self) -> FrameTransformer:
        """The network that is kept after pre-training; it reads (n, 1, T)."""
        return self.method.encoder

    def forward(
        self, x: Float[Tensor, "batch time"], noise: Float[Tensor, "2 batch frames"] | None = None
    ) -> dict[str, Tensor]:
        """`loss`, `recon`, `contrastive` and `acc` of series (n, T) or (n, 1, T)."""
        return self.method.terms(_channel(x), noise)

    def encode(
        self, x: Float[Tensor, "batch time"], pool: str = "mean"
    ) -> Float[Tensor, "batch dim"]:
        """Features without masking: the mean of the frame tokens, or the class token ("cls")."""
        check_pool(pool)
        return pool_tokens(self.encoder.tokens(self.encoder.frames(_channel(x))), pool)


def _channel(x: Tensor) -> Tensor:
    return x[:, None] if x.ndim == 2 else x
