"""Methods that tell samples apart: a positive is pulled in, the other samples pushed away."""

from tacit.methods.contrastive._frames import FrameProjectionSSL

__all__ = ["FrameProjectionSSL"]
