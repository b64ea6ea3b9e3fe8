"""Training of the network norface; not needed to run it. train.py puts the stages together."""

import os

# The hub's client reads it when it is first imported, which accelerate and diffusers do: so it stands before both.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
