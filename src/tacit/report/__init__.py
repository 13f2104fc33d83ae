"""One self-contained HTML page a run: what was run, whether it worked, what it learned."""

from .page import write_report

__all__ = ["write_report"]
