"""Run the course's notebooks and keep what they print and draw.

    python docs/course/execute.py [--lang zh|en] [--week N ...] [--out FOLDER]

A notebook is a Markdown file that Jupyter opens through jupytext; it is run from top to bottom in a
fresh kernel at the root of the project, with warnings as errors. With `--out`, each is written
there as `.ipynb` and as Markdown with its output and pictures, for the documentation's site.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

COURSE = Path(__file__).resolve().parent
ROOT = COURSE.parents[1]
WEEKS = range(1, 17)
LANGUAGES = ("zh", "en")
CELL_SECONDS = 300
BEFORE = r"""
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", module=r"ipykernel\..*")  # its own, as it ends
%matplotlib inline
%config InlineBackend.figure_formats = ["svg"]
%config InlineBackend.rc = {"svg.fonttype": "path", "svg.hashsalt": "course"}
"""


def source(week: int, language: str) -> Path:
    """Where a week's notebook is."""
    return COURSE / language / f"week-{week:02d}.md"


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs. Raises CellExecutionError, which names the cell."""
    notebook: nbformat.NotebookNode = jupytext.read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith("%%"):
            raise ValueError(f"{path}: a shell command would be run; mark its block `console`")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEFORE))
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            config=Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"}),
            timeout=CELL_SECONDS,
            resources={"metadata": {"path": str(ROOT)}},
        )
        client.execute()
    del notebook.cells[0]
    return notebook


def as_markdown(notebook: nbformat.NotebookNode, pictures: Path, prefix: str) -> str:
    """Markdown with every output behind its cell; pictures are written to a folder."""
    parts: list[str] = []
    drawn = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            picture = next((kind for kind in ("image/svg+xml", "image/png") if kind in data), None)
            if picture is not None:
                drawn += 1
                name = f"{prefix}-{drawn}.{'svg' if 'svg' in picture else 'png'}"
                content = data[picture]
                raw = content.encode() if "svg" in picture else base64.b64decode(content)
                pictures.mkdir(parents=True, exist_ok=True)
                (pictures / name).write_bytes(raw)
                parts.append(f"![]({pictures.name}/{name})")
            else:
                text = output.get("text") or data.get("text/plain") or ""
                if text.strip():
                    parts.append("```text\n" + text.rstrip() + "\n```")
    return "\n\n".join(parts) + "\n"


def with_outputs_of(run: nbformat.NotebookNode, path: Path) -> nbformat.NotebookNode:
    """A notebook's text with the outputs of its twin, whose code cells are the same."""
    notebook: nbformat.NotebookNode = jupytext.read(path)
    ran = [cell for cell in run.cells if cell.cell_type == "code"]
    own = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.source for cell in ran] != [cell.source for cell in own]:
        raise ValueError(f"{path}: its code differs from its twin's")
    for cell, other in zip(own, ran, strict=True):
        cell.outputs, cell.execution_count = other.outputs, other.execution_count
    return notebook


def write(notebook: nbformat.NotebookNode, week: int, folder: Path) -> None:
    """A run notebook as `.ipynb` and as Markdown with pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"week-{week:02d}"
    (folder / f"{name}.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
    text = as_markdown(notebook, folder / "pictures", name)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description="Run the course's notebooks.")
    parser.add_argument("--lang", choices=LANGUAGES, default="zh")
    parser.add_argument("--week", type=int, choices=WEEKS, nargs="*", default=list(WEEKS))
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args(arguments)
    failed = 0
    for week in given.week:
        path = source(week, given.lang)
        began = time.monotonic()
        try:
            notebook = execute(path)
        except CellExecutionError as error:
            print(f"{path.relative_to(ROOT)}: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"{path.relative_to(ROOT)}: ran in {time.monotonic() - began:.1f} s", flush=True)
        if given.out is not None:
            write(notebook, week, given.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
