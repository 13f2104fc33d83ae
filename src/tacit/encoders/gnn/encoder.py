"""The graph encoder: layers of one kind with normalisation and activation between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from torch import Tensor, nn

from tacit.data.graph_batch import GraphBatch
from tacit.encoders.base import Encoder
from tacit.encoders.base import Features as Output
from tacit.errors import ConfigError, did_you_mean

from .adjacency import Adjacency
from .attention import DotGATConv, GATConv
from .convs import GCNConv, GINConv, SAGEConv, residual_branch
from .pool import Pooling, global_pool
from .sparse import Features, as_features

Kind = Literal["gat", "dotgat", "gcn", "gin", "sage"]
KINDS = ("gat", "dotgat", "gcn", "gin", "sage")
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layernorm": nn.LayerNorm,
    "batchnorm": nn.BatchNorm1d,
}


def build_conv(
    kind: Kind,
    in_dim: int,
    out_dim: int,
    *,
    heads: int = 1,
    norm: str | None = None,
    act: str = "prelu",
    residual: bool = False,
    feat_drop: float = 0.0,
    attn_drop: float = 0.0,
    negative_slope: float = 0.2,
    hidden_dim: int | None = None,
    scale_bias: bool = True,
    init: Literal["linear", "glorot"] = "linear",
) -> nn.Module:
    """One layer of a kind; `out_dim` is the width of its whole output, all heads together.

    >>> build_conv("gat", 8, 12, heads=3).out_dim
    4
    """
    _known("kind of graph layer", kind, KINDS)
    if kind in ("gat", "dotgat"):
        if out_dim % heads:
            raise ConfigError(f"the width {out_dim} is not divisible by {heads} heads")
        size = out_dim // heads
        if kind == "dotgat":
            return DotGATConv(
                in_dim, size, heads, residual=residual, feat_drop=feat_drop, attn_drop=attn_drop
            )
        return GATConv(
            in_dim,
            size,
            heads,
            residual=residual,
            feat_drop=feat_drop,
            attn_drop=attn_drop,
            negative_slope=negative_slope,
        )
    if kind == "gin":
        inner = hidden_dim or out_dim
        return GINConv(
            in_dim,
            out_dim,
            hidden_dim=inner,
            norm=build_norm(norm, inner),
            act=build_act(act),
            feat_drop=feat_drop,
        )
    if kind == "gcn":
        return GCNConv(
            in_dim,
            out_dim,
            feat_drop=feat_drop,
            residual=residual,
            scale_bias=scale_bias,
            init=init,
        )
    return SAGEConv(in_dim, out_dim, feat_drop=feat_drop)


def build_norm(name: str | None, width: int) -> nn.Module:
    """Normalisation by name; None is the identity."""
    if name is None:
        return nn.Identity()
    _known("normalisation", name, NORMS)
    return NORMS[name](width)


def build_act(name: str) -> nn.Module:
    """Activation by name."""
    _known("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def _known(what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        raise ConfigError(
            f"there is no {what} '{name}'.{did_you_mean(name, names)} Known: {', '.join(names)}."
        )


class GNNEncoder(Encoder):
    """L graph layers, each: dropout - layer - (residual) - norm - activation.

    As in the official GraphMAE: every layer, the last too, has all heads, norm and activation;
    but a one-layer GAT and the last GIN layer without normalisation end without activation. The
    residual of GIN is added after the activation.

    Parameters
    ----------
    kind : "gat", "dotgat", "gcn", "gin" or "sage" (GraphSAGE with mean).
    in_dim : features of a node.
    hidden : width of every layer's output (all heads together).
    layers, heads : numbers of layers and of attention heads; `hidden` is divisible by `heads`.
    norm : None, "layernorm" or "batchnorm".
    residual : add each layer's input (GraphSAGE has its own: ignored there).
    act : "prelu", "relu", "elu" or "gelu".
    feat_drop, attn_drop : dropout of each layer's input and of the attention weights.
    scale_bias, init : of GCN layers, see `GCNConv`.
    pool : how a batch of graphs becomes one vector a graph.

    Raises
    ------
    ConfigError : an unknown name (with a suggestion), widths that do not divide.

    >>> import torch
    >>> encoder = GNNEncoder("gat", in_dim=3, hidden=8, heads=2)
    >>> encoder(torch.eye(3), torch.arange(3).expand(2, 3)).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        kind: Kind,
        in_dim: int,
        hidden: int = 512,
        layers: int = 2,
        heads: int = 4,
        norm: str | None = None,
        residual: bool = False,
        act: str = "prelu",
        feat_drop: float = 0.2,
        attn_drop: float = 0.1,
        *,
        negative_slope: float = 0.2,
        scale_bias: bool = True,
        init: Literal["linear", "glorot"] = "linear",
        pool: Pooling = "mean",
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"a graph encoder needs at least 1 layer, not {layers}")
        self.kind, self.in_dim, self.in_channels, self.dim = kind, in_dim, in_dim, hidden
        self.heads, self.norm, self.act, self.pool = heads, norm, act, pool
        self.feat_drop, self.attn_drop = feat_drop, attn_drop
        self.negative_slope = negative_slope
        self.convs, self.norms, self.acts = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.residuals = nn.ModuleList()
        for layer in range(layers):
            width = in_dim if layer == 0 else hidden
            self.convs.append(
                build_conv(
                    kind,
                    width,
                    hidden,
                    heads=heads,
                    norm=norm,
                    act=act,
                    residual=residual,
                    feat_drop=feat_drop,
                    attn_drop=attn_drop,
                    negative_slope=negative_slope,
                    scale_bias=scale_bias,
                    init=init,
                )
            )
            bare_gin = kind == "gin" and norm is None and layer == layers - 1
            bare = bare_gin or (kind in ("gat", "dotgat") and layers == 1)
            self.norms.append(build_norm(norm, hidden))
            self.acts.append(nn.Identity() if bare else build_act(act))
            outer = residual_branch(width, hidden, residual and kind == "gin")
            self.residuals.append(nn.Identity() if outer is None else outer)
        self.outer_residual = residual and kind == "gin"

    def hidden_states(self, x: Features, edge_index: Tensor | Adjacency) -> list[Tensor]:
        """The output (N, hidden) of every layer."""
        h: Features = as_features(x)
        if isinstance(h, Tensor) and not h.is_floating_point():
            raise ValueError(
                f"features must be floating point, not {h.dtype}; categories such as atom types "
                "need the encoder 'molecule', or one-hot columns"
            )
        adjacency = Adjacency.build(edge_index, h.shape[0])
        states: list[Tensor] = []
        for conv, norm, act, residual in zip(
            self.convs, self.norms, self.acts, self.residuals, strict=True
        ):
            out = act(norm(conv(h, adjacency)))
            if self.outer_residual:
                out = out + residual(h if isinstance(h, Tensor) else h.to_dense())
            states.append(out)
            h = out
        return states

    def nodes(self, x: Features, edge_index: Tensor | Adjacency) -> Tensor:
        """Node vectors (N, hidden) of the last layer."""
        return self.hidden_states(x, edge_index)[-1]

    def features(self, x: GraphBatch) -> Output:  # type: ignore[override]
        """Pooled vectors of graphs, or the vectors of the nodes that are the samples."""
        h = self.nodes(x.x, x.edge_index)
        if x.batch is not None:
            return Output(global_pool(h, x.batch, self.pool, len(x)))
        return Output(h if x.seeds is None else h[x.seeds])

    def forward(  # type: ignore[override]
        self, x: GraphBatch | Features, edge_index: Tensor | Adjacency | None = None
    ) -> Tensor:
        """A `GraphBatch` -> (len(batch), dim); features and edges -> node vectors (N, dim)."""
        if isinstance(x, GraphBatch):
            return self.features(x).pooled
        if edge_index is None:
            raise ValueError("give edge_index (2, E) with the features, or one GraphBatch")
        return self.nodes(x, edge_index)
