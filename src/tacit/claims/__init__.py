"""One file a paper: its main claim as a runnable experiment with a baseline."""

from tacit.claims._runner import markdown, reproduce
from tacit.claims.base import Check, Claim, Result

__all__ = ["Check", "Claim", "Result", "markdown", "reproduce"]
