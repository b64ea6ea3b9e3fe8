"""Is the expression still there, and is the person gone? What `normpipe audit` does over a finished run.

A plan (what to measure, with which instruments) goes to the engine, whose workers write features per row (task, features,
embeddings, blendshapes, descriptors). The driver reduces them (table, sample, reduce, findings), judges (gates) and shows them
(document, page, charts, scoreboard, answers, rows).

`normpipe normalizer evaluate` runs and audits two normalizers at several strengths (selection, evaluation) and holds them
against each other at equal AUC (arms, frontier, evaluation_figures, evaluation_page).

The statistics are pure functions of arrays, seeds and limits: rows and people (groups) -> pairs -> identity and attackers;
moments -> expression and codes; classifier; dependence; drift and jitter. A result is a Figure with its interval or a
NotMeasurable with the reason. Rows are expected in the order of their ids (`groups.row_order`): draws then do not depend on the
manifest's.
"""
