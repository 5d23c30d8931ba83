"""Adapters: one small class per family of models gives every network the same layers and outputs."""

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gradkern.models._spec import LoadedModel
from gradkern.objectives._interface import Output


class Adapter(LoadedModel):
    """Says where the parts of a network lie, so that a `LoadedModel` and its spec can be made of it."""

    blocks_at: ClassVar[str]  # a list of blocks, or of stages with `layers`
    edges_at: ClassVar[tuple[str, ...]]  # what holds the other parameters on an image's way
    branches_in: ClassVar[tuple[str, ...]] = ()  # attention and MLP inside a block
    class_tokens: ClassVar[int | None] = None

    def __init__(self, network: Any):
        super().__init__()
        self.blocks = nn.ModuleList(self._find_blocks(network))  # before `network`, so that they are named "blocks.0"
        self.network: Any = network

    def _find_blocks(self, network: Any) -> Iterable[nn.Module]:
        blocks: Iterable[nn.Module] = network.get_submodule(self.blocks_at)
        return blocks

    @property
    def edges(self) -> tuple[str, ...]:
        """Names of the modules that hold the other parameters on an image's way."""
        return tuple(f"network.{name}" for name in self.edges_at)

    @property
    def vision_config(self) -> Any:
        return getattr(self.network.config, "vision_config", self.network.config)


class Staged(Adapter):
    """A convolutional network, whose blocks are the residual blocks of all stages, in order."""

    downsampling: ClassVar[str | None] = None  # in a stage, before its blocks

    def _find_blocks(self, network: Any) -> Iterable[nn.Module]:
        return [block for stage in network.get_submodule(self.blocks_at) for block in stage.layers]

    @property
    def edges(self) -> tuple[str, ...]:
        stages = self.network.get_submodule(self.blocks_at)
        between = [
            f"network.{self.blocks_at}.{i}.{self.downsampling}"
            for i, stage in enumerate(stages)
            if self.downsampling and len(getattr(stage, self.downsampling))
        ]
        stem, *last = super().edges or (None,)
        return (*([stem] if stem else []), *between, *last)


class ResNet(Staged):
    blocks_at = "resnet.encoder.stages"
    edges_at = ("resnet.embedder",)

    def forward(self, images: Tensor) -> Output:
        features = self.network.resnet(images).pooler_output.flatten(1)
        return Output(features, self.network.classifier(features))


class ConvNext(Staged):
    blocks_at = "convnext.encoder.stages"
    edges_at = ("convnext.embeddings", "convnext.layernorm")
    downsampling = "downsampling_layer"

    def forward(self, images: Tensor) -> Output:
        features = self.network.convnext(images).pooler_output
        return Output(features, self.network.classifier(features))


class DinoV3ConvNext(Staged):
    """A network whose stem is the downsampling of the first stage."""

    blocks_at = "model.stages"
    edges_at = ("layer_norm",)
    downsampling = "downsample_layers"

    @property
    def edges(self) -> tuple[str, ...]:
        norm, *between = super().edges
        return (*between, norm)

    def forward(self, images: Tensor) -> Output:
        return Output(self.network(images).pooler_output)


class DinoV3(Adapter):
    blocks_at = "model.layer"
    edges_at = ("embeddings", "norm")
    branches_in = ("layer_scale1", "layer_scale2")
    class_tokens = 1

    def forward(self, images: Tensor, bool_masked_pos: Tensor | None = None) -> Output:
        tokens = self.network(images, bool_masked_pos=bool_masked_pos).last_hidden_state
        return Output(tokens[:, 0], tokens=tokens)


class DinoV2(DinoV3):
    blocks_at = "encoder.layer"
    edges_at = ("embeddings", "layernorm")


class VisionTransformer(Adapter):
    blocks_at = "vit.layers"
    edges_at = ("vit.embeddings", "vit.layernorm")
    branches_in = ("attention.o_proj", "mlp")  # attention itself returns a pair
    class_tokens = 1

    def forward(self, images: Tensor) -> Output:
        tokens = self.network.vit(images).last_hidden_state
        return Output(tokens[:, 0], self.network.classifier(tokens[:, 0]), tokens)


class MaskedAutoencoder(Adapter):
    """Without `noise` the model sees every patch, in order, and decodes nothing."""

    blocks_at = "vit.layers"
    edges_at = ("vit.embeddings", "vit.layernorm")
    branches_in = ("attention.o_proj", "mlp")
    class_tokens = 1

    def __init__(self, network: Any):
        super().__init__(network)
        self._seeing_all = copy.copy(network.vit.embeddings.config)
        self._seeing_all.mask_ratio = 0.0

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Output:
        embeddings: Any = self.network.vit.embeddings
        if noise is not None:
            visible = self.network.vit(images, noise=noise)
            prediction = self.network.decoder(visible.last_hidden_state, visible.ids_restore).logits
            return Output(visible.last_hidden_state[:, 0], prediction=prediction, mask=visible.mask)
        in_order = torch.arange(embeddings.patch_embeddings.num_patches, device=images.device, dtype=torch.float32)
        original, embeddings.config = embeddings.config, self._seeing_all
        try:
            tokens = self.network.vit(images, noise=in_order.expand(len(images), -1)).last_hidden_state
        finally:
            embeddings.config = original
        return Output(tokens[:, 0], tokens=tokens)


class ImageText(Adapter):
    """A model with a tower for images, which runs in `forward`, and one for text."""

    branches_in = ("self_attn.out_proj", "mlp")  # self_attn itself returns a pair

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Embed texts in the space shared with images, without normalisation and without gradient.

        Parameters
        ----------
        input_ids : int64 [m, length], of the model's tokenizer (SigLIP: padding="max_length", 64 tokens)
        attention_mask : [m, length], 1 where there is a token

        Returns
        -------
        [m, e]
        """
        with torch.no_grad():
            outputs = self._towers().get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        embedding: Tensor = outputs.pooler_output
        return embedding

    def _towers(self) -> Any:
        return self.network

    def _tokens(self, images: Tensor, first_norm: str) -> Tensor:
        """Tokens after the last norm, which runs once on all of them; transformers runs it on the class token alone."""
        vision = self._towers().vision_model
        hidden = getattr(vision, first_norm)(vision.embeddings(images))
        tokens: Tensor = vision.post_layernorm(vision.encoder(inputs_embeds=hidden).last_hidden_state)
        return tokens


class Clip(ImageText):
    blocks_at = "vision_model.encoder.layers"
    # "layrnorm" is how transformers spells it
    edges_at = (
        "vision_model.embeddings",
        "vision_model.pre_layrnorm",
        "vision_model.post_layernorm",
        "visual_projection",
    )
    class_tokens = 1

    def forward(self, images: Tensor) -> Output:
        tokens = self._tokens(images, "pre_layrnorm")
        return Output(tokens[:, 0], tokens=tokens, embedding=self.network.visual_projection(tokens[:, 0]))


class Siglip(ImageText):
    """A model that pools by attention: it has no class token, and the pooled vector is the embedding."""

    blocks_at = "vision_model.encoder.layers"
    edges_at = ("vision_model.embeddings", "vision_model.post_layernorm", "vision_model.head")
    class_tokens = 0

    def forward(self, images: Tensor) -> Output:
        vision = self.network.vision_model(images)
        return Output(vision.pooler_output, tokens=vision.last_hidden_state, embedding=vision.pooler_output)


class OwlVit(ImageText):
    """With `query_embeds` [n, queries, d] of `encode_text`, each patch gives a logit for every query, and a box."""

    blocks_at = "owlvit.vision_model.encoder.layers"
    edges_at = (
        "owlvit.vision_model.embeddings",
        "owlvit.vision_model.pre_layernorm",
        "owlvit.vision_model.post_layernorm",
    )
    class_tokens = 1

    def _towers(self) -> Any:
        return self.network.owlvit

    def forward(self, images: Tensor, query_embeds: Tensor | None = None) -> Output:
        tokens = self._tokens(images, "pre_layernorm")
        if query_embeds is None:
            return Output(tokens[:, 0], tokens=tokens)
        network: Any = self.network
        patches = network.layer_norm(tokens[:, 1:] * tokens[:, :1])
        logits, _ = network.class_predictor(patches, query_embeds)
        boxes = network.box_predictor(patches, patches)
        return Output(tokens[:, 0], tokens=tokens, query_logits=logits, boxes=boxes)
