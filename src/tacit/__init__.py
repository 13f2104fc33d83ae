"""tacit: self-supervised representation learning on any kind of data, that you can check."""

__version__ = "0.1.0"
