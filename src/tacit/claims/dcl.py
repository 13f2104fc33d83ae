"""DCL: NT-Xent's gradient is shrunk by a factor that is small in small batches."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from tacit.claims._cifar import Subset, load_subset, one_thread
from tacit.claims._loop import apply, build_method, train
from tacit.claims.base import Check, Claim, Rows
from tacit.losses import dcl_loss, npc_multiplier, nt_xent_loss
from tacit.methods.base import Method
from tacit.methods.contrastive.dcl import DCL
from tacit.recipe import OptimizerConfig

N_TEST = 2048
MECHANISM_IMAGES, MECHANISM_BATCH, MECHANISM_EPOCHS = 2560, 64, 3
IMAGES, BATCHES, EPOCHS = 4000, (16, 256), 4
SIZES = (4, 16, 64, 256, 1024)
ADAM = OptimizerConfig(name="adam", lr=1e-3, scale_lr=False, weight_decay=0.0)
LOSSES = {"NT-Xent": "simclr", "DCL": "dcl"}

BEFORE = "q before training, temperature 0.1"
AFTER = "q after training, temperature 0.1"
WARMER = "q after training, temperature 0.5"
GRADIENT = "gradient of NT-Xent against q times that of DCL"


def _size(n: int) -> str:
    return f"batch {n}"


def _accuracy(label: str, batch: int) -> str:
    return f"{label}, batch {batch}"


def small_method(name: str, data: Subset, seed: int) -> Method:
    """SimCLR or DCL on the small network: projector 512-512-128, temperature 0.1."""
    options = {"temperature": 0.1, "proj_hidden_dim": 512, "proj_output_dim": 128}
    return build_method(name, data.encoder, seed=seed, options=options)


def multipliers(z1: Tensor, z2: Tensor, temperature: float) -> dict[str, float]:
    """Mean NPC multiplier of all anchors, with the images in groups of every batch size."""
    out = {}
    for n in SIZES:
        groups = zip(z1.split(n), z2.split(n))
        whole = [npc_multiplier(a, b, temperature) for a, b in groups if len(a) == n]
        if whole:
            out[_size(n)] = float(torch.cat(whole, dim=1).mean())
    return out


def gradient_error(z1: Tensor, z2: Tensor) -> float:
    """Largest difference of the two gradients over all anchors, relative to the largest entry.

    d(NT-Xent term of an anchor)/dz and q d(its DCL term)/dz, for each anchor and all embeddings z.
    """

    def nt_xent_terms(a: Tensor, b: Tensor) -> Tensor:
        return nt_xent_loss(a, b, temperature=0.1, reduction="none")

    def dcl_terms(a: Tensor, b: Tensor) -> Tensor:
        return dcl_loss(a, b, temperature=0.1, reduction="none")

    views = (z1.double(), z2.double())
    nt_xent, dcl = jacobian(nt_xent_terms, views), jacobian(dcl_terms, views)
    q = npc_multiplier(*views, temperature=0.1)[:, :, None, None]
    errors = [float((a - q * b).abs().max() / a.abs().max()) for a, b in zip(nt_xent, dcl)]
    return max(errors)


class DCLClaim(Claim):
    """The multiplier of NT-Xent's gradient in batches of 4 to 1,024; NT-Xent against DCL."""

    paper = DCL.paper
    statement = (
        "The gradient of NT-Xent is that of DCL times a factor q below 1, which is small in small "
        "batches: leaving the positive out of the denominator removes it. (The gain in accuracy "
        "in small batches needs long training on all images; here it is information only.)"
    )
    protocol = (
        "CIFAR-10; convolutions of 32, 64 and 128 channels with stride 2, features of 2 x 2 "
        "quarters, projector 512-512-128, the paper's views, Adam 1e-3, temperature 0.1. "
        "Mechanism: the first 2,560 training images, 3 epochs of NT-Xent with 64 images a step; "
        "then the mean of q over two views of 2,048 test images, in groups of 4 to 1,024. The "
        "gradients of all anchor terms are compared on 16 of these images in double precision. "
        "For information: NT-Xent and DCL on the first 4,000 training images, 4 epochs, with 16 "
        "and 256 images a step at one learning rate; accuracy on the 2,048 test images of 20 "
        "nearest neighbours and of a ridge classifier on the encoder's output."
    )
    data = "cifar10"

    def run(self, seed: int, *, scale: float = 1.0, data: str | None = None) -> Rows:
        subset = load_subset(data or self.data, IMAGES, N_TEST)
        rows = self._mechanism(subset, seed, scale)
        for label, name in LOSSES.items():
            for batch in BATCHES:
                method = small_method(name, subset, seed)
                self._train(method, subset, subset.train_x, batch, scale * EPOCHS, seed)
                rows[_accuracy(label, batch)] = subset.accuracies(method.embed)
        return rows

    def _mechanism(self, subset: Subset, seed: int, scale: float) -> Rows:
        views = subset.views("dcl")(subset.test_x, torch.Generator().manual_seed(seed))
        method = small_method("simclr", subset, seed).eval()
        untrained = [apply(method.project, view) for view in views]
        images = subset.train_x[:MECHANISM_IMAGES]
        self._train(method, subset, images, MECHANISM_BATCH, scale * MECHANISM_EPOCHS, seed)
        z1, z2 = (apply(method.project, view) for view in views)
        with one_thread():
            return {
                BEFORE: multipliers(untrained[0], untrained[1], 0.1),
                AFTER: multipliers(z1, z2, 0.1),
                WARMER: multipliers(z1, z2, 0.5),
                GRADIENT: {"largest relative error": gradient_error(z1[:16], z2[:16])},
            }

    @staticmethod
    def _train(
        method: Method, subset: Subset, images: Tensor, batch: int, epochs: float, seed: int
    ) -> None:
        train(
            method,
            subset.views("dcl"),
            images,
            optimizer=ADAM,
            batch_size=batch,
            steps=max(1, round(epochs * (len(images) // batch))),
            seed=seed,
        )

    def checks(self, rows: Rows) -> list[Check]:
        after, warmer = rows[AFTER], rows[WARMER]
        values = list(after.values())

        def near(label: str, batch: int) -> float:
            return rows[_accuracy(label, batch)]["20-NN accuracy (%)"]

        small, large = BATCHES
        drop = {label: near(label, large) - near(label, small) for label in LOSSES}
        return [
            Check(
                "after training, q rises with the batch size",
                all(a < b for a, b in pairwise(values)),
            ),
            Check(
                "after training, q in batches of 16 < 0.75 < q in batches of 256",
                after[_size(16)] < 0.75 < after[_size(256)],
            ),
            Check(
                "q is higher at temperature 0.5 than at 0.1 in every batch size",
                all(warmer[size] > value for size, value in after.items()),
            ),
            Check(
                "the gradient of NT-Xent is q times that of DCL for every anchor (to 1e-9)",
                rows[GRADIENT]["largest relative error"] < 1e-9,
            ),
            Check(
                "training lowers q in batches of 16",
                after[_size(16)] < rows[BEFORE][_size(16)],
                decisive=False,
            ),
            Check(
                "batches of 16: 20-NN accuracy of DCL is above that of NT-Xent",
                near("DCL", small) > near("NT-Xent", small),
                decisive=False,
            ),
            Check(
                "from batches of 256 to 16, 20-NN accuracy of DCL falls less than NT-Xent's",
                drop["DCL"] < drop["NT-Xent"],
                decisive=False,
            ),
        ]
