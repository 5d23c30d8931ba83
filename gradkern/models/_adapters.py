"""Models of transformers as `LoadedModel`s: one small class per family."""

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gradkern.models._spec import LoadedModel
from gradkern.objectives._interface import Output


class Adapter(LoadedModel):
    """What all families share: where their parts lie in the network of transformers."""

    blocks_at: ClassVar[str]  # a list of blocks, or of stages with `layers`
    edges_at: ClassVar[tuple[str, ...]]
    branches_in: ClassVar[tuple[str, ...]] = ()  # attention, MLP, inside a block
    class_tokens: ClassVar[int | None] = None

    def __init__(self, network: Any):
        super().__init__()
        self.blocks = nn.ModuleList(self._find_blocks(network))  # before `network`: so they are named "blocks.0"
        self.network: Any = network

    def _find_blocks(self, network: Any) -> Iterable[nn.Module]:
        blocks: Iterable[nn.Module] = network.get_submodule(self.blocks_at)
        return blocks

    @property
    def edges(self) -> tuple[str, ...]:
        return tuple(f"network.{place}" for place in self.edges_at)

    @property
    def vision_config(self) -> Any:
        return getattr(self.network.config, "vision_config", self.network.config)


class Staged(Adapter):
    """Convolutional networks: the residual blocks of all stages, in order."""

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
    """Its stem is the first stage's downsampling."""

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
    """Without `noise` every patch is seen, in order, and nothing is decoded."""

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
            seen = self.network.vit(images, noise=noise)
            prediction = self.network.decoder(seen.last_hidden_state, seen.ids_restore).logits
            return Output(seen.last_hidden_state[:, 0], prediction=prediction, mask=seen.mask)
        in_order = torch.arange(embeddings.patch_embeddings.num_patches, device=images.device, dtype=torch.float32)
        masking, embeddings.config = embeddings.config, self._seeing_all
        try:
            tokens = self.network.vit(images, noise=in_order.expand(len(images), -1)).last_hidden_state
        finally:
            embeddings.config = masking
        return Output(tokens[:, 0], tokens=tokens)


class ImageText(Adapter):
    """A tower for images, which runs in `forward`, and one for text."""

    branches_in = ("self_attn.out_proj", "mlp")  # self_attn itself returns a pair

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Texts in the space shared with images, not normalised, without gradient.

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
        """The last norm runs once, on all tokens; transformers would give it the class token alone."""
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
    """Pooled by attention: no class token, and the pooled vector is the embedding."""

    blocks_at = "vision_model.encoder.layers"
    edges_at = ("vision_model.embeddings", "vision_model.post_layernorm", "vision_model.head")
    class_tokens = 0

    def forward(self, images: Tensor) -> Output:
        seen = self.network.vision_model(images)
        return Output(seen.pooler_output, tokens=seen.last_hidden_state, embedding=seen.pooler_output)


class OwlVit(ImageText):
    """With `query_embeds` [n, queries, d] (of `encode_text`) each patch says how well it fits, and its box."""

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
