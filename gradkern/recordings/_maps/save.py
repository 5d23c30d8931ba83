"""`save_maps`: any value of every target as files that other programs show on the brain, named as BIDS names maps."""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import gradkern
from gradkern._files import written_whole
from gradkern._progress import advanced, tracked
from gradkern.errors import naming
from gradkern.recordings._maps.files import Layout, MapFile, endings, map_files
from gradkern.recordings._maps.known import known_geometry
from gradkern.recordings._maps.values import Maps, maps_of

if TYPE_CHECKING:
    from gradkern.recordings._recording import Recording

_ENDINGS = (
    *(".dscalar.nii", ".pscalar.nii", ".func.gii", ".shape.gii", ".nii.gz", ".nii"),
    *("-ave.fif", "_ave.fif", "-ave.fif.gz", "_ave.fif.gz", ".stc"),
)
_NO_SPACE = ("", "voxels", "vertices", "units", "sensors")  # words of readers for spaces that no file names
_SOFTWARE = ("numpy", "nibabel", "mne")
_UNITS = {
    "r": "Pearson correlation",
    "r2": "share of variance",
    "noise_ceiling": "Pearson correlation",
    "p": "probability",
    "best-layer": "number of the layer, from 0",
    "preferred-depth": "relative depth of the layer, 0 to 1",
}


class _Target(NamedTuple):
    """A file of maps: where it goes, what writes it, and what its sidecar says of it."""

    path: Path
    file: MapFile
    stat: str
    names: tuple[str, ...]


class MapPlan(NamedTuple):
    """Files of maps that are not written yet, of which recording, and what their sidecars say besides."""

    targets: tuple[_Target, ...]
    like: "Recording"
    layout: Layout
    about: Mapping[str, Any]
    overwrite: bool

    def check_new(self) -> None:
        """Raise a FileExistsError if a file exists that shall not be replaced, or a folder of its name."""
        for entry in self.targets:
            for path in (entry.path, _sidecar_path(entry)):
                if path.is_dir():
                    raise FileExistsError(f"path must be a file, got {path}, a folder that exists")
                if path.exists() and not self.overwrite:
                    raise FileExistsError(f"path must be a new file, got {path}, which exists (say overwrite=True?)")


@naming("save_maps")
def save_maps(
    values: Any,
    like: "Recording",
    path: Any,
    *,
    stat: str | None = None,
    desc: str = "",
    about: Mapping[str, Any] | None = None,
    fill: float = np.nan,
    overwrite: bool = False,
) -> list[Path]:
    """Write any value of a recording's targets as maps that other programs show on the brain.

    The recording's geometry decides the format: NIfTI of a volume's whole grid; GIFTI (.func.gii or .shape.gii) of each
    hemisphere's whole mesh; CIFTI (.dscalar.nii, of parcels .pscalar.nii) of all grayordinates; of sensors mne's Evoked
    (-ave.fif) from the first to the last time of the targets; of vertices at times mne's SourceEstimate (.stc).
    Means over regions of a volume or a surface are written at all of the regions' places. Values are stored in float32.
    A JSON file beside each says what it holds. All files appear together when they are complete.

    Parameters
    ----------
    values : [v], one for each target; several by name, which become volumes, arrays, maps or Evokeds of these names;
        or an xarray DataArray or Dataset along "target", such as scores, whose targets are found by their labels. Means
        over "fold" are written, a map for each feature, and of a Dataset the files of every variable that is not NaN
        everywhere
    like : the recording whose targets they are, with its selections
    path : a folder, which is made if it is missing, for files with BIDS names such as
        sub-01_hemi-L_space-fsaverage_stat-r_desc-gradient_statmap.func.gii; or a file with one of the endings above, to
        whose name "_hemi-L" and "_hemi-R" are added for surfaces
    stat, desc : what the values are, and of what, in BIDS' entities of these names; by default "value", or the name of
        the xarray variable. With `stat`, of a Dataset that variable alone
    about : what the JSON file says besides: units, claim, model, layer, kind, objective and the like
    fill : the value of places of the geometry that are no target
    overwrite : replace files that exist

    Returns
    -------
    list of Path : of the maps, without the JSON files

    Raises
    ------
    FileExistsError : a file exists, and `overwrite` is False; or a folder has its name
    FileNotFoundError : the folder that `path` lies in is missing
    Refused : the recording has no geometry, or values are NaN everywhere
    ValueError : values of another length or of other targets, targets outside the geometry, infinite values, an ending
        that is not the format of such a recording

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, pandas as pd
    >>> from gradkern.recordings import Recording, VolumeGrid, save_maps
    >>> voxels = pd.DataFrame({"label": ["a", "b"], "i": [0, 3], "j": [1, 1], "k": [2, 0]})
    >>> shown = pd.DataFrame({"image": range(5)})
    >>> grid = VolumeGrid((4, 4, 3), np.diag([2.0, 2, 2, 1]))
    >>> recording = Recording(np.eye(5, 2), shown, voxels, subject="01", units="percent", space="T1w", geometry=grid)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [file.name for file in save_maps([0.1, 0.3], recording, folder, stat="r")]
    ['sub-01_space-T1w_stat-r_statmap.nii.gz']
    """
    about = {"desc": desc, **(about or {})}
    return write_maps([planned_maps(values, like, path, stat=stat, about=about, fill=fill, overwrite=overwrite)])


def planned_maps(
    values: Any,
    like: "Recording",
    path: Any,
    *,
    stat: str | None = None,
    about: Mapping[str, Any],
    fill: float = np.nan,
    overwrite: bool = False,
) -> MapPlan:
    """The files that `save_maps` would write, once everything about them is known to be right."""
    from gradkern.recordings._recording import Recording  # which imports the geometries of this package

    if not isinstance(like, Recording):
        raise TypeError(f"like must be a Recording, got {type(like).__name__}")
    if np.isinf(fill):
        raise ValueError(f"fill must be a finite number or NaN, got {fill}")
    layout = Layout(known_geometry(like), like.targets, like.space, float(fill))
    possible = endings(layout)
    target = Path(path).expanduser()
    by_stat = maps_of(values, like, stat)
    given = next((ending for ending in sorted(_ENDINGS, key=len, reverse=True) if target.name.endswith(ending)), None)
    _check_path(target, given, possible, by_stat)
    targets: list[_Target] = []
    for name, maps in by_stat.items():
        stem = _bids_stem(like, name, str(about.get("desc", ""))) if given is None else target.name.removesuffix(given)
        folder = target if given is None else target.parent
        targets += _targets(maps, layout, (folder, stem, given or possible[0]), name)
    plan = MapPlan(tuple(targets), like, layout, about, overwrite)
    plan.check_new()
    return plan


def write_maps(plans: Sequence[MapPlan]) -> list[Path]:
    """Write all files of plans and their sidecars beside their places, then give all of them their names."""
    targets = [entry for plan in plans for entry in plan.targets]
    paths = [entry.path for entry in targets]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise ValueError(f"maps must have names that differ in letters or digits, got {twice[0].name} twice")
    made = [folder for folder in dict.fromkeys(path.parent for path in paths) if not folder.exists()]
    for folder in made:
        folder.mkdir()
    try:
        with tracked("maps", len(paths), "files"), ExitStack() as stack:
            for plan in plans:
                for entry in plan.targets:
                    entry.file.write(stack.enter_context(written_whole(entry.path)))
                    sidecar = stack.enter_context(written_whole(_sidecar_path(entry)))
                    content = json.dumps(_sidecar(entry, plan), indent=2, ensure_ascii=False)
                    sidecar.write_text(content + "\n", encoding="utf-8")
                    advanced(1, "files")
            for plan in plans:
                plan.check_new()  # another job may have been faster
    except BaseException:
        for folder in made:
            with suppress(OSError):  # of another job's files, which stay
                folder.rmdir()
        raise
    return paths


def _check_path(target: Path, given: str | None, possible: tuple[str, ...], by_stat: Mapping[str, Maps]) -> None:
    """Raise an error unless the path is a folder or can be one, or a file with an ending of the recording's format."""
    if given is None:
        if target.suffix and not target.is_dir():
            raise ValueError(f"path must be a folder or end in {' or '.join(possible)}, got {target.name!r}")
        if target.exists() and not target.is_dir():
            raise FileExistsError(f"path must be a folder, got {target}, which is a file")
    else:
        if given not in possible:
            raise ValueError(f"path must end in {' or '.join(possible)} for such a recording, got {target.name!r}")
        if target.is_dir():
            raise FileExistsError(f"path must be a file, got {target}, a folder that exists")
        if len(by_stat) > 1:
            raise ValueError(f"path must be a folder for {len(by_stat)} variables, got {target.name!r}; stat= chooses")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path must lie in a folder that exists, got {str(target.parent)!r}")


def _targets(maps: Maps, layout: Layout, place: tuple[Path, str, str], stat: str) -> list[_Target]:
    """The files of maps of one statistic."""
    folder, stem, ending = place
    targets = []
    for file in map_files(maps, layout, ending):
        label = file.facts.get("Map", "")
        named = stem if not label else f"{stem.removesuffix('_statmap')}_map-{bids_label(label)}_statmap"
        if file.hemisphere and not file.ending.endswith(".stc"):
            named = _with_hemisphere(named, file.hemisphere)
        names = (label,) if label else tuple(maps)
        targets.append(_Target(folder / f"{named}{file.ending}", file, stat, names))
    return targets


def _with_hemisphere(stem: str, side: str) -> str:
    """The name with BIDS' entity for the hemisphere, which stands before that for the space."""
    words = stem.split("_")
    before = next((n for n, word in enumerate(words) if word.startswith(("space-", "stat-", "desc-"))), None)
    at = before if before is not None else len(words) - (words[-1] == "statmap")
    return "_".join([*words[:at], f"hemi-{side}", *words[at:]])


def _bids_stem(like: "Recording", stat: str, desc: str) -> str:
    """The name of the maps, in BIDS' order of entities, without the hemisphere."""
    subject = bids_label(re.sub(r"^sub-", "", like.subject))
    if not subject:
        raise ValueError(f"subject must have letters or digits to be in a BIDS name, got {like.subject!r}; give a file")
    space, *further = like.space.split(":")
    words = [f"sub-{subject}"]
    if space not in _NO_SPACE and bids_label(space):
        words += [
            f"space-{bids_label(space)}",
            *(word for word in further if re.fullmatch(r"[a-z]+-[0-9A-Za-z]+", word)),
        ]
    words.append(f"stat-{bids_label(stat)}")
    if desc:
        if not bids_label(desc):
            raise ValueError(f"desc must have letters or digits, got {desc!r}")
        words.append(f"desc-{bids_label(desc)}")
    return "_".join([*words, "statmap"])


def bids_label(words: str) -> str:
    """Words as a label of BIDS, which has letters and digits only: "weight_gradient, dino" is weightGradientDino."""
    parts: list[str] = re.findall(r"[0-9A-Za-z]+", words)
    return "".join(parts[:1]) + "".join(word[:1].upper() + word[1:] for word in parts[1:])


def _sidecar_path(entry: _Target) -> Path:
    ending = next(end for end in sorted(_ENDINGS, key=len, reverse=True) if entry.path.name.endswith(end))
    return entry.path.with_name(f"{entry.path.name.removesuffix(ending)}.json")


def _sidecar(entry: _Target, plan: MapPlan) -> dict[str, Any]:
    """What the JSON file beside a map says; keys of `about` become CamelCase, as BIDS has them."""
    like, layout = plan.like, plan.layout
    stated = {_camel(name): value for name, value in plan.about.items() if value not in (None, "")}
    return {
        "Statistic": entry.stat,
        "Units": _UNITS.get(entry.stat, "unknown"),
        "Maps": list(entry.names),
        "Subject": like.subject,
        "Space": like.space or "unknown",
        "Geometry": layout.geometry.words,
        "Targets": len(like.targets),
        "PlacesWithoutTarget": "n/a" if np.isnan(layout.fill) else layout.fill,
        **{name: value for name, value in entry.file.facts.items() if name != "Map"},
        **json.loads(json.dumps(stated, default=str)),
        "RecordingUnits": like.units,
        "History": list(like.history),
        "Excluded": [f"{each.count} {each.what}: {each.reason}" for each in like.excluded],
        "Inputs": json.loads(json.dumps(_inputs(like), default=str)),
        "GeneratedBy": [
            {"Name": "gradkern", "Version": gradkern.__version__},
            {"Name": "Python", "Version": platform.python_version()},
            *({"Name": name, "Version": number} for name in _SOFTWARE if (number := _version(name))),
        ],
    }


def _inputs(like: "Recording") -> dict[str, Any]:
    """Files and hashes that the recording was made from, and its data set, as its provenance states them."""
    kept = ("dataset", "citation", "licence", "files", "saved")
    return {name: like.provenance[name] for name in kept if name in like.provenance}


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^0-9A-Za-z]+", name))


def _version(package: str) -> str:
    try:
        return str(version(package))
    except PackageNotFoundError:
        return ""
