"""`gradkern data check`: what is printed of a recording."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from gradkern.cli import main
from gradkern.recordings import Recording, describe, load_nsd, readers, save_recording
from tests.fake_datasets.bids import SPACE, write_bids
from tests.fake_datasets.bold5000 import FakeBOLD5000
from tests.fake_datasets.glmsingle import FakeGLMsingle
from tests.fake_datasets.laion_fmri import FakeLAION
from tests.fake_datasets.nsd import BETAS, FakeNSD, FakeNSDTimeSeries
from tests.fake_datasets.things_meg import FOLDER, fake_epochs, fake_trials


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[tuple[str, str]]:
    assert main(["data", "check", *arguments]) == 0
    return [(line[:14].strip(), line[15:]) for line in capsys.readouterr().out.splitlines()]


def test_nsd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = FakeNSD(tmp_path)
    lines = printed(capsys, "nsd", str(tmp_path), "--subject", "2", "--atlas", "streams")
    found = dict(lines)
    assert found["responses"] == "1500 presentations x 16 targets, float32, percent signal change"
    assert found["sessions"] == "1: 750, 2: 750"
    assert found["odd"] == "nothing seen"
    assert "unknown at 0 of 16 targets (r^2 = ncsnr^2" in found["noise ceiling"]
    assert found["rois"] == "2, early to ventral"
    (tmp_path / BETAS.format("fsaverage") / "lh.ncsnr.mgh").unlink()
    found = dict(printed(capsys, "nsd", str(tmp_path), "--subject", "2"))
    assert "of a presentation, from repeats; " in found["noise ceiling"]
    assert f"; {found['images'].partition(';')[0]} images; " in found["noise ceiling"]
    made.log(subject=3)
    assert main(["data", "check", "nsd", str(tmp_path), "--subject", "2"]) == 2
    assert "another subject's" in capsys.readouterr().err


def test_meg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    path = tmp_path / FOLDER / "preprocessed_P1-epo.fif"
    fake_epochs(fake_trials()).save(path, verbose="error")
    found = dict(printed(capsys, "things-meg", str(tmp_path)))
    assert found["images"] == "80; shown: 60 x 1, 20 x 6; the images themselves: not given"
    assert found["left out"] == "6 presentations: not of experimental and test images"
    assert found["times"] == "281, -0.1 to 1.3"
    assert found["splits"] == "test: 120, train: 60"
    found = dict(printed(capsys, "epochs", str(path), "--image", "image_path"))
    assert found["responses"].startswith("186 presentations x 1405 targets")
    assert main(["data", "check", "epochs", str(path)]) == 2
    assert "epochs needs --image" in capsys.readouterr().err


def test_all_options_that_a_reader_needs_are_asked_for_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "bids", "x", "--subject", "01"]) == 2
    said = capsys.readouterr().err
    assert [name for name in ("--subject", "--task", "--image", "--space") if f"{name} (" in said] == [
        "--task", "--image", "--space"
    ]  # fmt: skip


def test_a_noise_ceiling_of_some_targets_says_of_which() -> None:
    random = np.random.default_rng(0)
    signal = np.repeat(random.standard_normal((30, 5001)), 2, axis=0)
    presentations = pd.DataFrame({"image": np.repeat(np.arange(30), 2)})
    responses = signal + random.standard_normal(signal.shape)
    targets = pd.DataFrame({"label": [str(number) for number in range(5001)]})
    brain = Recording(responses, presentations, targets, subject="s", units="percent")
    found = dict(describe(brain))["noise ceiling"]
    assert "from repeats, of 5000 of 5001 targets, drawn at random; 30 images; unknown at " in found


def test_the_command_line_knows_every_reader_and_can_give_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "check", "--help"])
    text = capsys.readouterr().out
    for name, reader in readers().items():
        assert name in text
        for option in reader.needs:
            assert f"--{option.replace('_', '-')}" in text


class TestEveryLayout:
    """From the command line, on the small folders of the readers' tests."""

    def test_glmsingle(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        FakeGLMsingle(tmp_path, "npy")
        assert main(["data", "check", "glmsingle", str(tmp_path)]) == 2
        assert "is a pickle, which can run any code" in capsys.readouterr().err
        found = dict(printed(capsys, "glmsingle", str(tmp_path), "--allow-pickle"))
        assert found["responses"] == "9 presentations x 24 targets, float32, percent signal change"
        assert found["images"] == "5; shown: 1 x 1, 4 x 2; the images themselves: not given"
        assert found["runs"] == "1: 5, 2: 4"

    def test_bold5000(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        FakeBOLD5000(tmp_path)
        (tmp_path / "scratch").mkdir()
        found = dict(
            printed(capsys, "bold5000", str(tmp_path), "--subject", "4", "--scratch", str(tmp_path / "scratch"))
        )
        assert found["responses"].startswith("49 presentations x 3 targets, float32")
        assert "of a presentation, from repeats; " in found["noise ceiling"]
        assert len(list((tmp_path / "scratch").iterdir())) == 9

    def test_laion_fmri(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        FakeLAION(tmp_path).stimuli()
        lines = printed(capsys, "laion-fmri", str(tmp_path), "--subject", "3")
        found = dict(lines)
        assert found["sessions"] == "1: 7, 2: 6, 33: 4"
        assert found["images"].endswith("the images themselves: 8 in the source")
        assert ("odd", "nothing seen") in lines

    def test_time_series_of_nsd(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        FakeNSDTimeSeries(FakeNSD(tmp_path))
        found = dict(printed(capsys, "nsd-timeseries", str(tmp_path), "--subject", "2", "--delay", "6"))
        assert found["history"] == "24 runs of sessions 1-2, 6 s after onset"
        assert found["sessions"] == "1: 750, 2: 750"

    def test_bids(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_bids(tmp_path)
        words = ("--task", "images", "--image", "stim_file", "--space", SPACE)
        assert main(["data", "check", "bids", str(tmp_path), *words]) == 2
        assert "bids needs --subject" in capsys.readouterr().err
        found = dict(printed(capsys, "bids", str(tmp_path), "--subject", "07", *words))
        assert found["subject"] == "sub-07"
        assert found["responses"].startswith("8 presentations x 4 targets")

    def test_what_is_in_the_package(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = dict(printed(capsys, "kay2017"))
        assert found["responses"] == "115 presentations x 2 targets, float32, percent signal change"
        assert found["odd"] == "nothing seen"
        assert "r = 0.78 in the median" in found["noise ceiling"]
        assert main(["data", "check", "kay2017", str(tmp_path)]) == 2
        assert "kay2017 is in the package and takes no path" in capsys.readouterr().err

    def test_nsd_in_integers_taken_for_percent_is_odd(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What was stored x 300 in a file of floats: GLMsingle's or load_betas' reader cannot know."""
        made = FakeGLMsingle(tmp_path, "hdf5")
        made.betas *= 300
        made.write()
        lines = printed(capsys, "glmsingle", str(tmp_path), "--allow-pickle")
        assert any(name == "odd" and "were they stored as integers, x 300?" in value for name, value in lines)

    def test_a_saved_mean_says_of_how_many(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        made = FakeNSD(tmp_path)
        ids = np.arange(2 * 750) // 3
        brain = load_nsd(made.folder, 2)
        brain = replace(brain, presentations=brain.presentations.assign(image=ids), images=None)
        save_recording(brain.average_repeats(), tmp_path / "mean.h5")
        found = dict(printed(capsys, "saved", str(tmp_path / "mean.h5")))
        assert "of the mean over 3 presentations" in found["noise ceiling"]
        without = replace(brain, ncsnr=None)
        save_recording(without.average_repeats(), tmp_path / "estimated.h5")
        found = dict(printed(capsys, "saved", str(tmp_path / "estimated.h5")))
        assert "of the mean over 3 presentations" in found["noise ceiling"]
        save_recording(without.average_repeats(estimate=False), tmp_path / "unknown.h5")
        found = dict(printed(capsys, "saved", str(tmp_path / "unknown.h5")))
        assert found["noise ceiling"] == "not known: repeats were averaged, and the recording has no ncsnr"

    def test_options_of_other_readers_are_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for words, message in (
            (["nsd", str(tmp_path), "--delay", "5"], "nsd does not take --delay"),
            (["nsd", str(tmp_path), "--allow-pickle"], "nsd does not take --allow-pickle"),
            (["nsd", str(tmp_path), "--subject", "two"], "--subject must be a number, got 'two'"),
            (["nsd"], "nsd needs a path"),
            (["things-meg", str(tmp_path), "--subject", "5"], "load_things_meg: subject must be 1 to 4, got 5"),
        ):
            assert main(["data", "check", *words]) == 2
            assert message in capsys.readouterr().err


HAXBY = Path(__file__).parents[3] / "shared" / "data" / "brain" / "haxby2001_slice"


@pytest.mark.skipif(not HAXBY.is_dir(), reason="Haxby's slice does not lie beside the checkout")
def test_real_runs_have_a_sane_ceiling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Haxby et al. (2001) as a BIDS data set that old fMRIPrep went over: categories in blocks."""
    labels = np.array([line.split() for line in (HAXBY / "attributes_literal.txt").read_text().splitlines()])
    image = nibabel.load(HAXBY / "bold.nii.gz")
    done = tmp_path / "derivatives/fmriprep/sub-1/func"
    (raw := tmp_path / "sub-1/func").mkdir(parents=True)
    done.mkdir(parents=True)
    for chunk in sorted(set(labels[:, 1].astype(int).tolist())):
        inside = np.flatnonzero(labels[:, 1].astype(int) == chunk)
        stem = f"sub-1_task-objects_run-{chunk:02d}"
        run = nibabel.Nifti1Image(np.asarray(image.dataobj)[..., inside], image.affine)
        run.header.set_zooms((*run.header.get_zooms()[:3], 2.5))
        run.header.set_xyzt_units("mm", "sec")
        nibabel.save(run, done / f"{stem}_bold_space-T1w_preproc.nii.gz")
        (done / f"{stem}_bold_space-T1w_brainmask.nii.gz").write_bytes((HAXBY / "mask.nii.gz").read_bytes())
        rows = [f"{2.5 * i}\t{name}" for i, name in enumerate(labels[inside, 0]) if name != "rest"]
        (raw / f"{stem}_events.tsv").write_text("\n".join(["onset\tcategory", *rows]))
    words = ("--subject", "1", "--task", "objects", "--image", "category", "--space", "T1w", "--delay", "5")
    lines = printed(capsys, "bids", str(tmp_path), *words)
    found = dict(lines)
    assert "x 530 targets" in found["responses"]
    assert found["images"].startswith("8; shown: ")
    assert ("odd", "nothing seen") in lines
    middle = float(found["noise ceiling"].split()[2])
    assert 0.1 < middle < 0.6  # of single volumes of a slice; r of the best voxels is higher
