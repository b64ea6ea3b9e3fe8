"""Finding faces and measuring them: detectors and landmarkers behind two protocols, pose, geometry."""
