"""Is the expression still there, and is the person gone? The statistics of `normpipe audit`, on arrays of measured features.

Order: rows and people (groups) -> pairs -> identity and attackers; moments -> expression and codes; classifier; dependence;
drift and jitter. All are pure functions of arrays, seeds and limits; a result is a Figure with its interval or a NotMeasurable
with the reason. Rows are expected in the order of their ids (`groups.row_order`): draws then do not depend on the manifest's.
"""
