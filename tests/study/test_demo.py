"""The demo from end to end on 24 images, and its command line."""

import base64
import json
import re
import warnings
from functools import partial
from inspect import unwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rich.console import Console

from gradkern.cli import main
from gradkern.models import load_model
from gradkern.recordings import Brain
from gradkern.study import VerdictSettings
from gradkern.study import _output as output
from gradkern.study._demo import SimulatedVerdicts, Simulation, simulated_verdicts

# as small as tests allow: what the demo's own sizes conclude is in the docs
SMALL = Simulation(
    images=120, layers=4, every=12, claims=("activation-maps-hierarchy", "gradient-has-temporal-order"),
    brain=Brain(subjects=1, repeats=1, ceiling=0.9, vertices=60, silent=0, times=tuple(np.arange(2, 12) * 0.04)),
    settings=VerdictSettings(permutations=19, bootstraps=20, subject_checks=False),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "report"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that a newcomer can do nothing about
        patch.setattr("gradkern.study._demo.run.simulated_verdicts", partial(simulated_verdicts, SMALL))
        assert main(["demo", "--images", "24", "--output", str(path)]) == 0
    return path


class TestDemo:
    def test_scores_are_complete(self, folder: Path) -> None:
        with xr.open_dataset(folder / "scores.nc", engine="h5netcdf") as scores:
            assert dict(scores.sizes) == {"target": 2, "objective": 4, "scaling": 2, "layer": 16, "bound": 2}
            assert list(scores.objective.values) == ["feature-norm", "cross-entropy", "entropy", "kl-uniform"]
            for name in ("activation", "gradient", "weight_gradient", "pixels"):
                assert np.isfinite(scores[name]).all()
                assert (abs(scores[name]) <= 1).all()
            attributes = scores.attrs
            late = float(scores.activation.sel(layer="blocks.15", target="FFA"))
        assert late > 0.6  # 24 images: 0.86 when this was written
        for name in ("gradkern", "torch", "weights_sha256", "sketch_seed", "citation", "alphas", "seed", "score"):
            assert attributes[name]

    def test_pictures_are_files_and_in_the_page(self, folder: Path) -> None:
        names = {path.name for path in folder.iterdir()}
        pictures = {name for name in names if name.endswith(".png")}
        simulated = {name for name in pictures if name.startswith("simulated_")}
        beside = {Path(name).with_suffix(".svg").name for name in pictures}
        beside |= {Path(name).with_suffix(".csv").name for name in simulated}
        assert names - pictures == beside | {"scores.nc", "report.html", "simulated_verdict.csv"}
        assert len(pictures - simulated) == 5
        assert (folder / "report.html").stat().st_size < 15e6
        page = (folder / "report.html").read_text()
        inside = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
        assert {base64.b64decode(data) for data in inside} == {(folder / name).read_bytes() for name in pictures}
        assert not re.search(r'(src|href)="http', page)
        row = "gradients have the temporal order of backpropagation"
        assert re.search(rf'<section id="power"[^>]*><details>.*<td>{row}</td>.*</details>', page, re.DOTALL)

    def test_it_ends_with_verdicts_on_brains_of_stated_truth(self, folder: Path) -> None:
        table = pd.read_csv(folder / "simulated_verdict.csv", dtype={"truth": str}).set_index(["id", "organisation"])
        assert table.loc[("gradient-has-temporal-order", "forward"), "truth"] == "false"
        assert table.loc[("gradient-has-temporal-order", "forward"), "conclusion"] != "supported"
        assert table.loc[("gradient-has-temporal-order", "forward-then-backward"), "truth"] == "true"
        assert table.loc[("activation-maps-hierarchy", "forward"), "truth"] == "true"
        page = (folder / "report.html").read_text()
        shown = page[page.index('<section id="simulated"') :]
        shown = shown[: shown.index("</section>")]
        for organisation in ("forward", "forward-then-backward"):
            assert f"{organisation}: the claim is" in shown
            assert f'download="simulated_{organisation}_layers_times.csv"' in shown
        assert "120 images, 1 subject, 60 vertices, a noise ceiling of 0.9, 4 layers of a small network" in shown

    def test_a_claim_that_is_supported_where_it_is_false_is_called_a_wrong_answer(self) -> None:
        rows = [
            ("true", "supported", 0.5, 0.1, 0.9),
            ("inherited", "supported", 0.5, 0.1, 0.9),
            ("false", "not found", 0.0, -0.1, 0.1),
            ("false", "supported", 3e-4, -6e-4, 1e-3),
            ("false", "supported", 0.5, 0.1, 0.9),
            ("false", "supported", 0.5, np.nan, np.nan),
        ]
        table = pd.DataFrame(rows, columns=["truth", "conclusion", "estimate", "low", "high"])
        table = table.assign(claim="gradients predict", organisation="forward", p=0.025, units="share")
        mistakes = SimulatedVerdicts(table, {}, "", []).mistakes()
        assert len(mistakes) == 3
        assert "0.0003 share with an interval from -0.0006 to 0.001, which holds 0." in mistakes[0]
        assert mistakes[1].endswith("It is 0.5 share with an interval from 0.1 to 0.9.")
        assert mistakes[2].endswith("It is 0.5 share.")

    def test_without_its_packages_the_simulation_is_left_out_and_said_to_be(self, capsys, monkeypatch) -> None:
        from gradkern.study._demo import run_demo

        monkeypatch.setattr("gradkern.study._demo.simulated.NEEDED", ("mne", "no_such_package"))
        assert unwrap(run_demo).__globals__["_simulated"](Console(width=200)) is None
        said = "left out, it needs no_such_package: pip install 'gradkern[simulate]'"
        assert said in capsys.readouterr().out

    def test_nothing_else_is_left(self, folder: Path) -> None:
        assert [path.name for path in folder.parent.iterdir()] == ["report"]


class TestCommandLine:
    def test_an_existing_folder_is_refused_before_any_work(self, tmp_path: Path, capsys, monkeypatch) -> None:
        monkeypatch.setattr("gradkern.study._demo.run.load_model", lambda name: pytest.fail("work had begun"))
        assert main(["demo", "--output", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error == (
            f"gradkern demo: output: {tmp_path} exists; name another folder, or give --overwrite to replace it\n"
        )

    @pytest.mark.parametrize("count", ["19", "116"])
    def test_too_few_or_too_many_images(self, count: str, tmp_path: Path, capsys) -> None:
        assert main(["demo", "--images", count, "--output", str(tmp_path / "new")]) == 2
        assert f"demo: images must be in 20..115, got {count}" in capsys.readouterr().err

    def test_json_is_all_that_is_printed(self, tmp_path: Path, capfd, monkeypatch) -> None:
        def made(output: Path, **options: object) -> Path:
            Console().print("words for a reader")
            output.mkdir()
            (output / "report.html").write_text("")
            return output / "report.html"

        monkeypatch.setattr("gradkern.study._demo.run_demo", made, raising=False)
        assert main(["demo", "--output", str(tmp_path / "new"), "--json"]) == 0
        said = capfd.readouterr()
        report = str(tmp_path / "new" / "report.html")
        assert json.loads(said.out) == {"output": str(tmp_path / "new"), "report": report, "files": [report]}
        assert said.err == ""

    def test_ctrl_c_says_what_is_kept(self, tmp_path: Path, capsys, monkeypatch) -> None:
        def stopped(name: str) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("gradkern.study._demo.run.load_model", stopped)
        assert main(["demo", "--output", str(tmp_path / "new")]) == 130
        assert capsys.readouterr().err == "gradkern demo: stopped; nothing was written\n"
        assert list(tmp_path.iterdir()) == []

    def test_missing_packages_are_named(self, tmp_path: Path, capsys, monkeypatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "jinja2" else object())
        assert main(["demo", "--output", str(tmp_path / "new")]) == 2
        assert "needs jinja2; pip install 'gradkern[demo]'" in capsys.readouterr().err

    def test_doctor(self, capsys) -> None:
        assert main(["doctor"]) == 0
        printed = capsys.readouterr().out
        for word in ("gradkern", "torch", "CPU kernels", "CUDA kernels", "CUDA device", "demo"):
            assert re.search(rf"^{word} ", printed, re.MULTILINE)

    def test_doctor_says_what_runs_cuda_arrays_without_nvcc(self, capsys, monkeypatch) -> None:
        monkeypatch.setattr("gradkern.kernels.ops.cuda_architectures", lambda: "")
        assert main(["doctor"]) == 0
        assert re.search(r"^CUDA kernels +none.*nvcc.*plain torch", capsys.readouterr().out, re.MULTILINE)


def half_written(target: Path, overwrite: bool) -> None:
    with output.written_whole(target, overwrite) as folder:
        (folder / output.MARK).write_text("half")
        raise ZeroDivisionError


class TestOutput:
    def test_a_failure_leaves_nothing(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        with pytest.raises(ZeroDivisionError):
            half_written(target, overwrite=False)
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_keeps_what_was_there(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        with output.written_whole(target, False) as folder:
            (folder / output.MARK).write_text("old")
        with pytest.raises(ZeroDivisionError):
            half_written(target, overwrite=True)
        assert (target / output.MARK).read_text() == "old"
        with output.written_whole(target, True) as folder:
            (folder / output.MARK).write_text("new")
        assert (target / output.MARK).read_text() == "new"
        assert list(tmp_path.iterdir()) == [target]

    def test_a_failed_rename_puts_the_old_result_back(self, tmp_path: Path, monkeypatch) -> None:
        target = tmp_path / "out"
        with output.written_whole(target, False) as folder:
            (folder / output.MARK).write_text("old")
        rename = Path.rename

        def refuse_new(path: Path, to: Path) -> Path:
            if to == target and not path.name.endswith("-old"):
                raise PermissionError("no")
            return rename(path, to)

        monkeypatch.setattr(Path, "rename", refuse_new)
        with pytest.raises(PermissionError), output.written_whole(target, True) as folder:
            (folder / output.MARK).write_text("new")
        assert (target / output.MARK).read_text() == "old"
        assert list(tmp_path.iterdir()) == [target]

    def test_a_folder_of_other_things_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(FileExistsError, match=r"holds no scores\.nc, so it is no result of gradkern"):
            output.check_free(tmp_path, overwrite=True)

    def test_a_file_or_a_missing_parent(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(NotADirectoryError, match="is a file, wanted a folder"):
            output.check_free(tmp_path / "file", overwrite=True)
        with pytest.raises(NotADirectoryError, match="is not a folder, so new cannot be written in it"):
            output.check_free(tmp_path / "nowhere" / "new", overwrite=False)


class TestModels:
    def test_unknown_name(self) -> None:
        with pytest.raises(ValueError, match=r"name must be one of \[.*'efficientnet-lite0', .*\], got 'resnet'"):
            load_model("resnet")

    def test_missing_weights_file(self) -> None:
        with pytest.raises(FileNotFoundError, match=r"weights must be 'pretrained', 'random' or a file, got 'x\.pth'"):
            load_model("efficientnet-lite0", "x.pth")

    def test_weights_must_fit(self, tmp_path: Path) -> None:
        import torch

        torch.save({"other": torch.zeros(1)}, tmp_path / "w.pth")
        with pytest.raises(
            ValueError,
            match=r"w\.pth does not fit the model: .* missing: .* 1 keys unexpected: other",
        ):
            load_model("efficientnet-lite0", str(tmp_path / "w.pth"))

    def test_random_weights_follow_their_seed(self) -> None:
        first, again, other = (load_model("efficientnet-lite0", "random", seed=seed) for seed in (1, 1, 2))
        pairs = zip(first.parameters(), again.parameters(), strict=True)
        assert all((a == b).all() for a, b in pairs)
        assert not (first.network._fc.weight == other.network._fc.weight).all()
        assert first.spec.weights_sha256 is None

    def test_it_finds_the_banana(self) -> None:
        """The weights are the pretrained ones: of Kay & Yeatman's images the banana looks most like one."""
        from gradkern.recordings import load_kay2017

        kay, model = load_kay2017(), load_model("efficientnet-lite0")
        banana = 954
        top = model(model.spec.preprocess(list(kay.images))).logits[:, banana].argmax()
        assert int(top) == np.argsort(kay.responses[:, 1])[6]  # the image that the FFA answers to 7th least

    def test_depth_runs_from_0_to_1(self) -> None:
        spec = load_model("efficientnet-lite0", "random").spec
        assert spec.depth("blocks.0") == 0
        assert spec.depth("blocks.15") == 1

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            ([], "images must hold at least one image"),
            ([np.zeros((4, 4))], r"image 0 must be uint8 \[h, w\] or \[h, w, 3\], got float64 \[4, 4\]"),
            ([np.zeros((4, 4, 4), np.uint8)], r"image 0 must be uint8 .*, got uint8 \[4, 4, 4\]"),
        ],
    )
    def test_preprocess_names_bad_images(self, images: list[np.ndarray], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            load_model("efficientnet-lite0", "random").spec.preprocess(images)
