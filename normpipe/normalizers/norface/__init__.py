"""The normalization network: an encoder that source and target share, a merger, a decoder, and the pipeline around them.

Nothing here reaches out over the network but `weights.py`, and that only for weights that are named `hf://...`.
"""

import os

# The hub's client reads it when it is first imported, which every module of diffusers does: so it stands before all of them.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
