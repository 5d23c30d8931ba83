"""Figures of responses to single images."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from gradkern.plotting._style import STYLE, say_if_zero_is_hidden


def predicted_against_measured(
    measured: np.ndarray, predicted: dict[str, np.ndarray], target: str, units: str
) -> Figure:
    """Plot each image's held-out prediction against its measured response, a panel for each feature space.

    Parameters
    ----------
    measured : [images], responses of the target
    predicted : name of a feature space -> [images]
    target, units : names for the axes
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(predicted), 3.3), layout="constrained")
        axes = figure.subplots(1, len(predicted), squeeze=False, sharex=True, sharey=True)[0]
        limits = [float(measured.min()), float(measured.max())]
        for axis, (name, values) in zip(axes, predicted.items(), strict=True):
            axis.plot(limits, limits, color="#cccccc", linewidth=1, zorder=0)
            axis.scatter(measured, values, s=10, color="#2a6fbb", alpha=0.7, linewidth=0)
            axis.set_title(name)
            axis.set_xlabel(f"measured {target} ({units})")
        axes[0].set_ylabel("predicted, held out")
        say_if_zero_is_hidden(axes[0])
        for axis in axes:
            say_if_zero_is_hidden(axis, "x")
    return figure


def extreme_images(images: np.ndarray, responses: np.ndarray, target: str, units: str, count: int = 8) -> Figure:
    """Show the images with the largest and the smallest responses of a target.

    Parameters
    ----------
    images : [images, h, w], uint8
    responses : [images]
    target, units : names for the title
    count : number of images in each row
    """
    order = np.argsort(responses)
    rows = {"largest": order[::-1][:count], "smallest": order[:count]}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.15 * count + 0.4, 3.1), layout="constrained")
        axes = figure.subplots(2, count)
        for row, (name, chosen) in zip(axes, rows.items(), strict=True):
            for axis, index in zip(row, chosen, strict=True):
                axis.imshow(images[index], cmap="gray", vmin=0, vmax=255)
                axis.set_title(f"{responses[index]:.2f}", fontsize=8)
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
            row[0].set_ylabel(f"{name} {target}", fontsize=8)
        figure.suptitle(f"Images with the largest and the smallest responses of {target} ({units})", fontsize=10)
    return figure
