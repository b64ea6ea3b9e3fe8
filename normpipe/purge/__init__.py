"""`normpipe purge`: people who withdraw their consent leave a finished, interrupted or half-done run, and it is proved."""
