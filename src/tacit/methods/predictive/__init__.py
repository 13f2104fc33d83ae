"""Methods that predict a target made from the data itself."""
