"""Methods that assign samples to prototypes."""
