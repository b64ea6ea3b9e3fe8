"""Learning labels from pairs: action units, their intensity, emotions, valence and arousal."""
