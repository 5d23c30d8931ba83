"""Geometry of recordings, and maps: files of any value of every target that other programs show on the brain."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.recordings._maps.geometry import Geometry as Geometry
    from gradkern.recordings._maps.geometry import VolumeGrid as VolumeGrid
    from gradkern.recordings._maps.grayordinates import Grayordinates as Grayordinates
    from gradkern.recordings._maps.known import known_geometry as known_geometry
    from gradkern.recordings._maps.parcels import Parcels as Parcels
    from gradkern.recordings._maps.sensors import Sensors as Sensors
    from gradkern.recordings._maps.surfaces import SurfaceMesh as SurfaceMesh

__getattr__, __dir__, __all__ = lazy(__name__)
