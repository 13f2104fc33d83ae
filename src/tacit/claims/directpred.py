"""DirectPred: a predictor set in closed form does what a trained one does, and better."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tacit.claims._cifar import Subset, load_subset
from tacit.claims._loop import build_method, train
from tacit.claims.base import Check, Claim, Rows
from tacit.encoders.heads import MLPHead
from tacit.evaluation import rankme
from tacit.methods.base import Method
from tacit.methods.distillation.directpred import DirectPred
from tacit.parts import (
    EMA,
    ClosedFormPredictor,
    eigenspace_alignment,
    fixed_points,
    simulate_dynamics,
)
from tacit.recipe import OptimizerConfig

N_TRAIN, N_TEST, BATCH, EPOCHS, WIDTH = 5000, 2000, 128, 8, 64
ALIGNMENT_EPOCHS = 4
SGD = OptimizerConfig(name="sgd", lr=0.03, scale_lr=False, weight_decay=4e-4, decay_all=True)

NONE, LINEAR, DIRECTPRED, DIRECTCOPY = "no predictor", "linear, SGD", "DirectPred", "DirectCopy"
PREDICTORS: dict[str, tuple[str, dict[str, Any]]] = {
    NONE: ("byol", {"predictor": "none"}),
    LINEAR: ("byol", {"predictor": "linear"}),
    DIRECTPRED: ("directpred", {}),
    DIRECTCOPY: ("directcopy", {}),
}
ALIGNMENT = "alignment of predictor and correlation"

SIGMA2, MODES = 0.5, 16
REGIMES = {
    "dynamics, weight decay 0.9 of the critical one": 0.9,
    "dynamics, weight decay 1.1 of the critical one": 1.1,
}


def on_small_network(name: str, options: dict[str, Any], data: Subset, seed: int) -> Method:
    """A method of the BYOL family; all have one projector, target and initial weights."""
    options = {"proj_output_dim": WIDTH, **options}
    method = build_method(name, data.encoder, seed=seed, options=options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dims = (method.encoder.dim, 512, WIDTH)
        method.projector = MLPHead(dims, hidden_affine=False, bias=True)
    online = nn.Sequential(method.encoder, method.projector)
    method.target = EMA(online, base=0.996, schedule="constant")
    return method


def fit(method: Method, data: Subset, epochs: float, seed: int) -> float:
    """Train; the mean loss of the last epoch, from -4 (the views agree entirely) to 4."""
    an_epoch = max(1, len(data.train_x) // BATCH)
    losses = train(
        method,
        data.views("directpred"),
        data.train_x,
        optimizer=SGD,
        batch_size=BATCH,
        steps=max(1, round(epochs * an_epoch)),
        seed=seed,
    )
    last = losses[-an_epoch:]
    constant = 0 if isinstance(method, DirectPred) else 4  # BYOL's loss starts from 0
    return sum(last) / len(last) - constant


def alignment_after_training(method: Method) -> float:
    """Mean over eigenvectors of DirectPred's own correlation, from which its predictor was set."""
    predictor: ClosedFormPredictor = method.predictor  # type: ignore[assignment]
    return float(eigenspace_alignment(predictor.weight, predictor.correlation.corr).mean())


def alignment_on_images(method: Method, data: Subset) -> float:
    """Mean over eigenvectors of the correlation of the clean training images' embeddings."""
    z = data.outputs(method.project, data.train_x)
    predictor: nn.Linear = method.predictor  # type: ignore[assignment]
    return float(eigenspace_alignment(predictor.weight, z.T @ z / len(z)).mean())


def simulate(share: float, seed: int) -> dict[str, float]:
    """End of the theory's dynamics at `share` of the critical weight decay, against prediction.

    Modes start at random, with p above the unstable fixed point of the lower weight decay and s a
    little above p^2; tau = 1 and alpha_p = 1.
    """
    critical = 1 / (4 * (1 + SIGMA2))
    unstable = fixed_points(0.9 * critical, SIGMA2)[0]  # type: ignore[index]
    draw = torch.rand(2, MODES, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    p0 = unstable + 0.02 + (1 - unstable) * draw[0]
    s0 = p0.square() + 0.1 * draw[1]
    eta = share * critical
    run = simulate_dynamics(s0, p0, eta=eta, sigma2=SIGMA2, steps=4000, dt=0.05)
    roots = fixed_points(eta, SIGMA2)
    predicted = roots[1] if roots else 0.0
    excess = run.s - run.p.square()
    expected = excess[0] * torch.exp(-2 * eta * run.time)[:, None]
    return {
        "predicted p": predicted,
        "largest error of p": float((run.p[-1] - predicted).abs().max()),
        "largest error of s": float((run.s[-1] - predicted**2).abs().max()),
        "largest error of the invariant": float((excess - expected).abs().max()),
    }


class DirectPredClaim(Claim):
    """DirectPred and DirectCopy against BYOL with a trained linear predictor, and with none."""

    paper = DirectPred.paper
    statement = (
        "A linear predictor that is set from the eigenvalues of the embeddings' correlation, and "
        "not trained, keeps BYOL from collapsing and gives better features than a linear "
        "predictor trained by gradient; without any predictor BYOL collapses."
    )
    protocol = (
        "CIFAR-10, the first 5,000 training images; convolutions of 32, 64 and 128 channels with "
        "stride 2, features of 2 x 2 quarters; projector 512-512-64, target momentum 0.996, both "
        "the same for all; the paper's CIFAR views; 128 images a step, SGD 0.03 with momentum 0.9 "
        "and weight decay 4e-4, 8 epochs. Accuracy on the first 2,000 test images of 20 nearest "
        "neighbours and of a ridge classifier on the encoder's output, RankMe of the projector's "
        "output on the test images, mean loss of the last epoch (-4: the views agree entirely). "
        "Alignment is the mean of |v' W v| / ||W v|| over all eigenvectors v of the embeddings' "
        "correlation, for DirectPred and for a predictor W trained by SGD for 4 epochs and made "
        "symmetric after every step. "
        "Dynamics: the paper's equations for 16 modes with random starts, noise variance 0.5, "
        "tau 1, integrated to time 200."
    )
    data = "cifar10"

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        subset = load_subset(data or self.data, N_TRAIN, N_TEST)
        rows: Rows = {}
        aligned: dict[str, float] = {}
        for setting, (name, options) in PREDICTORS.items():
            method = on_small_network(name, options, subset, seed)
            loss = fit(method, subset, scale * EPOCHS, seed)
            rows[setting] = {
                **subset.accuracies(method.embed),
                "RankMe": rankme(subset.outputs(method.project, subset.test_x)),
                "final loss": loss,
            }
            if setting == DIRECTPRED:
                aligned["DirectPred, at the end"] = alignment_after_training(method)
        method = on_small_network("byol", {"predictor": "symmetric"}, subset, seed)
        aligned["symmetric, at the start"] = alignment_on_images(method.eval(), subset)
        fit(method, subset, scale * ALIGNMENT_EPOCHS, seed)
        aligned["symmetric, at the end"] = alignment_on_images(method, subset)
        rows[ALIGNMENT] = aligned
        return rows | {setting: simulate(share, seed) for setting, share in REGIMES.items()}

    def checks(self, rows: Rows) -> list[Check]:
        rank = {setting: rows[setting]["RankMe"] for setting in PREDICTORS}
        near = {setting: rows[setting]["20-NN accuracy (%)"] for setting in PREDICTORS}
        linear = {setting: rows[setting]["linear accuracy (%)"] for setting in PREDICTORS}
        aligned = rows[ALIGNMENT]
        below, above = (rows[setting] for setting in REGIMES)
        return [
            Check(
                "RankMe of DirectPred is more than 1.7 times that of the linear predictor",
                rank[DIRECTPRED] > 1.7 * rank[LINEAR],
            ),
            Check(
                "RankMe of the linear predictor is above that of no predictor",
                rank[LINEAR] > rank[NONE],
            ),
            Check(
                "linear accuracy of DirectPred is more than 1 point above the linear predictor's",
                linear[DIRECTPRED] > linear[LINEAR] + 1,
            ),
            Check(
                "without a predictor the loss falls below -3.8 (collapse)",
                rows[NONE]["final loss"] < -3.8,
            ),
            Check(
                "below the critical weight decay every mode reaches the stable fixed point",
                below["largest error of p"] < 1e-4 and below["largest error of s"] < 1e-4,
            ),
            Check(
                "above the critical weight decay every mode collapses to zero",
                above["largest error of p"] < 1e-4 and above["largest error of s"] < 1e-4,
            ),
            Check(
                "s - p^2 decays as exp(-2 eta t) in both",
                max(run["largest error of the invariant"] for run in (below, above)) < 1e-6,
            ),
            Check(
                "alignment of a trained symmetric predictor rises during training",
                aligned["symmetric, at the end"] > aligned["symmetric, at the start"],
            ),
            Check(
                "alignment of DirectPred is 1 (above 0.999)",
                aligned["DirectPred, at the end"] > 0.999,
            ),
            Check(
                "linear accuracy of DirectCopy is more than 1 point above the linear predictor's",
                linear[DIRECTCOPY] > linear[LINEAR] + 1,
                decisive=False,
            ),
            Check(
                "20-NN accuracy of DirectPred and of DirectCopy is above the linear predictor's",
                min(near[DIRECTPRED], near[DIRECTCOPY]) > near[LINEAR],
                decisive=False,
            ),
        ]
