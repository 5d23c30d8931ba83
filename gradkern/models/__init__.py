"""Vision models by name, with their preprocessing and layer names, and the same models untrained."""

from typing import TYPE_CHECKING

from gradkern._lazy import lazy

if TYPE_CHECKING:
    from gradkern.models._catalogue import CATALOGUE as CATALOGUE
    from gradkern.models._load import architecture as architecture
    from gradkern.models._load import load_model as load_model
    from gradkern.models._load import names as names
    from gradkern.models._recognised import recognise_model as recognise_model
    from gradkern.models._spec import LoadedModel as LoadedModel
    from gradkern.models._spec import ModelSpec as ModelSpec
    from gradkern.models._untrained import UNTRAINED as UNTRAINED
    from gradkern.models._untrained import untrained as untrained

__getattr__, __dir__, __all__ = lazy(__name__)
