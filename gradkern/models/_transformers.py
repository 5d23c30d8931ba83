"""Builds the models that come from the Hugging Face hub, through the package transformers."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradkern.models import _checkpoint as checkpoint
from gradkern.models._adapters import Adapter
from gradkern.models._row import BuildRequest, BuiltModel


@dataclass(frozen=True)
class TransformersBuilder:
    """A model of a family that has an adapter.

    Attributes
    ----------
    hub : name on the Hugging Face hub
    family : the adapter
    architecture : class of transformers
    config : what differs from the defaults of its configuration class, at the published size
    """

    hub: str
    family: type[Adapter]
    architecture: str
    config: Mapping[str, Any]

    @property
    def origin(self) -> str:
        return self.hub

    def build(self, request: BuildRequest) -> BuiltModel:
        if importlib.util.find_spec("transformers") is None:
            raise ImportError(f"{request.name!r} needs the package transformers; pip install 'gradkern[models]'")
        if request.weights == "pretrained":
            gated = request.source.gated if request.source else None
            network, digest = checkpoint.network_from_hub(self.hub, self.architecture, gated)
            return BuiltModel(self.family(network), digest)
        vision = request.config.get("vision_config", request.config)
        if request.weights == "random":
            return BuiltModel(self.with_random_weights(request.config), None, vision.get("image_size"))
        path = Path(request.weights)
        files = checkpoint.files_of(path)
        model = self.from_state(checkpoint.read(files), path.name, request.config)
        return BuiltModel(model, checkpoint.sha256(files), vision.get("image_size"))

    def published_files(self) -> list[Path]:
        return checkpoint.cached_files(self.hub)

    def with_random_weights(self, changes: Mapping[str, Any]) -> Adapter:
        return self.family(checkpoint.network_from_config(self.architecture, self.configuration(changes)))

    def from_state(self, state: Mapping[str, Any], file: str, changes: Mapping[str, Any]) -> Adapter:
        """The model with the weights of a file, which is named in errors."""
        config = self.configuration(changes)
        return self.family(checkpoint.network_from_state(self.architecture, config, state, file))

    def configuration(self, changes: Mapping[str, Any]) -> Any:
        """The configuration of transformers, with changes; those to a mapping change only its fields."""
        import transformers

        config_class = getattr(transformers, self.architecture).config_class
        fields, defaults = dict(self.config), config_class()
        for key, value in changes.items():
            if not hasattr(defaults, key):
                raise ValueError(f"config must name fields of {config_class.__name__}, got {key!r}")
            is_inner = isinstance(value, Mapping) and isinstance(fields.get(key), Mapping)
            fields[key] = {**fields[key], **value} if is_inner else value
        return config_class(**fields)
