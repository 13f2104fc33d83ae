"""Fine-tuning on dynamic connectivity: pre-trained or new graph layers on labelled recordings."""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tacit.encoders.fmri import DynamicFCClassifier, GINEncoder
from tacit.encoders.fmri.readout import ReadoutName
from tacit.losses.fmri import orthogonality_penalty
from tacit.views.fmri import sliding_fc, sparsify_fc

PARTS = ("all", "head")


class FineTuned(NamedTuple):
    """A trained classifier and how recordings become its windows.

    losses : of every step.
    """

    model: DynamicFCClassifier
    window: int
    stride: int
    keep_percent: float
    losses: list[float]

    @torch.no_grad()
    def predict(
        self, ts: Float[Tensor, "n time rois"], batch_size: int = 8
    ) -> Float[Tensor, "n classes"]:
        """Logits (or regressed values) of whole recordings."""
        self.model.eval()
        return torch.cat([self.model(**_inputs(part, self)) for part in ts.split(batch_size)])


def fine_tune_fc(
    encoder: GINEncoder,
    ts: Float[Tensor, "n time rois"],
    labels: Tensor,
    *,
    window: int,
    stride: int,
    length: int | None = None,
    keep_percent: float = 30.0,
    train: Literal["all", "head"] = "all",
    readout: ReadoutName = "sero",
    classes: int | None = None,
    epochs: int = 30,
    batch_size: int = 3,
    lr: float = 5e-4,
    max_lr: float = 1e-3,
    orthogonality: float = 1e-5,
    dropout: float = 0.5,
    seed: int = 0,
) -> FineTuned:
    """Train a `DynamicFCClassifier` around a copy of `encoder`.

    With pre-trained graph layers this is fine-tuning; with new ones, training from scratch: all
    else is the same. The linear probe, which is cheaper, is `linear_probe` on the vectors of a
    `DynamicFCEncoder`.

    Parameters
    ----------
    encoder : graph layers; left as they are.
    ts, labels : training recordings, and (n,) integers from 0 (cross-entropy) or floats (squared
        error).
    window, stride, keep_percent : of `sliding_fc` and `sparsify_fc`.
    length : every batch sees a random crop of so many points; None: whole recordings.
    train : "all" weights, or only the "head": read-outs, attention over time, linear layers. The
        frozen graph layers then use their own batch statistics of pre-training.
    readout, dropout : of the classifier.
    classes : outputs; None: what the labels need.
    epochs, batch_size : passes over the recordings, recordings a step.
    lr, max_lr : one-cycle Adam: from `lr` up to `max_lr` in the first fifth, then down to lr/1000.
    orthogonality : weight of `orthogonality_penalty`, added over layers.
    seed : of new weights, order, crops and dropout. The global generator is left as it was.

    Raises
    ------
    ValueError : labels do not fit the recordings.

    References
    ----------
    Defaults of Kim, Ye, Kim, 2021 (STAGIN), official code. Fine-tuning end to end is the protocol
    of Choi et al., 2023, as remembered.

    Examples
    --------
    >>> ts, labels = torch.randn(4, 60, 10), torch.tensor([0, 1, 0, 1])
    >>> tuned = fine_tune_fc(GINEncoder(10, 8, 1), ts, labels, window=20, stride=20, epochs=1)
    >>> tuned.predict(ts).shape
    torch.Size([4, 2])
    """
    regression = labels.is_floating_point()
    if labels.shape != (len(ts),) or len(ts) == 0 or (not regression and int(labels.min()) < 0):
        raise ValueError(
            f"expected a label of 0 or above for each of {len(ts)} recordings, got shape "
            f"{tuple(labels.shape)}"
        )
    if train not in PARTS:
        raise ValueError(f"train must be 'all' or 'head', got {train!r}")
    if classes is None:
        classes = 1 if regression else int(labels.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = copy.deepcopy(encoder).requires_grad_(train == "all")
        model = DynamicFCClassifier(network, readout, classes, dropout=dropout)
        tuned = FineTuned(model.to(ts), window, stride, keep_percent, [])
        steps = max(-(-len(ts) // batch_size) * epochs, 2)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr,
            total_steps=steps,
            pct_start=max(0.2, 1.5 / steps),  # a rise of no step would be a division by zero
            div_factor=max_lr / lr,
            final_div_factor=1000,
        )
        for _ in range(epochs):
            model.train()
            network.train(train == "all")
            for rows in torch.randperm(len(ts)).split(batch_size):
                optimizer.zero_grad()
                out = model.outputs(**_inputs(ts[rows], tuned, length))
                if regression:
                    loss = F.mse_loss(out.logits[:, 0], labels[rows])
                else:
                    loss = F.cross_entropy(out.logits, labels[rows])
                if orthogonality:
                    penalty = torch.stack([orthogonality_penalty(h) for h in out.nodes]).sum()
                    loss = loss + orthogonality * penalty
                loss.backward()
                optimizer.step()
                schedule.step()
                tuned.losses.append(float(loss.detach()))
    model.eval()
    return tuned


def _inputs(ts: Tensor, tuned: FineTuned, length: int | None = None) -> dict[str, Tensor]:
    """What the classifier reads of recordings: windows, graphs, and the series for a GRU."""
    with torch.no_grad():
        fc, starts = sliding_fc(ts, tuned.window, tuned.stride, length)
        inputs = {"fc": fc, "adj": sparsify_fc(fc, tuned.keep_percent)}
    if tuned.model.encoder.input == "onehot_gru":
        inputs |= {"series": ts, "ends": starts + tuned.window}
    return inputs
