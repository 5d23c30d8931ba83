"""Models of transformers: outputs, names, strict weights. Nothing here needs a network."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gradkern
from gradkern.cli import main
from gradkern.models import CATALOGUE, architecture, load_model
from gradkern.objectives import Output
from tests.small_models import SMALL, small
from tests.toy_models import Transformer

pytest.importorskip("transformers", reason="needs the extra 'models'")

FAMILIES = list(SMALL)
VITS = [family for family in FAMILIES if family not in ("resnet", "convnext", "dinov3-convnext")]
FIELDS = {
    "resnet": {"logits"},
    "convnext": {"logits"},
    "dinov3-convnext": set(),
    "vit": {"logits", "tokens"},
    "dinov1-head": {"tokens", "projection"},
    "clip": {"tokens", "embedding"},
    "siglip": {"tokens", "embedding"},
}


def images(family: str, n: int = 2) -> Tensor:
    side = SMALL[family][2]
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(5))


def given(output: Output) -> set[str]:
    return {name for name, value in output._asdict().items() if value is not None}


def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # read once, on import
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


class TestForward:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_fields_and_shapes(self, family: str) -> None:
        model = small(family)
        assert not model.training
        output = model(images(family))
        assert isinstance(output, Output)
        assert given(output) == {"features"} | FIELDS.get(family, {"tokens"})
        assert output.features.shape == (2, 32)
        spec = model.spec
        if output.tokens is not None:
            assert output.tokens.shape == (2, spec.class_tokens + spec.register_tokens + 16, 32)
            assert spec.class_tokens == (0 if family == "siglip" else 1)
            assert spec.patch_size == 8
        if spec.class_tokens:
            assert torch.equal(output.features, output.tokens[:, 0])
        assert (spec.class_tokens is None) == (family not in VITS)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_an_image_does_not_depend_on_the_others(self, family: str) -> None:
        model, batch = small(family), images(family, 3)
        torch.testing.assert_close(model(batch).features[1:2], model(batch[1:2]).features)

    @pytest.mark.parametrize("family", ["dinov2", "dinov3"])
    def test_masked_patches(self, family: str) -> None:
        model, batch = small(family), images(family)
        hidden = torch.zeros(2, 16, dtype=torch.bool)
        torch.testing.assert_close(model(batch, bool_masked_pos=hidden).features, model(batch).features)
        hidden[:, 3] = True
        assert not torch.allclose(model(batch, bool_masked_pos=hidden).features, model(batch).features)

    def test_masked_autoencoder(self) -> None:
        model, batch = small("mae"), images("mae")
        noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(1))
        output = model(batch, noise=noise)
        assert given(output) == {"features", "prediction", "mask"}
        assert output.prediction.shape == (2, 16, 8 * 8 * 3)
        assert output.mask.sum(1).tolist() == [12, 12]
        expected = model.network(batch, noise=noise)
        torch.testing.assert_close(output.prediction, expected.logits)
        assert torch.equal(output.mask, expected.mask)
        assert given(model(batch)) == {"features", "tokens"}
        assert torch.equal(model(batch).features, model(batch).features)  # nothing is drawn

    @pytest.mark.parametrize("family", ["clip", "siglip"])
    def test_image_and_text_as_transformers_has_them(self, family: str) -> None:
        model, batch = small(family), images(family)
        output = model(batch)
        expected = model.network.get_image_features(batch)
        torch.testing.assert_close(output.embedding, expected.pooler_output)
        words = torch.randint(3, 49, (5, 7), generator=torch.Generator().manual_seed(0))
        text = model.encode_text(words, torch.ones(5, 7, dtype=torch.int64))
        assert text.shape == (5, output.embedding.shape[1])
        assert not text.requires_grad
        torch.testing.assert_close(text, model.network.get_text_features(words).pooler_output)

    def test_detector(self) -> None:
        model, batch = small("owlvit"), images("owlvit")
        words = torch.randint(3, 49, (6, 7), generator=torch.Generator().manual_seed(0))
        queries = model.encode_text(words).reshape(2, 3, 32)
        output = model(batch, query_embeds=queries)
        expected = model.network(input_ids=words, pixel_values=batch, attention_mask=torch.ones_like(words))
        assert given(output) == {"features", "tokens", "query_logits", "boxes"}
        torch.testing.assert_close(output.query_logits, expected.logits)
        torch.testing.assert_close(output.boxes, expected.pred_boxes)
        torch.testing.assert_close(output.features, expected.vision_model_output.pooler_output)


class TestNames:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_layers_edges_and_branches_are_modules(self, family: str) -> None:
        model = small(family)
        modules, spec = dict(model.named_modules()), model.spec
        assert {*spec.layers, *spec.edges, *spec.branches} <= modules.keys()
        assert len(spec.branches) == (2 * len(spec.layers) if family in VITS else 0)
        used = [id(p) for name in (*spec.layers, *spec.edges) for p in modules[name].parameters()]
        assert len(used) == len(set(used))
        rest = [name for name, parameter in model.named_parameters() if id(parameter) not in used]
        heads = ("classifier", "text", "decoder", "head", "logit", "network.layer_norm", "owlvit.visual_projection")
        assert [name for name in rest if not any(head in name for head in heads)] == []

    @pytest.mark.parametrize("family", FAMILIES)
    def test_every_vision_parameter_gets_a_gradient(self, family: str) -> None:
        model = small(family)
        modules, spec = dict(model.named_modules()), model.spec
        model(images(family)).features.square().sum().backward()
        names = [
            f"{name}.{key}" for name in spec.layers for key, p in modules[name].named_parameters() if p.grad is None
        ]
        assert names == []

    @pytest.mark.parametrize("family", VITS)
    def test_a_block_adds_its_branches(self, family: str) -> None:
        model = small(family)
        modules, spec, seen = dict(model.named_modules()), model.spec, {}

        def keep(name: str) -> Any:
            return lambda module, given, output: seen.update({name: (given[0] if given else None, output)})

        for name in (*spec.layers, *spec.branches):
            modules[name].register_forward_hook(keep(name))
        model(images(family))
        for i, layer in enumerate(spec.layers):
            attention, mlp = (seen[name][1] for name in spec.branches[2 * i : 2 * i + 2])
            torch.testing.assert_close(seen[layer][1], seen[layer][0] + attention + mlp)

    def test_depth(self) -> None:
        spec = small("dinov2").spec
        assert [spec.depth(layer) for layer in spec.layers] == [0, 0.5, 1]
        assert [spec.depth(branch) for branch in spec.branches] == [0, 0, 0.25, 0.5, 0.75, 1]
        with pytest.raises(ValueError, match=r"layer must be one of spec.layers or spec.branches, got 'x'"):
            spec.depth("x")

    @pytest.mark.parametrize("name", CATALOGUE)
    def test_published_size(self, name: str) -> None:
        model, row = architecture(name), CATALOGUE[name]
        parameters = list(model.parameters())
        assert all(parameter.is_meta for parameter in parameters)
        assert sum(parameter.numel() for parameter in parameters) / 1e6 == pytest.approx(row.parameters, rel=0.01)
        assert model.spec.resolution == row.resolution
        assert {*model.spec.layers, *model.spec.edges, *model.spec.branches} <= dict(model.named_modules()).keys()


class TestWeights:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_random_weights_follow_their_seed(self, family: str) -> None:
        before = torch.get_rng_state()
        first, again, other = (small(family, seed) for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), before)
        pairs = list(zip(first.state_dict().items(), again.state_dict().items(), strict=True))
        assert all(key == other_key and torch.equal(a, b) for (key, a), (other_key, b) in pairs)
        assert not torch.equal(first(images(family)).features, other(images(family)).features)
        assert first.spec.weights == "random"
        assert first.spec.weights_sha256 is None

    @pytest.mark.parametrize("kind", [".safetensors", ".pth", "folder"])
    @pytest.mark.parametrize("family", [family for family in FAMILIES if family != "dinov1-head"])
    def test_round_trip(self, family: str, kind: str, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        model = small(family, seed=3)
        path = tmp_path / ("w" if kind == "folder" else f"w{kind}")
        if kind == "folder":  # under the names that the hub has
            model.network.save_pretrained(path)
        elif kind == ".pth":
            torch.save(model.network.state_dict(), path)
        else:
            save_file({key: value.contiguous() for key, value in model.network.state_dict().items()}, path)
        name, config, _ = SMALL[family]
        loaded = load_model(name, path, config=config)
        assert torch.equal(loaded(images(family)).features, model(images(family)).features)
        pairs = zip(loaded.network.state_dict().items(), model.network.state_dict().items(), strict=True)
        assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)
        assert len(loaded.spec.weights_sha256) == 64

    def test_published_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A local cache of the hub, whose model lies in several files."""
        home = tmp_path / "models--openai--clip-vit-base-patch16"
        shards = home / "snapshots" / ("a" * 40)
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("a" * 40)
        model = small("clip", seed=3)
        model.network.save_pretrained(shards, max_shard_size="50KB")
        assert len(list(shards.glob("*.safetensors"))) > 1
        offline(tmp_path, monkeypatch)
        expected = model(images("clip")).embedding
        published = load_model("clip-vit-base-16")
        assert torch.equal(published(images("clip")).embedding, expected)
        again = load_model("clip-vit-base-16", shards, config=SMALL["clip"][1])
        assert torch.equal(again(images("clip")).embedding, expected)
        assert published.spec.weights_sha256 == again.spec.weights_sha256
        assert len(again.spec.weights_sha256) == 64

    def test_position_ids_of_older_checkpoints_are_no_weights(self, tmp_path: Path) -> None:
        state = small("clip").network.state_dict()
        torch.save({**state, "text_model.embeddings.position_ids": torch.arange(16)[None]}, tmp_path / "w.pth")
        load_model("clip-vit-base-16", tmp_path / "w.pth", config=SMALL["clip"][1])
        torch.save({**state, "text_model.embeddings.other": torch.arange(16)[None]}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r"1 keys unexpected: text_model\.embeddings\.other"):
            load_model("clip-vit-base-16", tmp_path / "w.pth", config=SMALL["clip"][1])

    def test_a_renamed_key_is_told(self, tmp_path: Path) -> None:
        state = small("vit").network.state_dict()
        state["vit.strange"] = state.pop("vit.layernorm.weight")
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(
            ValueError, match=r"w\.pth does not .*1 keys missing: vit.layernorm.weight; 1 keys unexpected: vit.strange"
        ):
            load_model("vit-large-16", tmp_path / "w.pth", config=SMALL["vit"][1])

    def test_other_shapes_are_told(self, tmp_path: Path) -> None:
        torch.save(small("vit").network.state_dict(), tmp_path / "w.pth")
        config = {**SMALL["vit"][1], "num_labels": 9}
        with pytest.raises(ValueError, match=r"2 keys of other shapes: classifier\.bias, classifier.weight"):
            load_model("vit-large-16", tmp_path / "w.pth", config=config)

    def test_pickles_are_not_run(self, tmp_path: Path) -> None:
        torch.save({"a": Path("x")}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r"w\.pth holds more than weights.*state_dict"):
            load_model("vit-large-16", tmp_path / "w.pth")

    def test_no_such_weights(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="weights must be 'pretrained', 'random' or a file, got 'nowhere'"):
            load_model("resnet50", "nowhere")
        with pytest.raises(FileNotFoundError, match=r"holds neither model\.safetensors nor"):
            load_model("resnet50", tmp_path)

    @pytest.mark.parametrize("name", ["dinov3-vitb16", "resnet50"])
    def test_offline(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        offline(tmp_path, monkeypatch)
        with pytest.raises(OSError, match="is not in the local cache") as caught:
            load_model(name)
        message = str(caught.value)
        assert f"`hf download {CATALOGUE[name].builder.origin}`" in message
        assert "weights=PATH" in message
        assert ("accept Meta's DINOv3 License" in message) == (name == "dinov3-vitb16")

    def test_a_model_without_a_configuration_takes_no_config(self) -> None:
        with pytest.raises(ValueError, match="load_model: config must be None for 'efficientnet-lite0'"):
            load_model("efficientnet-lite0", "random", config={"num_labels": 3})

    def test_arguments(self) -> None:
        with pytest.raises(ValueError, match=r"name must be one of \[.*\], got 'x'"):
            gradkern.load_model("x")
        with pytest.raises(ValueError, match=r"config must be None with pretrained weights"):
            load_model("resnet50", config={"num_labels": 3})
        with pytest.raises(ValueError, match="config must name fields of ResNetConfig, got 'depht'"):
            load_model("resnet50", "random", config={"depht": 3})


_TIMM = {
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.": "",
    "layers.": "blocks.",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "layernorm": "norm",
    "attention.o_proj": "attn.proj",
}


def timm_names(network: torch.nn.Module) -> dict[str, Tensor]:
    """Weights under the names of facebookresearch/dino; written apart from what the package does."""
    state = dict(network.state_dict())
    for key in [key for key in state if ".attention.q_proj." in key]:
        parts = [state.pop(key.replace("q_proj", f"{which}_proj")) for which in "qkv"]
        state[key.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    renamed = {}
    for key, value in state.items():
        for ours, theirs in _TIMM.items():
            key = key.replace(ours, theirs)
        renamed[key] = value
    return renamed


class TestDinoV1:
    CONFIG = SMALL["dinov1"][1]

    def checkpoint(self) -> tuple[Any, Any, dict[str, Any]]:
        student, teacher = small("dinov1-head", 1), small("dinov1-head", 2)
        roles = {}
        for role, model, prefix in (("student", student, "module."), ("teacher", teacher, "")):
            roles[role] = {f"{prefix}backbone.{key}": value for key, value in timm_names(model.network).items()}
            roles[role] |= {f"{prefix}head.{key}": value for key, value in model.head.state_dict().items()}
        center = torch.arange(20.0)[None]
        rest = {"epoch": 3, "args": argparse.Namespace(arch="vit_small"), "optimizer": {}}
        return student, teacher, {**roles, "dino_loss": {"center": center}, **rest}

    def test_full_checkpoint(self, tmp_path: Path) -> None:
        student, teacher, full = self.checkpoint()
        torch.save(full, tmp_path / "full.pth")
        model = load_model("dinov1-vits16", tmp_path / "full.pth", config=self.CONFIG)
        batch = images("dinov1")
        for field in ("features", "projection"):
            torch.testing.assert_close(getattr(model(batch), field), getattr(student(batch), field))
            torch.testing.assert_close(getattr(model.teacher(batch), field), getattr(teacher(batch), field))
        assert torch.equal(model.center, torch.arange(20.0)[None])
        inside = {id(parameter) for parameter in model.parameters()}
        assert not any(id(parameter) in inside or parameter.requires_grad for parameter in model.teacher.parameters())
        assert model.double().teacher(batch.double()).projection.dtype == torch.float64  # it moves with the model
        assert not model.train().teacher.training

    @pytest.mark.parametrize(
        ("role", "key"),
        [
            ("student", "module.backbone.blocks.1.attn.qkv.weight"),
            ("student", "module.head.mlp.2.bias"),
            ("teacher", "backbone.cls_token"),
            ("teacher", "head.last_layer.weight_g"),
            ("teacher", "head.last_layer.weight_v"),
            ("dino_loss", "center"),
        ],
    )
    def test_a_renamed_key_is_told(self, role: str, key: str, tmp_path: Path) -> None:
        _, _, full = self.checkpoint()
        full[role][key + "s"] = full[role].pop(key)
        torch.save(full, tmp_path / "full.pth")
        with pytest.raises(ValueError, match=rf"full\.pth, {role}.* missing"):
            load_model("dinov1-vits16", tmp_path / "full.pth", config=self.CONFIG)

    def test_backbone_alone(self, tmp_path: Path) -> None:
        torch.save(timm_names(small("dinov1", 4).network), tmp_path / "backbone.pth")
        model = load_model("dinov1-vits16", tmp_path / "backbone.pth", config=self.CONFIG)
        assert model.teacher is None
        assert model.center is None
        torch.testing.assert_close(model(images("dinov1")).features, small("dinov1", 4)(images("dinov1")).features)


class TestCommandLine:
    def test_models(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["models"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["name", *CATALOGUE]
        assert "dinov3-vit7b16         6716.0 M    224         none" in "\n".join(lines)

    def test_layers(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["layers", "dinov2-base", "--branches"]) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert len(lines) == 36
        assert lines[:3] == [
            ["blocks.0.layer_scale1", "0.000"],
            ["blocks.0.layer_scale2", "0.000"],
            ["blocks.0", "0.000"],
        ]
        assert lines[-1] == ["blocks.11", "1.000"]

    def test_unknown(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["layers", "x"]) == 2
        assert "gradkern layers: load_model: name must be one of" in capsys.readouterr().err


def test_a_module_is_described_and_returned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Transformer()
    model.train()
    loaded = load_model(model, config={"class_tokens": 1, "register_tokens": 0, "resolution": 16})
    assert loaded is model
    assert not model.training
    assert loaded.spec.layers == ("blocks.0", "blocks.1", "blocks.2")
    assert (loaded.spec.resolution, loaded.spec.weights, loaded.spec.name) == (16, "pretrained", "Transformer")
    images = torch.randn(3, 3, 16, 16)
    features = gradkern.capture(loaded, images, gradkern.objectives.Entropy(), tokens="class")
    assert features["gradient", "blocks.1"].shape == (3, 1024)
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    other = load_model(Transformer(), tmp_path / "mine.pth")
    assert torch.equal(other.head.weight, model.head.weight)
    assert other.spec.weights_sha256 is not None
    state = model.state_dict()
    state["hed.weight"] = state.pop("head.weight")
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=r"head\.weight.*hed\.weight|hed\.weight.*head\.weight"):
        load_model(Transformer(), tmp_path / "wrong.pth")


def test_blocks_of_stages_are_those_of_all_stages() -> None:
    from transformers import ResNetConfig, ResNetModel

    network = ResNetModel(ResNetConfig(depths=[2, 1], hidden_sizes=[8, 16], embedding_size=8))
    assert load_model(network).spec.layers == tuple(
        f"encoder.stages.{stage}.layers.{i}" for stage, i in ((0, 0), (0, 1), (1, 0))
    )
    assert load_model(torch.nn.Linear(2, 2)).spec.layers == ()


def test_a_module_with_bad_arguments_is_refused() -> None:
    with pytest.raises(ValueError, match=r"config must name fields of a module's spec, .*, got \['pixels'\]"):
        load_model(torch.nn.Linear(2, 2), config={"pixels": 3})
    with pytest.raises(ValueError, match=r"weights must be 'pretrained' .* or a file, got 'random'"):
        load_model(torch.nn.Linear(2, 2), "random")


def test_a_model_and_its_spec_fit_a_screen() -> None:
    model = small("clip")
    for shown in (repr(model), repr(model.spec)):
        assert shown.startswith("clip-vit-base-16 (random weights)\n")
        assert "3: blocks.0, blocks.1, blocks.2" in shown
        assert len(shown.splitlines()) < 15
        assert max(map(len, shown.splitlines())) < 120
    assert "million parameters" in repr(model)
    assert model._repr_html_().startswith("<table><caption>clip-vit-base-16 (random weights)</caption>")
