"""What another strength costs when the faces are known: `normpipe run --faces` against the parts of a full run that it repeats.

    python benchmarks/rerender.py --photos PORTRAITS --json rerender.json

A full run and a run that takes its faces from there, one after the other, several times. The ratio is of all seconds that the
second spends on its shards over those that the first spends on decode and on everything behind detection. Target: at most 1.1.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

_DETECTION = "detect"
_TARGET = 1.1


def stage_seconds(out: Path) -> dict[str, float]:
    """Seconds of each stage, from the summary of a finished run."""
    seconds: dict[str, float] = json.loads((out / "run.json").read_bytes())["seconds_by_stage"]
    return seconds


def normalized(photos: Path, out: Path, *options: str) -> dict[str, float]:
    """Seconds by stage of one run in processes of its own."""
    command = [sys.executable, "-m", "normpipe", "run", str(photos), str(out), "--shard-size", "128", *options]
    subprocess.run(command, check=True, capture_output=True)  # our own command
    return stage_seconds(out)


@click.command()
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(*, photos: Path, repeats: int, json_file: Path | None) -> None:
    """Measure and print."""
    ratios: list[float] = []
    full: dict[str, float] = {}
    again: dict[str, float] = {}
    for _ in range(repeats):
        with TemporaryDirectory() as folder:
            full = normalized(photos, Path(folder) / "full")
            again = normalized(
                photos, Path(folder) / "again", "--faces", str(Path(folder) / "full"), "--set", "normalize.detail=1.0"
            )
        ratios.append(sum(again.values()) / sum(seconds for stage, seconds in full.items() if stage != _DETECTION))
    click.echo(f"{'stage':<12}{'full':>9}{'again':>9}   seconds, last of {repeats} times")
    for stage in dict.fromkeys([*full, *again]):
        click.echo(f"{stage:<12}{full.get(stage, 0.0):>9.2f}{again.get(stage, 0.0):>9.2f}")
    ratio = statistics.median(ratios)
    verdict = "met" if ratio <= _TARGET else "missed"
    click.echo(f"ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), target {_TARGET:g}: {verdict}")
    if json_file is not None:
        document = {"ratio": ratio, "ratios": ratios, "full": full, "again": again}
        json_file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
