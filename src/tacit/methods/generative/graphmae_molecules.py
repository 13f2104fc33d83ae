"""GraphMAE for molecules: hidden atoms are named from the rest of the molecule."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tacit.data.graph_batch import GraphBatch
from tacit.distributed import as_global_mean
from tacit.encoders.gnn.molecule import ATOM_TYPES, MASK_ATOM, BondGINConv, MoleculeEncoder
from tacit.errors import ConfigError
from tacit.losses import scaled_cosine_error
from tacit.methods.base import Batch, Losses, Method, Paper
from tacit.recipe import OptimizerConfig, Recipe, ScheduleConfig
from tacit.views.graph import draw_masked_atoms


class GraphMAEMolecules(Method):
    """Of every molecule int(rate n + 1) atoms become the mask type; their types are rebuilt.

    Codes go through PReLU and a linear map, those of hidden atoms become zero, one GIN layer with
    bonds decodes them to 119 types; L = mean over hidden atoms of (1 - cos(z_i, one-hot))^alpha.
    Fine-tune the encoder with `tacit.evaluation.graph_finetune.finetune_graphs`.

    References
    ----------
    Hou et al., 2022, section 4.3, and the folder `chem` of the official code.

    >>> model = GraphMAEMolecules(MoleculeEncoder(hidden=8, layers=2))
    >>> model.decoder.last.out_features
    119
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
        mask_rate: float = Field(0.25, gt=0, lt=1, description="share of hidden atoms a molecule")
        alpha: float = Field(1.0, ge=1, description="exponent of the cosine error")
        remask: bool = Field(True, description="hide the codes of hidden atoms from the decoder")

    def __init__(self, encoder: MoleculeEncoder, config: Any = None) -> None:
        super().__init__(encoder, config or self.Config())
        if not isinstance(encoder, MoleculeEncoder):
            raise ConfigError(
                f"graphmae-molecules needs --encoder molecule, not {type(encoder).__name__}"
            )
        self.act = nn.PReLU()
        self.bridge = nn.Linear(encoder.dim, encoder.dim, bias=False)
        self.decoder = BondGINConv(encoder.dim, ATOM_TYPES)

    def training_loss(self, batch: Batch) -> Losses:
        graph: GraphBatch = batch.views[0]  # type: ignore[assignment]
        assert graph.batch is not None
        masked = draw_masked_atoms(graph.batch, self.config.mask_rate)
        return Losses(self.loss(graph, masked))

    def loss(self, graph: GraphBatch, masked: Tensor) -> Tensor:
        """The error of the atoms `masked` (M,), which the encoder and decoder do not see."""
        assert graph.edge_attr is not None
        x = graph.x.clone()
        x[masked] = torch.tensor([MASK_ATOM, 0], device=x.device)
        h = self.encoder.atoms(x, graph.edge_index, graph.edge_attr)  # type: ignore[operator]
        codes = self.bridge(self.act(h))
        if self.config.remask:
            codes = codes.index_fill(0, masked, 0.0)
        recon = self.decoder(codes, graph.edge_index, graph.edge_attr)[masked]
        target = F.one_hot(graph.x[masked, 0], ATOM_TYPES).to(recon.dtype)
        error = scaled_cosine_error(recon, target, alpha=self.config.alpha)
        return as_global_mean(error, len(masked))

    @classmethod
    def default_recipe(cls, modality: str = "graph") -> Recipe:
        return Recipe(
            method="graphmae-molecules",
            modality="graph",
            encoder="molecule",
            views="none",
            n_views=1,
            batch_size=256,
            epochs=100,
            optimizer=OptimizerConfig(
                name="adam", lr=1e-3, scale_lr=False, weight_decay=0.0, decay_all=True
            ),
            schedule=ScheduleConfig(name="constant", warmup=0.0),
        )
