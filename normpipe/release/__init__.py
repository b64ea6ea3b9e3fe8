"""Releases: finished runs become a folder that others load, verify and trust.

`build` refuses early (`terms`, `gates`), decides which rows go where (`selection`, `files`), writes them under pseudonyms
(`keys`, `rows`), and describes them for programs (`document`, `croissant`) and for people (`card`). `verify` and `compare` read
releases back, wherever they lie; `push` and `pull` carry them there and back (`sums`, `signature`).
"""
