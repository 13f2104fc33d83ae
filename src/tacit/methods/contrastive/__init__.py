"""Methods that tell samples apart: a positive is pulled in, the other samples pushed away."""
