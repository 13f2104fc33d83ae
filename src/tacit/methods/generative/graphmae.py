"""GraphMAE: masked graph autoencoder."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tacit.data.graph_batch import GraphBatch
from tacit.distributed import as_global_mean
from tacit.encoders.gnn import Adjacency, GATConv, GNNEncoder, SparseRows, build_conv
from tacit.encoders.gnn.sparse import Features, as_features
from tacit.errors import ConfigError
from tacit.losses import linear_scaled_cosine_error, scaled_cosine_error
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.methods.generative._graphmae_presets import PRESETS, preset
from tacit.recipe import Recipe
from tacit.views.graph import MaskedNodes, draw_masked_nodes, drop_edges

DRAWS = 100  # of masks, until one hides a sample
IN_ORDER = ("mask_rate", "replace_rate", "drop_edge_rate", "loss", "alpha")  # after the width


class GraphMAE(Method):
    """Hide the features of random nodes and rebuild them from the codes of their neighbours.

    h = f(corrupted x), r = B h with r_i = 0 again for every hidden node i, z = g(r), g one graph
    layer; L = (1/M) sum over the M hidden nodes of (1 - cos(z_i, x_i))^alpha.

    Sampled subgraphs are corrupted whole, but scored on the hidden nodes among the samples, whose
    neighbourhood is there. The mask is drawn over the whole batch of graphs, not per graph.
    Default options, encoder and recipe are the published ones of Cora; `preset_recipe(NAME)` has
    those of the other data sets.

    References
    ----------
    Hou et al., 2022, eq. 1-3; official code for the counts of masked nodes, the decoder on the full
    graph and the order of layers.

    >>> encoder = GNNEncoder("gat", in_dim=3, hidden=8, heads=2)
    >>> model = GraphMAE(encoder, mask_rate=0.5)
    >>> x, loops = torch.eye(3), torch.arange(3).expand(2, 3)
    >>> model(x, loops).shape, model.embed(x, loops).shape
    (torch.Size([]), torch.Size([3, 8]))
    """

    paper = Paper(
        "GraphMAE: Self-Supervised Masked Graph Autoencoders",
        "Hou, Liu, Cen, Dong, Yang, Wang, Tang",
        2022,
        "https://arxiv.org/abs/2205.10803",
    )
    modalities: ClassVar[tuple[str, ...]] = ("graph",)
    n_views: ClassVar[int] = 1
    in_pieces: ClassVar[bool] = False

    class Config(Method.Config):
        decoder_kind: Literal["gat", "dotgat", "gcn", "gin", "mlp", "linear"] = Field(
            "gat", description="one graph layer, or a map of each node's own code"
        )
        mask_rate: float = Field(0.5, gt=0, lt=1, description="share of hidden nodes")
        replace_rate: float = Field(
            0.05, ge=0, le=1, description="share of those that show another node's features"
        )
        drop_edge_rate: float = Field(0.0, ge=0, lt=1, description="edges dropped for the encoder")
        loss: Literal["sce", "mse"] = Field("sce", description="scaled cosine or squared error")
        alpha: float = Field(3.0, ge=1, description="exponent of the cosine error (paper: gamma)")
        remask: bool = Field(True, description="hide the codes of hidden nodes from the decoder")
        concat_hidden: bool = Field(False, description="decode the outputs of all layers")
        decode_dropped: bool = Field(
            False, description="decode on the graph with dropped edges (official PyG branch)"
        )

    def __init__(
        self,
        encoder: GNNEncoder,
        config: Any = None,
        in_dim: int | None = None,
        *in_order: Any,
        **options: Any,
    ) -> None:
        named = dict(zip(IN_ORDER, in_order))
        if len(in_order) > len(IN_ORDER) or named.keys() & options.keys():
            raise TypeError(
                f"GraphMAE takes at most {', '.join(IN_ORDER)} in this order after in_dim, and "
                "each option once"
            )
        options |= named
        if isinstance(config, str):  # GraphMAE(encoder, "gat", in_dim, mask_rate, ...)
            options, config = {"decoder_kind": config, **options}, None
        if not isinstance(encoder, GNNEncoder):
            raise ConfigError(
                f"graphmae needs an encoder of class GNNEncoder (gat, gcn, gin ...), not "
                f"{type(encoder).__name__}"
            )
        config = self.Config(**options) if config is None else config
        super().__init__(encoder, config)
        if in_dim is not None and in_dim != encoder.in_dim:
            raise ValueError(f"in_dim {in_dim} differs from the encoder's {encoder.in_dim}")
        width, kind = encoder.dim, config.decoder_kind
        layers = len(encoder.convs) if config.concat_hidden else 1
        self.token = nn.Parameter(torch.zeros(encoder.in_dim))
        self.bridge = nn.Linear(layers * width, width, bias=False)
        self.graph_decoder = kind not in ("mlp", "linear")
        self._kept: tuple[Tensor, int, Adjacency] | None = None
        self.decoder: nn.Module
        if kind == "mlp":
            self.decoder = nn.Sequential(
                nn.Linear(width, width),
                nn.PReLU(),
                nn.Dropout(0.2),
                nn.Linear(width, encoder.in_dim),
            )
        elif kind == "linear":
            self.decoder = nn.Linear(width, encoder.in_dim)
        else:
            self.decoder = build_conv(
                kind,
                width,
                encoder.in_dim,
                norm=encoder.norm,
                act=encoder.act,
                feat_drop=encoder.feat_drop,
                attn_drop=encoder.attn_drop,
                negative_slope=encoder.negative_slope,
                hidden_dim=width,
            )

    def training_loss(self, batch: Batch) -> Losses:
        graph: GraphBatch = batch.views[0]  # type: ignore[assignment]
        return Losses(self._loss(graph.x, graph.edge_index, graph.seeds, graph.batch is None))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        """The loss of one graph, or of a disjoint union of graphs.

        Parameters
        ----------
        x : (N, F) features, dense or torch sparse.
        edge_index : (2, E) with self-loops.
        batch : (N,) graph of every node; the mask is over all nodes, so it changes nothing.
        """
        return self._loss(x, edge_index)

    def _loss(
        self,
        x: Features,
        edge_index: Tensor,
        seeds: Tensor | None = None,
        samples_are_nodes: bool = True,
    ) -> Tensor:
        c = self.config
        x = as_features(x)
        n = x.shape[0]
        nodes, rows = self._draw(n, x.device, seeds if samples_are_nodes else None)
        full = self._adjacency(edge_index, n)
        seen = self._dropped(edge_index, n) if c.drop_edge_rate else full
        states = self.encoder.hidden_states(self._corrupted(x, nodes), seen)  # type: ignore[operator]
        h = torch.cat(states, dim=1) if c.concat_hidden else states[-1]
        error = self._error(h, x, seen if c.decode_dropped else full, nodes.masked, rows)
        return as_global_mean(error, len(rows))

    def _draw(
        self, n: int, device: torch.device, seeds: Tensor | None
    ) -> tuple[MaskedNodes, Tensor]:
        """Masked nodes, and those that are scored: of a sampled subgraph only the samples."""
        for _ in range(DRAWS):  # a second time only where no sample was hidden
            nodes = draw_masked_nodes(
                n, self.config.mask_rate, self.config.replace_rate, device=device
            )
            rows = nodes.masked
            if seeds is not None:
                rows = rows[torch.isin(rows, seeds)]
            if len(rows):
                return nodes, rows
        raise ValueError(
            f"none of the {0 if seeds is None else len(seeds)} samples of this batch was masked in "
            f"{DRAWS} draws; use a larger batch or mask_rate"
        )

    def _error(
        self, h: Tensor, x: Features, graph: Adjacency, masked: Tensor, rows: Tensor
    ) -> Tensor:
        """The reconstruction error of `rows`."""
        c, codes = self.config, self._codes(h, masked, rows)
        wide = isinstance(self.decoder, GATConv) and self.decoder.out_dim > self.decoder.in_dim
        if isinstance(x, SparseRows) and wide and c.loss == "sce":
            assert isinstance(self.decoder, GATConv)
            code = self.decoder.weighted_inputs(codes, graph, rows)[:, 0]
            weight, bias = self.decoder.weight, self.decoder.bias
            return linear_scaled_cosine_error(code, weight, bias, x.take(rows), alpha=c.alpha)
        recon = self.decoder(codes, graph, rows) if self.graph_decoder else self.decoder(codes)
        target = x.take(rows).to_dense() if isinstance(x, SparseRows) else x[rows]
        if c.loss == "mse":
            return F.mse_loss(recon.to(target.dtype), target)
        return scaled_cosine_error(recon.to(target.dtype), target, alpha=c.alpha)

    def _adjacency(self, edge_index: Tensor, n: int) -> Adjacency:
        """The sorted edges, kept from step to step while they are the same tensor."""
        version = -1 if edge_index.is_inference() else edge_index._version
        if self._kept is None or self._kept[0] is not edge_index or self._kept[1] != version:
            self._kept = (edge_index, version, Adjacency.build(edge_index, n))
        return self._kept[2]

    def _corrupted(self, x: Features, nodes: MaskedNodes) -> Features:
        """Token and noise nodes shown as such."""
        if isinstance(x, SparseRows):
            shown = torch.arange(x.shape[0], device=x.device)
            shown = shown.index_copy(0, nodes.noise, nodes.noise_source)
            return x.replaced(nodes.token, self.token, shown)
        token = self.token.to(x.dtype).expand(len(nodes.token), -1)
        out = x.index_copy(0, nodes.token, token)
        return out.index_copy(0, nodes.noise, x[nodes.noise_source])

    def _dropped(self, edge_index: Tensor, n: int) -> Adjacency:
        """Fewer edges for the encoder; self-loops are added to the survivors among them."""
        loops = torch.arange(n, device=edge_index.device).expand(2, n)
        kept = drop_edges(edge_index, self.config.drop_edge_rate)
        return Adjacency.build(torch.cat([kept, loops], dim=1), n)

    def _codes(self, h: Tensor, masked: Tensor, rows: Tensor) -> Tensor:
        """What the decoder sees: all nodes, those of `masked` zero; without a graph, `rows`."""
        if not self.graph_decoder:
            return self.bridge(h[rows])
        if not self.config.remask:
            return self.bridge(h)
        visible = torch.ones(len(h), dtype=torch.bool, device=h.device)
        visible[masked] = False
        kept = visible.nonzero()[:, 0]
        codes = self.bridge(h[kept])  # what masked nodes would get is zeroed: not computed
        return codes.new_zeros(len(h), codes.shape[1]).index_copy(0, kept, codes)

    def project(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def embed(self, x: Any, edge_index: Tensor | None = None) -> Tensor:
        """Node vectors (N, hidden), or a vector a sample for a `GraphBatch`; without any mask."""
        training = self.encoder.training
        self.encoder.eval()
        try:
            return self.encoder(x) if edge_index is None else self.encoder.nodes(x, edge_index)  # type: ignore[operator]
        finally:
            self.encoder.train(training)

    @classmethod
    def from_preset(cls, name: str, in_dim: int | None = None) -> GraphMAE:
        """The model of the paper for a data set, newly initialised.

        Parameters
        ----------
        name : "cora", "citeseer", "pubmed", "ogbn-arxiv", "ppi", "reddit", "imdb-b", "mutag" ...
        in_dim : features of a node where the data set does not fix them.

        Raises
        ------
        ConfigError : an unknown name (with a suggestion), or no width.

        >>> GraphMAE.from_preset("cora").encoder.dim
        512
        """
        chosen = preset(name)
        encoder = GNNEncoder(in_dim=chosen.width(in_dim), **chosen.encoder_options)
        return cls(encoder, cls.Config(**chosen.options))

    @classmethod
    def preset_recipe(cls, name: str) -> Recipe:
        """The recipe of the paper for a data set, all but the data."""
        return preset(name).recipe("graphmae")

    @classmethod
    def default_recipe(cls, modality: str = "graph") -> Recipe:
        return PRESETS["cora"].recipe("graphmae")
