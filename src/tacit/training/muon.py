"""Muon: momentum whose matrix updates are orthogonalised (Jordan et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Roughly U V^T of the singular value decomposition (rows, columns), by Newton-Schulz steps.

    X <- a X + (b A + c A^2) X with A = X X^T; singular values end between about 0.7 and 1.2.

    >>> x = orthogonalise(torch.diag(torch.tensor([3.0, 1.0])))
    >>> bool((torch.linalg.svdvals(x) - 1).abs().max() < 0.35)
    True
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(Optimizer):
    """Muon on parameters of two and more dimensions, AdamW without decay on the others.

    For a matrix (a convolution's kernel is flattened to output x rest): m <- mu m + (1 - mu) g;
    u = orthogonalise((1 - mu) g + mu m); p <- (1 - lr wd) p - lr sqrt(max(1, rows / columns)) u.

    Groups carry `matrix` (True by default); groups with `matrix=False` take Adam's step with
    `vector_lr / lr` of the current rate.

    >>> p = torch.nn.Parameter(torch.zeros(2, 2))
    >>> p.grad = torch.eye(2)
    >>> Muon([p], lr=0.1).step()
    >>> bool((p.diag() < 0).all())
    True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        vector_lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "vector_ratio": vector_lr / lr,
            "betas": betas,
            "matrix": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    (self._matrix if group["matrix"] else self._vector)(p, p.grad, group)
        return loss

    def _matrix(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, mu = self.state[p], group["momentum"]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        m = state["momentum_buffer"].lerp_(grad, 1 - mu)
        update = grad.lerp(m, mu).reshape(len(p), -1)
        scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(orthogonalise(update).reshape(p.shape), alpha=-group["lr"] * scale)

    def _vector(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[p], group["betas"]
        if not state:
            state["step"] = torch.zeros((), device=p.device)
            state["mean"], state["square"] = torch.zeros_like(p), torch.zeros_like(p)
        state["step"] += 1
        count = float(state["step"])
        mean = state["mean"].lerp_(grad, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        rate = group["lr"] * group["vector_ratio"] / (1 - beta1**count)
        p.addcdiv_(mean, (square / (1 - beta2**count)).sqrt_().add_(1e-8), value=-rate)
