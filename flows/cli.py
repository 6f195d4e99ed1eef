"""The command line: a verb each. Progress goes to stderr, the result to stdout, as JSON with --json.

Exit codes: 0 done, also with a shortfall; 1 a check said no or something broke; 2 something for the user to change; 130
interrupted; 143 terminated.
Heavy imports happen inside the verbs, so `--help` is quick.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from schemas.errors import EquidermError, UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Measure who is missing from skin-image sets, make exactly those images, and release them traceably.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")]
SourceName = Annotated[str, typer.Argument(help="a name under sources.use in params.yaml")]
ImageId = Annotated[str, typer.Argument(help="image_id as in a release's index.parquet, or enough of its first digits")]


@app.command()
def build(json: Json = False) -> None:
    """Bring every stage up to date, in the order of dvc.yaml. Reads params.yaml of this workspace."""
    from flows.verbs import run_stages

    run_stages([], as_json=json)


@app.command()
def sources(json: Json = False) -> None:
    """Fingerprint every source of params.yaml into data/sources.json."""
    from flows.verbs import run_stages

    run_stages(["sources"], as_json=json)


@app.command()
def ingest(json: Json = False) -> None:
    """Read every source row into catalog and pixels, or into quarantine with a reason; looks at the sources first."""
    from flows.verbs import run_stages

    run_stages(["sources", "ingest"], as_json=json)


@app.command()
def validate(json: Json = False) -> None:
    """Check the catalog against its expectations; exit 1 if a critical one fails."""
    from flows.verbs import run_stages

    run_stages(["validate"], as_json=json)


@app.command()
def dedupe(json: Json = False) -> None:
    """Find pictures that are there more than once, turned or re-encoded too; keep one, or all in one split."""
    from flows.verbs import run_stages

    run_stages(["dedupe"], as_json=json)


@app.command()
def stratify(json: Json = False) -> None:
    """Split by patient, count modality x FST x lesion, and set the quotas."""
    from flows.verbs import run_stages

    run_stages(["stratify"], as_json=json)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="a name in train.use; all of them if left out")] = "", json: Json = False
) -> None:
    """Train one generator on the training split; a killed run goes on where it stopped."""
    from flows.verbs import run_stages

    run_stages([f"train@{name}" if name else "train"], as_json=json)


@app.command()
def produce(json: Json = False) -> None:
    """Make exactly the quotas, gate every image, and report each shortfall."""
    from flows.verbs import run_stages

    run_stages(["produce"], as_json=json)


@app.command()
def evaluate(json: Json = False) -> None:
    """Measure counts, distances, tone agreement, and a classifier with and without the synthetic images."""
    from flows.verbs import run_stages

    run_stages(["evaluate"], as_json=json)


@app.command()
def release(json: Json = False) -> None:
    """Write releases/NAME: index, pixels, gates, strata, lineage, datasheet, report, checksums."""
    from flows.verbs import run_stages

    run_stages(["release"], as_json=json)


@app.command()
def plan(
    what_if: Annotated[bool, typer.Option("--what-if", help="with the numbers below, by simulation")] = False,
    images: Annotated[int, typer.Option(min=0, help="in all, shared as the quotas are; 0: the quotas")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="blocks at once; 0: produce.workers")] = 0,
    cores: Annotated[int, typer.Option(min=0, help="of all machines like this one together; 0: this one's")] = 0,
    engine: Annotated[
        str, typer.Option(help="threads share a loaded model; the workers of dask and ray load their own")
    ] = "threads",
    json: Json = False,
) -> None:
    """Show what produce would make and cost: images, attempts, hours, storage, with intervals. Nothing is run."""
    from flows.planning import show_plan

    show_plan(what_if=what_if, images=images, workers=workers, cores=cores, engine=engine, as_json=json)


@app.command()
def status(json: Json = False) -> None:
    """Show which stages are up to date, which are not and why, and what became of every attempt in the ledger."""
    from flows.verbs import show_status

    show_status(as_json=json)


@app.command()
def releases(json: Json = False) -> None:
    """List the releases of this workspace."""
    from flows.verbs import show_releases

    show_releases(as_json=json)


@app.command()
def verify(
    release: Annotated[str, typer.Argument(help="a name here, or any folder; default: params.yaml's")] = "",
    json: Json = False,
) -> None:
    """Hash, count and decode a release again; exit 1 if anything differs from what it says."""
    from flows.verbs import verify_one

    verify_one(release, as_json=json)


@app.command()
def trace(image: ImageId, json: Json = False) -> None:
    """Show where one image comes from: seed, checkpoint, gates, sources and licence."""
    from flows.verbs import trace_one

    trace_one(image, as_json=json)


@app.command()
def replay(image: ImageId, json: Json = False) -> None:
    """Make one accepted synthetic image again from its ledger row, and compare the pixels; exit 1 if they differ."""
    from flows.verbs import replay_one

    replay_one(image, as_json=json)


@app.command()
def accept(
    source: SourceName,
    by: Annotated[str, typer.Option(metavar="NAME", help="who accepts it")] = "",
    why: Annotated[str, typer.Option(metavar="TEXT", help="why the change is right")] = "",
    json: Json = False,
) -> None:
    """Show how a source differs from what was accepted; with --by and --why, accept it as it is now."""
    from flows.accountability import accept as accept_source

    accept_source(source, by, why, as_json=json)


@app.command()
def withdraw(
    source: SourceName,
    why: Annotated[str, typer.Option(metavar="TEXT", help="kept in the list; without the id")],
    patient: Annotated[str, typer.Option(metavar="ID", help="a patient, as published: all their rows")] = "",
    row: Annotated[str, typer.Option(metavar="ID", help="one row, as published")] = "",
    image: Annotated[str, typer.Option(metavar="IMAGE", help="one image_id, wherever its pixels come from")] = "",
    absent: Annotated[bool, typer.Option("--absent", help="record it although nothing here has that id")] = False,
    json: Json = False,
) -> None:
    """Put a patient, row or image on the withdrawal list, as a salted hash; the next build leaves it out."""
    from flows.accountability import withdraw as put_on_list

    given = {kind: name for kind, name in (("patient", patient), ("row", row), ("image", image)) if name}
    if len(given) != 1:
        raise UserError(f"withdraw: got {len(given)} of --patient, --row and --image; needs one; give one")
    ((kind, name),) = given.items()
    put_on_list(source, kind, name, why, absent=absent, as_json=json)


@app.command()
def impact(
    source: Annotated[str, typer.Argument(help="a name under sources.use")] = "",
    row_or_image: Annotated[str, typer.Argument(help="id of a row or patient as published, or an image_id")] = "",
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="everything on the withdrawal list")] = False,
    json: Json = False,
) -> None:
    """Name every model and release that used an image: as pixels, in training, in gates, through what was made since."""
    from flows.accountability import impact_of

    impact_of(source, row_or_image, withdrawn=withdrawn, as_json=json)


@app.command()
def phantom(
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="images to draw")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="same seed, same images")] = 7,
    resolution: Annotated[int, typer.Option(min=32, max=512, help="px")] = 64,
    out: Annotated[Path, typer.Option(help="folder for one PNG each, truth.csv and sheet.png")] = Path("phantoms"),
    json: Json = False,
) -> None:
    """Draw phantoms: skin images rendered from an optical model, with exact truth. Needs no workspace."""
    from flows.verbs import draw_phantoms

    draw_phantoms(count, seed, resolution, out, as_json=json)


def main() -> NoReturn:
    """Run the program and exit; every error raised on purpose is one line on stderr."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = app(standalone_mode=False) or 0
    except EquidermError as error:
        print(f"equiderm: {' '.join(str(error).split())}", file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("equiderm: stopped; run it again to go on", file=sys.stderr)
        code = 130
    except Exception as error:
        if not hasattr(error, "show"):  # not one of Typer's own: a bug, let it be seen
            raise
        error.show()
        code = getattr(error, "exit_code", 2)
    sys.exit(code)


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    # As an exception, so that the stage and the local Prefect server are stopped on the way out.
    sys.exit(143)


if __name__ == "__main__":
    main()
