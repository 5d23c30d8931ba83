"""What a page can turn: values on the cortex and on the helmet, packed for the viewer of the report."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.plotting._turned.scene import Part as Part
    from gradkern.plotting._turned.scene import Scene as Scene
    from gradkern.plotting._turned.scene import cortex_scene as cortex_scene
    from gradkern.plotting._turned.scene import sensor_scene as sensor_scene

__getattr__, __dir__, __all__ = lazy(__name__)
