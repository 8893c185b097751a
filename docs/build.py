"""Build the documentation's site: python docs/build.py [--run-course].

Stages the hand-written pages, the generated ones and the course in build/pages, then lets Zensical
build them into build/site, warnings as errors, and checks every link. With `--run-course` the
notebooks are run and their output shown; else the course's text and code stand alone.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs import generate, links  # noqa: E402
from docs.course import execute  # noqa: E402
from docs.slides import architecture  # noqa: E402

DOCS, STAGE, SITE = ROOT / "docs", ROOT / "build" / "pages", ROOT / "build" / "site"
CONFIG = ROOT / "build" / "zensical.toml"
FROM_ROOT = {
    "README.md": "index.md",
    "README.zh-CN.md": "index.zh-CN.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)(#[^)\s]*)?(\))")
SHIM = "https://unpkg.com/iframe-worker/shim"


def stage(*, run_course: bool) -> None:
    """Write every page to build/pages."""
    shutil.rmtree(STAGE, ignore_errors=True)
    (STAGE / "reference").mkdir(parents=True)
    for name, page in FROM_ROOT.items():
        if (ROOT / name).is_file():
            text = (ROOT / name).read_text(encoding="utf-8")
            (STAGE / page).write_text(_drawn(_relinked(text, ROOT)), encoding="utf-8")
    for path in DOCS.glob("*.md"):
        text = _relinked(path.read_text(encoding="utf-8"), DOCS)
        (STAGE / path.name).write_text(text, encoding="utf-8")
    for folder in ("images", "schema"):
        shutil.copytree(DOCS / folder, STAGE / folder)
    for language in ("en", "zh"):
        (STAGE / f"architecture-{language}.svg").write_text(architecture.svg(language), "utf-8")
    for name, make in generate.PAGES.items():
        (STAGE / "reference" / f"{name}.md").write_text(make(), encoding="utf-8")
    _course(run_course)
    CONFIG.write_text(_with_lists((ROOT / "zensical.toml").read_text(encoding="utf-8")), "utf-8")


def _course(run: bool) -> None:
    for week in execute.WEEKS:
        ran = execute.execute(execute.source(week, "zh")) if run else None
        if run:
            print(f"course: week {week} ran", flush=True)
        for language in execute.LANGUAGES:
            path = execute.source(week, language)
            folder = STAGE / "course" / language
            if ran is None:
                folder.mkdir(parents=True, exist_ok=True)
                text = path.read_text(encoding="utf-8").split("---\n", 2)[2]
                (folder / path.name).write_text(_relinked(text, path.parent), encoding="utf-8")
            else:
                execute.write(execute.with_outputs_of(ran, path), week, folder)


def _relinked(text: str, folder: Path) -> str:
    """Links between files of the project as links between pages of the site.

    A link to a source file becomes its name alone: the site holds pages, not code.
    """

    def follow(match: re.Match[str]) -> str:
        before, target, anchor, after = match[1], match[2], match[3] or "", match[4]
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = (folder / target).resolve()
        try:
            name = path.relative_to(ROOT).as_posix()
        except ValueError:
            return match[0]
        if name in FROM_ROOT:
            return f"{before}{FROM_ROOT[name]}{anchor}{after}"
        if name.startswith("docs/") and path.suffix in (".md", ".png", ".svg", ".json"):
            return f"{before}{name.removeprefix('docs/')}{anchor}{after}"
        if name.startswith("docs/") and path.is_dir():
            return f"{before}{_folder(name)}{after}"
        label = before[before.index("[") + 1 : -2]
        return label if label.startswith("`") or label == name else f"{label} (`{name}`)"

    return LINK.sub(follow, text)


def _folder(name: str) -> str:
    return {"docs/course": "course/en/week-01.md"}.get(name, "reference/messages.md")


def _drawn(text: str) -> str:
    """The README's Mermaid picture as the one that needs no script."""
    picture = "![](architecture-en.svg)"
    return re.sub(r"```mermaid\n.*?```", picture, text, flags=re.DOTALL)


def _with_lists(config: str) -> str:
    """The course, the results and what else is there put into the navigation."""

    def entries(pairs: list[tuple[str, str]]) -> str:
        return ", ".join(f'{{ "{title}" = "{page}" }}' for title, page in pairs)

    def title(path: Path) -> str:
        text = path.read_text(encoding="utf-8")
        return re.search(r"^# (.*)", text, re.MULTILINE)[1].replace('"', "'")  # type: ignore[index]  # each has a heading

    def course(language: str) -> list[tuple[str, str]]:
        found = sorted((STAGE / "course" / language).glob("*.md"))
        return [(title(path), f"course/{language}/{path.name}") for path in found]

    results = [(title(path), path.name) for path in sorted(STAGE.glob("results-*.md"))]
    config = config.replace('"Results" = []', f'"Results" = [{entries(results)}]')
    config = config.replace('"Course" = []', f'"Course" = [{entries(course("en"))}]')
    config = config.replace(
        '"connect-your-bms.zh-CN.md" },\n  ]',
        f'"connect-your-bms.zh-CN.md" }},\n    {{ "课程" = [{entries(course("zh"))}] }},\n  ]',
    )
    more = [
        (name.title(), f"{name}.md") for name in ("deploy", "storage", "security", "changelog")
        if (STAGE / f"{name}.md").is_file()
    ]  # fmt: skip
    config = config.replace('{ "FAQ"', f'{entries(more)}{", " if more else ""}{{ "FAQ"')
    return config.replace('"build/', '"').replace('paths = ["."]', 'paths = [".."]')


def _self_contained() -> None:
    """Take the one script that Zensical's offline search would load from elsewhere from here."""
    shutil.copy(DOCS / "vendor" / "iframe-worker.js", SITE / "assets" / "iframe-worker.js")
    (SITE / "404.html").unlink()  # for a server at the root of a host; ours is read from files
    for page in SITE.rglob("*.html"):
        up = "../" * (len(page.relative_to(SITE).parts) - 1)
        text = page.read_text(encoding="utf-8")
        text = text.replace(SHIM, f"{up}assets/iframe-worker.js")
        page.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the documentation's site.")
    parser.add_argument("--run-course", action="store_true", help="Run the notebooks, show output.")
    given = parser.parse_args(arguments)
    stage(run_course=given.run_course)
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(CONFIG), "-c"]
    status = subprocess.run(command, cwd=CONFIG.parent).returncode
    if status:
        return status
    _self_contained()
    found = links.problems(SITE)
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"{len(list(SITE.rglob('*.html')))} pages in {SITE}, {len(found)} broken links")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
