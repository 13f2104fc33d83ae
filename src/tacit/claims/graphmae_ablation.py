"""GraphMAE without its parts: squared error, a decoder without the graph, no re-masking."""

from __future__ import annotations

from typing import Any

import torch

from tacit.claims._planetoid import open_planetoid, probe_percent, train_whole, whole
from tacit.claims.base import Check, Claim, Rows
from tacit.encoders.gnn import GNNEncoder
from tacit.methods.generative._graphmae_presets import PRESETS
from tacit.methods.generative.graphmae import GraphMAE

EPOCHS = 200
LAST = "accuracy, last epoch (%)"
SETTINGS: dict[str, dict[str, Any]] = {
    "GraphMAE": {},
    "no re-masking": {"remask": False},
    "MLP decoder": {"decoder_kind": "mlp"},
    "squared error": {"loss": "mse"},
}


class GraphMAEAblation(Claim):
    """What every part of GraphMAE adds, early in training."""

    paper = GraphMAE.paper
    statement = (
        "The scaled cosine error, the graph decoder and re-masking each add to the accuracy of a "
        "linear probe on Cora (84.2 against 79.2 with squared error, 82.2 with an MLP decoder, "
        "82.7 without re-masking, after full training)."
    )
    protocol = (
        "Cora as in the claim `graphmae`, the published configuration stopped after 200 of its "
        "1,500 epochs (the schedule keeps its full length), each time with one part changed; the "
        "published linear probe. Only the order of the full method and the squared error is "
        "decisive: 200 epochs are too few for the others."
    )
    data = "planetoid:cora"

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        source, preset, rows = open_planetoid("cora", data), PRESETS["cora"], Rows()
        graph, probe = whole(source), preset.probe
        options = {"lr": probe.lr, "wd": probe.weight_decay, "epochs": probe.epochs}
        for name, changes in SETTINGS.items():
            torch.manual_seed(seed)
            encoder = GNNEncoder(in_dim=graph.x.shape[1], **preset.encoder_options)
            method = GraphMAE(encoder, GraphMAE.Config(**{**preset.options, **changes}))
            epochs = max(1, round(scale * EPOCHS))
            train_whole(method, graph, preset.recipe("graphmae"), epochs=epochs, seed=seed)
            with torch.no_grad():
                rows[name] = probe_percent(method.embed(graph), source, seed, **options)
        return rows

    def checks(self, rows: Rows) -> list[Check]:
        full = rows["GraphMAE"][LAST]
        out = [Check("GraphMAE is above squared error", full > rows["squared error"][LAST])]
        for name in ("no re-masking", "MLP decoder"):
            sentence = f"GraphMAE is above {name}"
            out.append(Check(sentence, full > rows[name][LAST], decisive=False))
        return out
