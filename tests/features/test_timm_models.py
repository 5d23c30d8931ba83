"""Architectures of timm, where it is installed: all parameters are covered, and batches agree with images alone."""

import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

from tests.features.image_truth import captured, error
from tests.torchvision_stub import install

if importlib.util.find_spec("timm") is None:
    pytest.skip("timm is not installed", allow_module_level=True)
install()
import timm  # noqa: E402

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": 64},
    "deit3_small_patch16_224": {"img_size": 64},
    "beit_base_patch16_224": {"img_size": 64, "depth": 2},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 4},
    "swinv2_tiny_window8_256": {"img_size": 64, "window_size": 4},
    "samvit_base_patch16": {"img_size": 64, "depth": 4, "global_attn_indexes": (1, 3), "window_size": 2},
    "mvitv2_tiny": {"img_size": 64},
    "levit_128s": {"size": 224},
    "tiny_vit_5m_224": {"size": 224},
    "efficientformer_l1": {"size": 224},
    "efficientformerv2_s0": {"size": 224},
    "efficientvit_m0": {"size": 224},
    "coat_lite_tiny": {"img_size": 64},
    "xcit_nano_12_p16_224": {"size": 64},
    "cait_xxs24_224": {"img_size": 64},
    "pvt_v2_b0": {"size": 64},
    "edgenext_xx_small": {"size": 64},
    "mobilevit_xxs": {"size": 64},
    "poolformer_s12": {"size": 64},
    "convnextv2_atto": {"size": 64},
    "convnext_atto": {"size": 64},
    "resnet18": {"size": 64},
    "efficientnet_lite0": {"size": 64},
    "mobilenetv3_small_100": {"size": 64},
    "ghostnet_100": {"size": 64},
    "repvit_m0_9": {"size": 64},
    "fastvit_t8": {"size": 64},
    "dpn48b": {"size": 64},
    "hrnet_w18_small": {"size": 64},
    "visformer_tiny": {"size": 224},
    "twins_svt_small": {"img_size": 64},
    "twins_pcpvt_small": {"img_size": 64},
    "volo_d1_224": {"img_size": 64},
    "convit_tiny": {"img_size": 64},
    "tnt_s_patch16_224": {"img_size": 64, "depth": 3},
    "gcvit_xxtiny": {"img_size": 64, "window_size": 2},
    "maxvit_rmlp_pico_rw_256": {"img_size": 64},
    "coatnet_rmlp_nano_rw_224": {"img_size": 64},
    "davit_tiny": {"size": 64},
    "nest_tiny": {"img_size": 64},
    "focalnet_tiny_srf": {"size": 64},
    "swin_s3_tiny_224": {"img_size": 64, "window_size": (2, 2, 2, 2)},
    "swinv2_cr_tiny_224": {"img_size": 64, "window_size": 2},
    "hiera_tiny_224": {"img_size": 64},
    "eva02_tiny_patch14_224": {"img_size": 56, "depth": 3},
    "vit_relpos_small_patch16_224": {"img_size": 64, "depth": 3},
    "vit_base_patch16_siglip_224": {"img_size": 64, "depth": 2},
    "flexivit_small": {"img_size": 64, "depth": 3},
    "deit_tiny_distilled_patch16_224": {"img_size": 64},
    "mobileone_s0": {"size": 64},
    "mobilenetv4_conv_small": {"size": 64},
    "mobilenetv4_hybrid_medium": {"size": 64},
    "mnasnet_small": {"size": 64},
    "fbnetc_100": {"size": 64},
    "lcnet_050": {"size": 64},
    "tinynet_e": {"size": 64},
    "regnetx_002": {"size": 64},
    "regnety_002": {"size": 64},
    "regnetz_b16": {"size": 64},
    "densenet121": {"size": 64},
    "dla34": {"size": 64},
    "inception_v4": {"size": 96},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_parameters_of_an_architecture_are_covered(name: str) -> None:
    torch.manual_seed(0)
    settings = dict(ARCHITECTURES[name])
    size = settings.pop("size", settings.get("img_size"))
    model = nn.Sequential(timm.create_model(name, pretrained=False, **settings)).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, std=0.1)
    model, images = model.double(), torch.randn(3, 3, size, size).double()  # some amplify rounding a thousandfold
    alone = captured(model, "0", images, batch_size=1)
    assert error(captured(model, "0", images, batch_size=3), alone) < 1e-5
