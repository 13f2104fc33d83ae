"""Methods that decorrelate the features of an embedding."""
