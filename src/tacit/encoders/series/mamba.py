"""The selective state-space (Mamba) block, and an encoder of series made of it."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tacit.encoders.base import Features
from tacit.encoders.series.base import SeriesEncoder
from tacit.encoders.series.scan import parallel_scan, sequential_scan
from tacit.errors import ConfigError

_SCANS = {"parallel": parallel_scan, "sequential": sequential_scan}


def selective_scan(
    u: Float[Tensor, "batch time inner"],
    dt: Float[Tensor, "batch time inner"],
    A: Float[Tensor, "inner state"],
    B: Float[Tensor, "batch time state"],
    C: Float[Tensor, "batch time state"],
    D: Float[Tensor, " inner"],
    *,
    scan: Literal["parallel", "sequential"] = "parallel",
) -> Float[Tensor, "batch time inner"]:
    r"""A linear state-space model whose step, input and output depend on the input.

    .. math:: h_t = e^{\Delta_t A} h_{t-1} + \Delta_t B_t u_t, \quad y_t = C_t h_t + D u_t

    Parameters
    ----------
    u : the input.
    dt : step sizes, > 0.
    A : of the states, < 0 for a stable model; diagonal.
    B, C, D : of the input, the output, and the direct way.
    scan : the recurrence at once ("parallel"), or step by step ("sequential"); equal up to
        rounding.

    References
    ----------
    Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
    algorithm 2 (the official code's simplified discretisation of B).

    >>> one = torch.ones(1, 3, 1)
    >>> y = selective_scan(one, one, torch.tensor([[-0.6931472]]), one, one, torch.zeros(1))
    >>> y.flatten()  # every step halves the state and adds 1
    tensor([1.0000, 1.5000, 1.7500])
    """
    if scan not in _SCANS:
        raise ConfigError(f"scan must be 'parallel' or 'sequential', got {scan!r}")
    decay = torch.exp(dt[..., None] * A)
    h = _SCANS[scan](decay, (dt * u)[..., None] * B[:, :, None])
    return torch.einsum("btds,bts->btd", h, C) + D * u


class MambaBlock(nn.Module):
    """Gated selective state-space layer; causal; (n, T, d_model) to the same shape.

    [u, z] = W_in x; u = SiLU(causal depthwise convolution of u); (r, B, C) = W_x u;
    dt = softplus(W_dt r + b_dt); y = `selective_scan`(u, dt, -exp(A_log), B, C, D);
    out = W_out (y SiLU(z)). No residual and no norm around it.

    Parameters
    ----------
    d_model : width.
    d_state : states a channel.
    d_conv : steps that the convolution sees.
    expand : inner width / width.
    scan : "parallel" or "sequential".

    Notes
    -----
    The names of the weights are those of the `mamba_ssm` package, whose weights can be loaded.

    Raises
    ------
    ConfigError : a size below 1, or an unknown scan.

    References
    ----------
    Gu and Dao, "Mamba", 2023, section 3.4 and figure 3.

    Examples
    --------
    >>> MambaBlock(8)(torch.zeros(2, 20, 8)).shape
    torch.Size([2, 20, 8])
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        *,
        scan: Literal["parallel", "sequential"] = "parallel",
    ) -> None:
        super().__init__()
        if min(d_model, d_state, d_conv, expand) < 1 or scan not in _SCANS:
            raise ConfigError(
                f"a MambaBlock needs sizes of at least 1 and scan 'parallel' or 'sequential', got "
                f"d_model {d_model}, d_state {d_state}, d_conv {d_conv}, expand {expand}, "
                f"scan {scan!r}"
            )
        inner, rank = expand * d_model, math.ceil(d_model / 16)
        self.d_model, self.d_state, self.dt_rank, self.scan = d_model, d_state, rank, scan
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        low, high = math.log(1e-3), math.log(0.1)
        dt = torch.exp(torch.rand(inner) * (high - low) + low).clamp_min(1e-4)
        with torch.no_grad():  # the inverse of softplus: initial steps are log-uniform
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        if x.ndim != 3 or x.shape[2] != self.d_model or x.shape[1] == 0:
            raise ValueError(f"expected (n, T >= 1, {self.d_model}), got {tuple(x.shape)}")
        u, z = self.in_proj(x).chunk(2, dim=-1)
        # padded on both sides, cut at the end: causal
        u = F.silu(self.conv1d(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        sizes = (self.dt_rank, self.d_state, self.d_state)
        rank, B, C = self.x_proj(u).split(sizes, dim=-1)
        dt = F.softplus(self.dt_proj(rank))
        y = selective_scan(u, dt, -torch.exp(self.A_log), B, C, self.D, scan=self.scan)
        return self.out_proj(y * F.silu(z))


class MambaEncoder(SeriesEncoder):
    """Residual pre-norm Mamba blocks over patches of all channels; the mean of the outputs.

    A series that is not a whole number of patches is padded with zeros at the end.

    Parameters
    ----------
    in_channels : channels of the series.
    patch : time steps in a token.
    dim, depth, d_state : width, blocks, states a channel.

    Raises
    ------
    ConfigError : a size below 1.

    References
    ----------
    Gu and Dao, "Mamba", 2023.

    Examples
    --------
    >>> MambaEncoder(3, depth=1).features(torch.zeros(2, 3, 50)).patches.shape
    torch.Size([2, 7, 128])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        patch: int = 8,
        dim: int = 128,
        depth: int = 2,
        d_state: int = 16,
    ) -> None:
        super().__init__()
        if min(in_channels, patch, dim, depth, d_state) < 1:
            raise ConfigError(
                f"a MambaEncoder needs sizes of at least 1, got channels {in_channels}, patch "
                f"{patch}, dim {dim}, depth {depth}, d_state {d_state}"
            )
        self.in_channels, self.dim, self.patch = in_channels, dim, patch
        self.embed = nn.Conv1d(in_channels, dim, patch, patch)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.blocks = nn.ModuleList(MambaBlock(dim, d_state) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def features(self, x: Float[Tensor, "batch channels time"]) -> Features:  # type: ignore[override]
        self.check_series(x)
        tokens = self.embed(F.pad(x, (0, -x.shape[-1] % self.patch))).transpose(1, 2)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            tokens = tokens + block(norm(tokens))
        tokens = self.norm(tokens)
        return Features(tokens.mean(1), tokens, (tokens.shape[1],))
