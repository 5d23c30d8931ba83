"""Pages of the site that are files of the repository outside docs/, links between the two, and new guides."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the tests read these pages where Sphinx is not installed
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGES = {  # page of the site -> file of the repository
    "project/benchmark-methods": "benchmarks/README.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/changes": "CHANGELOG.md",
    "project/conduct": "CODE_OF_CONDUCT.md",
    "project/security": "SECURITY.md",
}


def setup(app: "Sphinx") -> dict[str, bool]:
    app.connect("config-inited", lambda *_: forget_old_tutorials(), priority=1)
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}


def forget_old_tutorials() -> None:
    """Remove the pages that an earlier build made of tutorials that are gone."""
    tutorials = {path.stem for path in (ROOT / "examples" / "tutorials").glob("*.py")}
    for path in (ROOT / "docs" / "tutorials").glob("[0-9]*"):
        if path.name.partition(".")[0] not in tutorials:
            path.unlink()


def rewrite(app: "Sphinx", page: str, source: list[str]) -> None:
    """Take the text of a repository's file, and turn links to files into links to their pages."""
    path = Path(app.env.doc2path(page))
    if path.suffix != ".md":
        return
    if page in PAGES:
        path = ROOT / PAGES[page]
        source[0] = path.read_text()
    if page == "guides":  # a guide that nobody has listed yet comes last
        guides = {file.stem for file in path.parent.glob("*.md")} - {"index", "guides"}
        unlisted = "\n".join(sorted(guides - set(source[0].split())))
        source[0] = re.sub(r"\n```\s*$", f"\n{unlisted}\n```\n", source[0])
    source[0] = re.sub(r"\]\(([^)\s]+)\)", lambda match: f"]({target(match[1], path, page)})", source[0])


def target(link: str, path: Path, page: str) -> str:
    """A link from the file `path`, which is shown as `page`."""
    file, hash, anchor = link.partition("#")
    if not file or re.match(r"\w+:", file):
        return link
    absolute = (path.parent / file).resolve()
    if not absolute.is_relative_to(ROOT):
        return link
    name = absolute.relative_to(ROOT).as_posix()
    shown = {source: shown for shown, source in PAGES.items()} | {"README.md": "index"}
    up = "../" * page.count("/")
    if name in shown:
        return f"{up}{shown[name]}.md{hash}{anchor}"
    if name.startswith("examples/tutorials"):
        return f"{up}tutorials/{absolute.stem if absolute.suffix else 'index'}.rst"
    if name.startswith("docs/"):
        return f"{up}{name.removeprefix('docs/')}{hash}{anchor}"
    return link
