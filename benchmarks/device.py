"""The first minutes on a GPU, a step at a time: python -m benchmarks.device STEP [--dry]; device_run.sh runs all.

Every row is written to $OUT/<device>-<step>.json as soon as it is there, so that what was measured comes back whatever
happens next. Times are those of the device: medians over replays of a CUDA graph, with inputs that take turns and are
together larger than the L2 cache. --dry runs every step on a CPU with small shapes, and times nothing.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import gradkern
from gradkern.kernels import formed, ops, reference
from gradkern.kernels.reference import Window

Call = Callable[..., Any]
CONVOLUTIONS = [  # c, side, outputs, window, stride, padding, groups
    (256, 14, 256, 3, 1, 1, 1), (64, 56, 64, 3, 1, 1, 1), (3, 224, 64, 7, 2, 3, 1), (384, 14, 384, 7, 1, 3, 384),
    (96, 56, 96, 3, 1, 1, 96),
]  # fmt: skip
LINEAR = [(16, 197, 768, 3072), (16, 197, 1024, 4096), (16, 257, 1280, 5120)]


class Run:
    """One step: where its arrays are and where its rows go."""

    def __init__(self, step: str, dry: bool):
        self.dry, self.device = dry, "cpu" if dry else "cuda"
        name = "dry" if dry else re.sub(r"\W+", "-", torch.cuda.get_device_name().lower())
        self.path = Path(os.environ.get("OUT", Path(__file__).parent / "results")) / f"{name}-{step}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        self.note(
            what="versions", torch=torch.__version__, gradkern=gradkern.__version__, code=ops.cuda_architectures()
        )

    def note(self, **row: Any) -> None:
        self.rows.append(row)
        text = ",\n".join(json.dumps(row) for row in self.rows)
        part = self.path.with_suffix(".part")
        part.write_text(f"[\n{text}\n]\n")
        part.replace(self.path)
        print(*(f"{key}={value}" for key, value in row.items()), flush=True)

    def cache(self) -> int:
        """Bytes of the L2 cache."""
        return 2**20 if self.dry else torch.cuda.get_device_properties(0).L2_cache_size

    def size(self, size: int, small: int = 2) -> int:
        return min(size, small) if self.dry else size

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, device=self.device).to(dtype)

    def microseconds(
        self, call: Call, inputs: Sequence[tuple[Any, ...]], launches: int = 8, replays: int = 20
    ) -> float:
        """Device time of a call, by replays of a graph of several calls."""
        if self.dry:
            call(*inputs[0])
            return 0.0
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for arguments in inputs:
                call(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = [call(*inputs[i % len(inputs)]) for i in range(launches)]
        for _ in range(3):
            graph.replay()
        times = [self._replay(graph) / launches for _ in range(replays)]
        del kept
        return round(statistics.median(times), 2)

    @staticmethod
    def _replay(graph: torch.cuda.CUDAGraph) -> float:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        return 1e3 * start.elapsed_time(stop)

    def compare(self, what: dict[str, Any], calls: dict[str, Call], inputs: Sequence[tuple[Any, ...]]) -> None:
        """A row for each of several ways to the same; one that fails is a row that says so."""
        for way, call in calls.items():
            try:
                self.note(**what, way=way, us=self.microseconds(call, inputs))
            except Exception as error:
                self.note(**what, way=way, error=f"{type(error).__name__}: {error}"[:200])

    def seconds(self, call: Call) -> float:
        start = time.perf_counter()
        call()
        if not self.dry:
            torch.cuda.synchronize()
        return round(time.perf_counter() - start, 3)


def ceilings(run: Run) -> None:
    """What a copy and a product of large arrays reach."""
    if not run.dry:
        device = torch.cuda.get_device_properties(0)
        run.note(what="device", name=device.name, multiprocessors=device.multi_processor_count, l2=device.L2_cache_size)
    x = run.normal(run.size(2**29, 2**10))
    us = run.microseconds(lambda to, source: to.copy_(source), [(torch.empty_like(x), x)], 4)
    run.note(what="copy", us=us, TBs=us and round(2 * x.nbytes / us / 1e6, 2))
    del x
    side = run.size(8192, 64)
    for dtype in (torch.bfloat16, torch.float32):
        a = run.normal(side, side, dtype=dtype)
        us = run.microseconds(torch.mm, [(a, a)], 4, 5)
        run.note(what="product", dtype=str(dtype), us=us, TFLOPs=us and round(2 * side**3 / us / 1e6))


def errors(run: Run) -> None:
    """Relative errors of every kernel on fresh inputs, against the references in float64 on the CPU."""

    def note(op: str, got: Tensor, truth: Tensor, **what: Any) -> None:
        difference = (got.double().cpu() - truth.double().cpu()).norm() / truth.double().norm()
        run.note(what=op, **what, error=float(f"{float(difference):.3g}"))

    def on(*tensors: Tensor) -> list[Tensor]:
        return [tensor.to(run.device) for tensor in tensors]

    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.randn(3, 201, 768).to(dtype)
        for k in (1024, 5000, 20011):
            note("sketch", gradkern.sketch(*on(x), k), reference.sketch(x, k), dtype=str(dtype), k=k)
        for positions in (197, run.size(3136, 200), run.size(12544, 200)):  # the last show how sums are rounded
            a, g = torch.randn(2, positions, 147).to(dtype), torch.randn(2, positions, 64).to(dtype)
            truth = reference.sketch_outer(a, g, 1024, 0, 1, 0, True)
            got = gradkern.sketch_outer(*on(a, g), 1024, bias=True)
            note("sketch_outer", got, truth, dtype=str(dtype), positions=positions)
        a, g = torch.randn(2, 197, run.size(768, 64)).to(dtype), torch.randn(2, 197, run.size(3072, 64)).to(dtype)
        for bias in (False, True):
            truth = reference.sketch_outer(a, g, 1024, 0, 1, 0, bias)
            got = formed.sketch_outer(*on(a, g), bias, sketch_of_1024, run.cache())
            if dtype == torch.float32:
                note("sketch_outer, formed", got, truth, dtype=str(dtype), bias=bias)
            else:  # gradients are rounded to 8 or 11 bits before they are sketched
                rounding = float((got.cpu() - truth).norm() / truth.norm())
                run.note(what="sketch_outer, formed", dtype=str(dtype), bias=bias, rounding=float(f"{rounding:.3g}"))
        for c, groups in ((64, 1), (32, 32)):
            x, g = (torch.randn(2, c, run.size(56, 9), run.size(56, 9)).to(dtype) for _ in range(2))
            window = Window((3, 3), (1, 1), (1, 1), (1, 1), groups)
            truth = reference.sketch_conv(x, g, window, (1024, 0, 1, 0), False)
            got = gradkern.sketch_conv(*on(x, g), 1024, kernel_size=3, padding=1, groups=groups)
            note("sketch_conv", got, truth, dtype=str(dtype), groups=groups)
    for dtype in (torch.float32, torch.float64):
        y, group = torch.randn(997, 301).to(dtype) + 10, torch.arange(997).mul(5).div(997).int()
        pairs = zip(ops.column_moments(*on(y, group), 5), reference.column_moments(y, group, 5), strict=True)
        for name, (got, truth) in zip(("sum", "spread", "low", "high"), pairs, strict=True):
            note(f"column_moments {name}", got, truth, dtype=str(dtype))
        B, D, F = (torch.randn(300, 200).to(dtype) for _ in range(3))
        scored = B, D, torch.randn(300, 200).double(), F, *(torch.randn(20, 300).double() for _ in range(3))
        pairs = zip(ops.fold_scores(*on(*scored)), reference.fold_scores(*scored), strict=True)
        for name, (got, truth) in zip(("product", "square"), pairs, strict=True):
            note(f"fold_scores {name}", got, truth, dtype=str(dtype))
        scale = B, torch.rand(300).double(), torch.rand(200).double() + 0.1
        note("select_scale", ops.select_scale(*on(*scale)), reference.select_scale(*scale), dtype=str(dtype))


def sketch_times(run: Run) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for n, k in ((64, 1024), (64, 4096), (64, 16384), (640, 1024)):
            inputs = [
                (run.normal(run.size(n), 201, run.size(768, 128), dtype=dtype),) for _ in range(1 if run.dry else 4)
            ]
            rivals: dict[str, Call] = {"gradkern": lambda x, k=k: gradkern.sketch(x, k), "sum": lambda x: x.sum()}
            if n == 64 and k == 1024:
                entries = inputs[0][0][0].numel()
                bucket = torch.randint(k, (entries,), device=run.device)
                sign = torch.randint(2, (entries,), device=run.device).to(dtype) * 2 - 1
                to = torch.zeros(len(inputs[0][0]), k, device=run.device, dtype=dtype)
                rivals["index_add"] = lambda x, to=to, b=bucket, s=sign: to.index_add(1, b, x.flatten(1) * s)
                if dtype == torch.float32:
                    place = torch.stack([bucket, torch.arange(entries, device=run.device)])
                    sparse = torch.sparse_coo_tensor(place, sign, (k, entries)).coalesce().to_sparse_csr()
                    rivals["cuSPARSE"] = lambda x, sparse=sparse: sparse @ x.flatten(1).T
                dense = run.normal(entries, 64, dtype=dtype)  # a sixteenth of the columns
                rivals["dense, of 64 columns"] = lambda x, dense=dense: x.flatten(1) @ dense
            run.compare({"op": "sketch", "n": n, "k": k, "dtype": str(dtype)}, rivals, inputs)


def by_the_kernel(call: Call) -> Call:
    """The call without the choice of forming gradients by the library."""

    def without_choice(*inputs: Any) -> Any:
        choice, formed.is_faster = formed.is_faster, lambda *rest: False
        try:
            return call(*inputs)
        finally:
            formed.is_faster = choice

    return without_choice


def sketch_of_1024(gradient: Tensor) -> Tensor:
    return gradkern.sketch(gradient, 1024)


def gradients_by_torch_func(a: Tensor, g: Tensor) -> Tensor:
    """A gradient of the weight for each sample, as torch's own transforms make them, then their sketches."""

    def output(weight: Tensor, a: Tensor, g: Tensor) -> Tensor:
        return (nn.functional.linear(a, weight) * g).sum()

    weight = a.new_zeros(g.shape[2], a.shape[2])
    gradients = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0, 0))(weight, a, g)
    return sketch_of_1024(gradients.contiguous())


def product_times(run: Run) -> None:
    for n, t, p, o in LINEAR[: 1 if run.dry else None]:
        for dtype in (torch.bfloat16, torch.float32):
            shapes = (run.size(n), t, run.size(p, 64)), (run.size(n), t, run.size(o, 64))
            inputs = [tuple(run.normal(*shape, dtype=dtype) for shape in shapes) for _ in range(1 if run.dry else 2)]
            calls: dict[str, Call] = {
                "chosen": lambda a, g: gradkern.sketch_outer(a, g, 1024),
                "fused": by_the_kernel(lambda a, g: gradkern.sketch_outer(a, g, 1024)),
                "formed": lambda a, g: formed.sketch_outer(a, g, False, sketch_of_1024, run.cache()),
                "formed at once": lambda a, g: gradkern.sketch(torch.bmm(g.mT, a), 1024),
                "bmm": lambda a, g: torch.bmm(g.mT, a),
                "torch.func": gradients_by_torch_func,
                "summed": lambda a, g: g.flatten(0, 1).mT @ a.flatten(0, 1),
            }
            run.compare({"op": "sketch_outer", "shape": [n, t, p, o], "dtype": str(dtype)}, calls, inputs)
    for c, side, o, kernel, stride, padding, groups in CONVOLUTIONS[: 1 if run.dry else None]:
        out, n = (side + 2 * padding - kernel) // stride + 1, run.size(16)
        x, g = run.normal(n, c, side, side, dtype=torch.bfloat16), run.normal(n, o, out, out, dtype=torch.bfloat16)
        weight = run.normal(o, c // groups, kernel, kernel, dtype=torch.bfloat16)
        options = {"kernel_size": kernel, "stride": stride, "padding": padding, "groups": groups}
        window = Window((kernel,) * 2, (stride,) * 2, (padding,) * 2, (1, 1), groups)
        geometry = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, [False, True, False]
        calls = {
            "chosen": lambda x, g, options=options: gradkern.sketch_conv(x, g, 1024, **options),
            "fused": by_the_kernel(lambda x, g, options=options: gradkern.sketch_conv(x, g, 1024, **options)),
            "formed": lambda x, g, window=window: formed.sketch_conv(x, g, window, False, sketch_of_1024, run.cache()),
            "summed": lambda x, g, w=weight, rest=geometry: torch.ops.aten.convolution_backward(g, x, w, None, *rest)[
                1
            ],
        }
        run.compare({"op": "sketch_conv", "c": c, "side": side, "outputs": o, **options}, calls, [(x, g)])


def ridge_times(run: Run) -> None:
    for a, r, b in ((20, 1024, 1024), (41, 1024, 13000)):
        r, b = run.size(r, 64), run.size(b, 64)
        B, D, E, F = (run.normal(r, b, dtype=torch.float64 if i == 2 else torch.float32) for i in range(4))
        weights = [run.normal(a, r, dtype=torch.float64) for _ in range(3)]
        calls: dict[str, Call] = {"gradkern": ops.fold_scores, "torch": reference.fold_scores}
        run.compare({"op": "fold_scores", "shape": [a, r, b]}, calls, [(B, D, E, F, *weights)])
    y = run.normal(run.size(8000, 50), run.size(13000, 30))
    group = (torch.arange(len(y), device=run.device) * 5 // len(y)).int()
    calls = {"gradkern": lambda y, group: ops.column_moments(y, group, 5), "sum": lambda y, group: y.sum(0)}
    run.compare({"op": "column_moments", "shape": list(y.shape)}, calls, [(y, group)])
    scale = run.normal(run.size(1024), b), run.normal(run.size(1024), dtype=torch.float64).exp()
    calls = {"gradkern": ops.select_scale, "torch": lambda C, v, alpha: C / (v[:, None] + alpha)}
    run.compare({"op": "select_scale"}, calls, [(*scale, run.normal(b, dtype=torch.float64).exp())])


def times(run: Run) -> None:
    """Every op beside its rivals."""
    sketch_times(run)
    product_times(run)
    ridge_times(run)


def vision_transformer(run: Run) -> nn.Module:
    """As large as ViT-B, of torch's own layers."""
    width, depth = run.size(768, 32), run.size(12, 2)

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, width, 16, 16)
            layer = nn.TransformerEncoderLayer
            self.blocks = nn.ModuleList(
                layer(width, max(1, width // 64), 4 * width, batch_first=True, norm_first=True) for _ in range(depth)
            )
            self.head = nn.Linear(width, 1000)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.patches(images).flatten(2).mT
            for block in self.blocks:
                tokens = block(tokens)
            return self.head(tokens.mean(1))

    return Transformer().to(run.device).eval()


def capture(run: Run) -> None:
    """Capture of a network as large as ViT-B, beside a plain forward and backward pass of the same batches."""
    model, batch = vision_transformer(run), run.size(128)
    images = torch.randn(run.size(512, 4), 3, run.size(224, 32), run.size(224, 32))
    layers = [f"blocks.{i}" for i in range(len(model.blocks))]
    for dtype in (torch.bfloat16, torch.float32):

        def plain(dtype: torch.dtype = dtype) -> None:
            for part in images.split(batch):
                with torch.autocast(run.device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                    model(part.to(run.device)).float().square().sum().backward()
                model.zero_grad()

        plain()
        run.note(what="plain step", dtype=str(dtype), images=len(images), seconds=run.seconds(plain))
        for kinds in (["activation", "gradient"], ["weight_gradient"]):
            call = lambda kinds=kinds, dtype=dtype: gradkern.capture(  # noqa: E731
                model, images, lambda output, _: output.float().square().sum(1), layers=layers, kinds=kinds,
                dtype=dtype, batch_size=batch, progress=False, uncovered="warn",
            )  # fmt: skip
            try:
                call()
                run.note(what="capture", kinds=kinds, dtype=str(dtype), images=len(images), seconds=run.seconds(call))
            except Exception as error:
                run.note(what="capture", kinds=kinds, dtype=str(dtype), error=f"{type(error).__name__}: {error}"[:300])


def ridge(run: Run) -> None:
    """RidgeCV of 300,000 targets on the host, of fewer on the device, and the parts of the latter."""
    X, Y = torch.randn(run.size(8000, 200), run.size(1024, 20)), torch.randn(run.size(8000, 200), run.size(300_000, 40))
    model = gradkern.RidgeCV if run.dry else lambda: gradkern.RidgeCV(device="cuda")
    for _ in range(2):
        run.note(what="RidgeCV", shape=[*X.shape, Y.shape[1]], seconds=run.seconds(lambda: model().fit(X, Y)))
    near, targets = X.to(run.device), Y[:, : run.size(50_000)].to(run.device)
    run.note(what="RidgeCV, arrays on the device", seconds=run.seconds(lambda: gradkern.RidgeCV().fit(near, targets)))
    try:
        import himalaya.ridge
        from himalaya.backend import set_backend

        set_backend("torch" if run.dry else "torch_cuda")
        params = {"n_targets_batch": 5000, "n_targets_batch_refit": 5000, "warn": False}
        rival = himalaya.ridge.RidgeCV(alphas=gradkern.RidgeCV().alphas, cv=5, solver_params=params)
        run.note(what="himalaya, arrays on the device", seconds=run.seconds(lambda: rival.fit(near, targets)))
    except ImportError as error:
        run.note(what="himalaya", absent=str(error))
    if not run.dry:
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gradkern.RidgeCV().fit(near, targets)
        torch.cuda.set_sync_debug_mode("default")
        run.note(what="synchronising calls of a fit", count=sum("synchroniz" in str(one.message) for one in caught))
    gram = near.double().T @ near.double()
    run.note(what="eigh in float64", side=len(gram), seconds=run.seconds(lambda: torch.linalg.eigh(gram)))


def profiled(run: Run) -> None:
    """One call of each of four kernels, for ncu to look at."""
    a, g = (run.normal(run.size(16), 197, run.size(side, 64), dtype=torch.bfloat16) for side in (768, 3072))
    x = run.normal(run.size(16), 96, run.size(56, 8), run.size(56, 8), dtype=torch.bfloat16)
    B, D, F = (run.normal(run.size(1024, 64), run.size(13000, 64)) for _ in range(3))
    weights = [run.normal(41, len(B), dtype=torch.float64) for _ in range(3)]
    gradkern.sketch(a, 1024)
    gradkern.sketch_outer(a, g, 1024)
    gradkern.sketch_conv(x, x, 1024, kernel_size=3, padding=1, groups=96)
    ops.fold_scores(B, D, B.double(), F, *weights)
    run.note(what="profiled")


def command(run: Run, name: str, line: list[str], seconds: float) -> None:
    """A step that is another program: its exit status, its time and the end of what it printed."""
    begin = time.perf_counter()
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=seconds, check=False)
        status, text = done.returncode, done.stdout + done.stderr
    except FileNotFoundError as error:
        status, text = None, str(error)
    except subprocess.TimeoutExpired as error:
        status, text = None, f"took more than {seconds} s\n{(error.stdout or b'').decode(errors='replace')}"
    taken = round(time.perf_counter() - begin, 1)
    run.note(what=name, status=status, seconds=taken, output=text[-6000:].splitlines()[-60:])


STEPS: dict[str, Callable[[Run], None]] = {
    step.__name__: step for step in (ceilings, errors, times, profiled, capture, ridge)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", help=f"{', '.join(STEPS)}; or any name, and behind -- a program whose result it is")
    parser.add_argument("--dry", action="store_true", help="on a CPU, to see that every step runs")
    parser.add_argument("--seconds", type=float, default=120.0, help="that the command may take")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, line = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    run = Run(options.step, options.dry)
    if line:
        command(run, options.step, line, options.seconds)
        return
    torch.manual_seed(0)
    begin = time.perf_counter()
    STEPS[options.step](run)
    run.note(what="done", seconds=round(time.perf_counter() - begin, 1))


if __name__ == "__main__":
    main()
