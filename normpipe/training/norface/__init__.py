"""Training of the network norface; not needed to run it."""
