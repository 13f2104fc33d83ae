"""Methods that join a contrastive and a predictive task."""
