"""Pictures and pages about a finished run."""
