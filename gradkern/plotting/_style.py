"""Colors, labels and settings that all figures share."""

from typing import Any

COLORS = {"activation": "#222222", "gradient": "#2a6fbb", "weight_gradient": "#d1731f"}
LABELS = {"activation": "activation", "gradient": "gradient", "weight_gradient": "weight gradient"}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    "legend.frameon": False,
}
