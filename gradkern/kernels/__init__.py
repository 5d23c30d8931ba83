"""Sketches as fused native kernels for torch, NumPy and CuPy arrays; `reference` defines what each kernel computes."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.kernels import baselines as baselines
    from gradkern.kernels import formed as formed
    from gradkern.kernels import ops as ops
    from gradkern.kernels import reference as reference
    from gradkern.kernels._sketch import Sketch as Sketch
    from gradkern.kernels._sketch import sketch as sketch
    from gradkern.kernels._weight_sketch import sketch_conv as sketch_conv
    from gradkern.kernels._weight_sketch import sketch_outer as sketch_outer

__getattr__, __dir__, __all__ = lazy(__name__)
