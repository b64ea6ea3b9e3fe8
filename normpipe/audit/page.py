"""`OUT/audit/index.html`: the audit for people. One file beside three sheets of pictures, no network, no script.

It is drawn from audit.json and the rows table alone, so that what it says is what they say.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image as PillowImage

from normpipe.audit import charts, scoreboard
from normpipe.audit.answers import answers, jitter_sentence, label_sentence
from normpipe.audit.document import Document, at, entries, items
from normpipe.audit.drift import worst_rows
from normpipe.audit.gates import line
from normpipe.audit.plan import AuditPlan, part_files
from normpipe.audit.rows import ROWS_FOLDER
from normpipe.report.rows import read_rows
from normpipe.report.sheets import draw_sheet
from normpipe.report.survey import RowAddress
from normpipe.shards.atomic import write_bytes
from normpipe.shards.reader import open_part

PAGE_FILE = "index.html"

_SHEET_ROWS = 12
SHEETS = {
    "expression": ("Expression most wrong", ("expression_residual",), ("expression_kept", "expression_residual")),
    "identity": ("Most like their originals", ("identity_similarity",), ("identity_similarity",)),
    "pose": ("Turned most", ("residual_yaw", "residual_pitch"), ("residual_yaw", "residual_pitch")),
}
_NOTES = {
    "expression": "The rows whose displacement differs most from the original's, in eye distances. Is it the rendering, or did "
    "the landmarks slip on the source?",
    "identity": "The rows whose two pictures the identity embedding finds most alike.",
    "pose": "The rows in which the normalized face looks least straight ahead to the landmark network.",
}


def write_page(plan: AuditPlan, document: Document, others: Sequence[Document]) -> Path:
    """Write the page and its sheets.

    Args:
        plan: What was audited.
        document: audit.json.
        others: audit.json of other runs for the scoreboard.

    Returns:
        Path of the page.
    """
    boards = scoreboard.boards(document, others)
    worst = _worst_rows(plan)
    sheets = [_sheet(plan, name, worst[name]) for name in SHEETS if worst[name]]
    for name in SHEETS:
        if not worst[name]:
            (plan.folder / f"{name}.png").unlink(missing_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("normpipe.audit", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sample = at(document, "findings", "sample")
    content = environment.get_template("page.html.j2").render(
        answers=answers(document),
        gates=[{"text": line(each), "passed": at(each, "passed")} for each in items(document, "gates")],
        identity=[charts.attacks(document), charts.ranks(document)],
        expression=[charts.displacement(document, "correlation"), charts.displacement(document, "slope")],
        blendshapes=charts.blendshapes(document),
        use=charts.use(document),
        use_missing=at(document, "findings", "expression", "use", "detail"),
        label_sentence=label_sentence(document),
        jitter_sentence=jitter_sentence(document),
        angles=list(_angles(document)),
        shows=charts.shows(document),
        losses=charts.losses(document),
        fifths=list(charts.fifths(document)),
        boards=boards,
        compared=bool(others),
        board_size={"width": scoreboard.WIDTH, "height": scoreboard.HEIGHT},
        sheets=sheets,
        sample=sample if isinstance(sample, Mapping) else {},
        failed=list(entries(document, "run", "failed")),
        rows=at(document, "run", "rows"),
        withdrawn=at(document, "run", "withdrawn_rows"),
        instruments=list(entries(document, "instruments")),
        options=list(entries(document, "options")),
        fingerprint=at(document, "run", "fingerprint"),
        producer=at(document, "producer"),
        hash_ids=plan.options.hash_ids,
    )
    page = plan.folder / PAGE_FILE
    write_bytes(page, content.encode())
    return page


def _angles(document: Document) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, and percentiles 50, 90, 95 before and after, in degrees."""
    for name, each in entries(document, "findings", "surroundings", "angles"):
        before, after = (
            [f"{value:.1f}°" for value in items(each, side) if isinstance(value, float)] for side in ("before", "after")
        )
        yield name, before, after


def _worst_rows(plan: AuditPlan) -> dict[str, list[tuple[RowAddress, dict[str, float]]]]:
    """Addresses and figures of the rows that each sheet shows, worst first; one row of the table's parts is held at a time."""
    wanted = sorted({name for _, by, shown in SHEETS.values() for name in (*by, *shown)})
    heaps: dict[str, list[tuple[float, int, RowAddress, dict[str, float]]]] = {name: [] for name in SHEETS}
    counter = 0
    for part in part_files(plan.run):
        with open_part(plan.folder / ROWS_FOLDER / f"{part}.parquet") as file:
            table = file.read(columns=wanted)
        columns = {name: table[name].to_numpy().astype(np.float64) for name in wanted}
        for sheet, (_, by, shown) in SHEETS.items():
            badness = np.max([np.abs(columns[name]) for name in by], axis=0)
            for index in worst_rows(badness, _SHEET_ROWS).tolist():
                figures = {name: float(columns[name][index]) for name in shown if np.isfinite(columns[name][index])}
                heapq.heappush(heaps[sheet], (float(badness[index]), -counter, RowAddress(part, index), figures))
                counter += 1
                if len(heaps[sheet]) > _SHEET_ROWS:
                    heapq.heappop(heaps[sheet])
    return {name: [(address, figures) for _, _, address, figures in sorted(heap, reverse=True)] for name, heap in heaps.items()}


def _sheet(plan: AuditPlan, name: str, chosen: Sequence[tuple[RowAddress, dict[str, float]]]) -> dict[str, object]:
    """Draw one sheet of pairs."""
    title = SHEETS[name][0]
    rows = read_rows(plan.run.out, [address for address, _ in chosen])
    picture = draw_sheet(
        title, [replace(rows[address], measures=figures) for address, figures in chosen], plan.options.hash_ids
    )
    buffer = BytesIO()
    PillowImage.fromarray(picture).save(buffer, "PNG")
    file = f"{name}.png"
    write_bytes(plan.folder / file, buffer.getvalue())
    return {"title": title, "note": _NOTES[name], "file": file, "width": picture.shape[1], "height": picture.shape[0]}
