"""CUDA arrays in a build without nvcc: every op runs by its reference, in plain torch."""

import subprocess
import sys
import textwrap

import pytest
import torch
import torch.fx.experimental._config

from gradkern import _native
from gradkern.kernels import ops
from tests.cases import CONV, MOMENTS, OUTER, SCALE, SCORES, SKETCH
from tests.emulate import OPS

DISPATCHED = """
import importlib.util, sys, torch
path = {path!r}
spec = importlib.util.spec_from_file_location("gradkern._native", path)
sys.modules[spec.name] = native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
native.cuda_architectures = lambda: {architectures!r}
import gradkern.kernels.ops
has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
for key in ("CUDA", "CompositeExplicitAutograd"):
    print(*(has_kernel(f"gradkern::{{name}}", key) for name in {names!r}))
"""


@pytest.mark.parametrize("architectures", ["", "80-real 90"])
def test_native_kernels_take_cuda_arrays_where_they_were_built(architectures: str) -> None:
    code = textwrap.dedent(DISPATCHED).format(path=_native.__file__, architectures=architectures, names=OPS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    on_cuda, by_default = done.stdout.splitlines()
    assert set(on_cuda.split()) == {str(bool(architectures))}
    assert set(by_default.split()) == {"True"}


def test_references_compute_where_their_arrays_are() -> None:
    """Torch refuses arrays of several devices, and an array without data is of another one than the CPU."""
    with torch.fx.experimental._config.patch(meta_nonzero_assume_all_nonzero=True):
        x = torch.empty(SKETCH[5].shape, device="meta")
        results = [ops._sketch_default(x, *SKETCH[5].spec)]
        a, g = (value.to("meta") for value in OUTER[5].inputs(torch.float32))
        results += [ops._outer_default(a, g, *OUTER[5].spec, True, False)]
        x, g = (value.to("meta") for value in CONV[6].inputs(torch.float32))
        results += [ops._conv_default(x, g, *CONV[6].spec, [3, 3], [1, 1], [1, 1], [1, 1], 1, True, False)]
        y, group = (value.to("meta") for value in MOMENTS[3].inputs(torch.float32))
        results += ops._moments_default(y, group, 1)
        scores = [value.to("meta") for value in SCORES[4].inputs(torch.float32)]
        results += ops.reference.fold_scores(*scores)
        results += [ops._scale_default(*(value.to("meta") for value in SCALE[1].inputs(torch.float32)))]
    assert {result.device.type for result in results} == {"meta"}
