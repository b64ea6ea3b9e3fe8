"""The report: one HTML file beside its pictures, that opens from disk with no network, no script and no font of its own.

Everything that comes from the data (ids, file names, configuration values) is hostile input: Jinja2's autoescape is on, and the
picture files have fixed names. The same run and options give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image as PillowImage

from normpipe.errors import UsageError
from normpipe.records import Reason
from normpipe.report.sheets import REPORT_FOLDER, SHEET_TITLES, SheetOptions, write_contact_sheets
from normpipe.report.survey import QUALITY_RULE, Histogram, Survey, survey_run
from normpipe.shards.atomic import write_bytes
from normpipe.sources.root import Root

PAGE_FILE = "index.html"

REASON_MEANINGS: Mapping[Reason, str] = {
    Reason.EMPTY_FILE: "The file has no bytes.",
    Reason.UNREADABLE: "The file is there, but no decoder understands it.",
    Reason.TRUNCATED: "The file ends before the picture does.",
    Reason.UNSUPPORTED: "A known kind of file that is not read here.",
    Reason.TOO_LARGE: "More pixels than decode.max_pixels allows.",
    Reason.NO_FRAMES: "A video without a single frame that can be decoded.",
    Reason.NO_SUCH_FRAME: "The manifest names a frame that the video does not have.",
    Reason.NO_FACE: "No face was found with detect.min_score or more.",
    Reason.NO_BOX: "The face policy asks for the manifest's box and the row has none.",
    Reason.NO_LANDMARKS: "A face was found, but the landmark network sees none there.",
    Reason.NOT_RENDERED: "The face was found, but the normalizer cannot draw it.",
    Reason.VANISHED: "The file was there when the manifest was made and is gone.",
    Reason.CHANGED: "The file's bytes are no longer those in which the face was found.",
    Reason.PERMISSION: "The file may not be read by this user.",
    Reason.IO_ERROR: "The disk or the network failed while the file was read.",
    Reason.TIMEOUT: "Reading or computing took longer than allowed.",
    Reason.OUT_OF_MEMORY: "The worker ran out of memory on this row.",
    Reason.POISON: "The row ended its worker process twice.",
    Reason.WITHDRAWN: "Consent was withdrawn: nothing but the place is left.",
}

_SHEET_NOTES = {
    "sample": "Drawn at random from all rows that are ok: what the dataset looks like. Is the expression of the normalized "
    "face the expression of the source?",
    "lowest": f"The rows that are ok but of lowest quality, worst first. Quality is {QUALITY_RULE}.",
    "failures": "Rows without a normalized image, the reasons taking turns. Is it right that they failed?",
}


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str
    count: int
    share: float
    meaning: str
    action: str


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    value: str
    share: float


@dataclass(frozen=True, slots=True)
class _Sheet:
    title: str
    note: str
    file: str | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Plot:
    """A histogram in the coordinates of its drawing: x 0 to 40, y 0 to 100 from the top."""

    title: str
    meaning: str
    unit: str
    low: float
    middle: float
    high: float
    mean: str
    clipped: int
    path: str


def write_report(out: Path, root: Root | None, options: SheetOptions) -> Path:
    """Write OUT/report/index.html and the contact sheets that it shows.

    Args:
        out: Folder of a run, finished or not.
        root: Where the source files lie; None leaves their column out.
        options: Choice and naming of rows.

    Returns:
        Path of the page.

    Raises:
        UsageError: `out` is not the folder of a run, or a file of it is missing or damaged.
    """
    survey = survey_run(out, options.count, options.seed)
    sheets = write_contact_sheets(out, root, options, survey)
    page = out / REPORT_FOLDER / PAGE_FILE
    write_bytes(page, _render(out, survey, sheets, options).encode())
    return page


def _render(out: Path, survey: Survey, sheets: Mapping[str, Path], options: SheetOptions) -> str:
    plan, run = _read_json(out / "plan.json"), _read_json(out / "run.json")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("normpipe.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rate = run.get("frames_per_second")
    parts = plan.get("fingerprint_parts")
    return environment.get_template("page.html.j2").render(
        rows=_count(survey.rows),
        ok=_count(survey.ok),
        ok_share=_percent(survey.ok, survey.rows),
        failed_rows=_count(survey.rows - survey.ok),
        rate=f"{rate:,.1f}" if isinstance(rate, int | float) else None,
        planned=_unfinished(plan, run),
        failed=_failed(survey),
        stages=_stages(run.get("seconds_by_stage")),
        plots=[_plot(histogram) for histogram in survey.histograms if histogram.total],
        sheets={name: _sheet(name, sheets.get(name)) for name in SHEET_TITLES},
        seed=options.seed,
        hash_ids=options.hash_ids,
        fingerprint=str(plan.get("fingerprint", "")),
        configuration=sorted(parts.items()) if isinstance(parts, dict) else [],
        producer=str(plan.get("producer", "")),
    )


def _sheet(name: str, path: Path | None) -> _Sheet:
    if path is None:
        return _Sheet(SHEET_TITLES[name], _SHEET_NOTES[name], None, 0, 0)
    with PillowImage.open(path) as picture:
        return _Sheet(SHEET_TITLES[name], _SHEET_NOTES[name], path.name, picture.width, picture.height)


def _read_json(path: Path) -> dict[str, object]:
    """A JSON object; empty where the file is not there yet."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path.name}: damaged; run `normpipe run` again to write it anew") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path.name}: damaged; run `normpipe run` again to write it anew")
    return document


def _unfinished(plan: Mapping[str, object], run: Mapping[str, object]) -> str | None:
    """Committed of planned shards while some are missing."""
    planned, committed = plan.get("shards"), run.get("committed")
    if isinstance(planned, int) and isinstance(committed, int) and committed < planned:
        return f"{_count(committed)} of {_count(planned)} shards"
    return None


def _failed(survey: Survey) -> list[_Failed]:
    rows = []
    for reason, count in survey.failed.items():
        rows.append(_Failed(reason, count, count / survey.rows, REASON_MEANINGS[reason], _action(reason)))
    return rows


def _action(reason: Reason) -> str:
    if reason is Reason.WITHDRAWN:
        return "Nothing."
    return "Run again with --retry-failed." if reason.may_pass_again else "Look at the file; running again changes nothing."


def _stages(seconds: object) -> list[_Bar]:
    if not isinstance(seconds, dict) or not seconds:
        return []
    total, longest = sum(seconds.values()), max(seconds.values())
    return [
        _Bar(str(stage), f"{value:,.1f} s · {_percent(value, total)}", value / longest if longest else 0.0)
        for stage, value in seconds.items()
    ]


def _plot(histogram: Histogram) -> _Plot:
    measure = histogram.measure
    tallest = int(histogram.counts.max())
    steps = ["M0 100"]
    for index, count in enumerate(histogram.counts.tolist()):
        top = 100 - 100 * count / tallest
        steps.append(f"L{index} {top:.2f}L{index + 1} {top:.2f}")
    digits = 0 if measure.high - measure.low > 10 else 2
    return _Plot(
        title=measure.title,
        meaning=measure.meaning,
        unit=measure.unit,
        low=measure.low,
        middle=(measure.low * measure.high) ** 0.5 if measure.logarithmic else (measure.low + measure.high) / 2,
        high=measure.high,
        mean=f"{histogram.mean:z.{digits}f}",
        clipped=histogram.below + histogram.above,
        path="".join(steps) + "L40 100Z",
    )


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"
