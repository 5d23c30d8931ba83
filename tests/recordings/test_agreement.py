"""What two sources say of one thing is compared: recorded if they agree, quoted if not, unless an option decides."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradkern.cli import main
from gradkern.recordings import (
    FileImages,
    Recording,
    folder_images,
    from_epochs,
    load_betas,
    load_bold,
    load_laion_fmri,
    load_nsd,
    load_nsd_timeseries,
    load_recording,
    readers,
    save_recording,
)
from tests.fake_datasets.bids_runs import FOLDER, GRID, STEP, FakeRun, load, sampled, series, write_hemispheres
from tests.fake_datasets.laion_fmri import FakeLAION
from tests.fake_datasets.nsd import FakeNSD, FakeNSDTimeSeries

ONSETS = [4 + 8 * i for i in range(12)]


class TestRepetitionTime:
    def test_agreement_goes_into_provenance(self, tmp_path: Path) -> None:
        run = FakeRun(tmp_path).write()
        recording = load(tmp_path)
        fact = recording.provenance["agreed"]["repetition time"]
        assert fact == {"value": "2 s", "sidecar": 1, "header": 1}
        np.testing.assert_allclose(np.asarray(recording.responses), sampled(run.values, ONSETS), atol=1e-4)

    @given(header=st.floats(0.5, 4), sidecar=st.floats(0.5, 4), unit=st.sampled_from(["sec", "msec", "usec"]))
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_pair_agrees_or_is_quoted(self, tmp_path: Path, header: float, sidecar: float, unit: str) -> None:
        scale = {"sec": 1, "msec": 1e3, "usec": 1e6}[unit]
        run = FakeRun(tmp_path, header_step=header * scale, unit=unit, sidecar={"RepetitionTime": sidecar}).write()
        header = float(np.float32(header * scale)) / scale  # which is what a header holds
        if abs(header - sidecar) < 5e-4:
            load(tmp_path)
        elif abs(header - sidecar) > 2e-3:
            with pytest.raises(
                ValueError, match=f"{sidecar:g} s in the sidecar.*{header:g} s in the header.*repetition_time"
            ):
                load(tmp_path)
        decided = load(tmp_path, repetition_time=STEP)
        np.testing.assert_allclose(np.asarray(decided.responses), sampled(run.values, ONSETS), atol=1e-4)

    def test_the_raw_sidecar_above_the_run_is_a_source(self, tmp_path: Path) -> None:
        FakeRun(tmp_path).write()
        (tmp_path / "task-img_bold.json").write_text(json.dumps({"RepetitionTime": 1.5}))
        with pytest.raises(ValueError, match=r"1\.5 s in the raw sidecar of .*task-img_bold\.json.* 2 s"):
            load(tmp_path)

    def test_load_bold_reads_the_sidecar_too(self, tmp_path: Path) -> None:
        run = FakeRun(tmp_path, sidecar={"RepetitionTime": 1.0}).write()
        series_path = next((tmp_path / FOLDER).glob("*preproc_bold.nii.gz"))
        mask = next((tmp_path / FOLDER).glob("*mask.nii.gz"))
        events = tmp_path / "sub-01/func" / f"{run.stem}_events.tsv"
        with pytest.raises(ValueError, match=r"1 s in the sidecar.*2 s in the header"):
            load_bold([(series_path, events)], "stim_file", subject="s", mask=mask)

    def test_volumes_at_uneven_times_are_refused(self, tmp_path: Path) -> None:
        FakeRun(tmp_path, sidecar={"VolumeTiming": [0.0, 3.0, 4.0]}).write()
        with pytest.raises(ValueError, match=r"a volume at every repetition time, got VolumeTiming in .*\.json"):
            load(tmp_path)

    @pytest.mark.parametrize("unit", ["hz", "ppm", "rads"])
    def test_what_is_no_time_is_refused(self, tmp_path: Path, unit: str) -> None:
        FakeRun(tmp_path, unit=unit).write()
        with pytest.raises(ValueError, match="must have times in s"):
            load(tmp_path)

    def test_hemispheres_must_agree(self, tmp_path: Path) -> None:
        FakeRun(tmp_path).write()
        values = series().reshape(-1, 60).T[:, :7]
        name = "sub-01_task-img_run-1_hemi-{}_space-fsaverage5_bold.func.gii"
        write_hemispheres(tmp_path / FOLDER, name, values)
        (tmp_path / "other").mkdir()
        write_hemispheres(tmp_path / "other", name, values, "1000.0")
        (tmp_path / "other" / name.format("R")).replace(tmp_path / FOLDER / name.format("R"))
        with pytest.raises(ValueError, match=r"repetition time must be the same everywhere, got 2 s .* 1 s"):
            load(tmp_path, "fsaverage5")


def rotation(angles: Any) -> Any:
    x, y, z = angles
    a = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    b = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    c = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return a @ b @ c


affines = st.builds(
    lambda angles, zooms, origin, flip: np.block(
        [[rotation(angles) * np.array(zooms) * np.array(flip), np.array(origin)[:, None]], [np.zeros(3), 1]]
    ),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
    st.tuples(*[st.floats(-90, 90)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
)


def corners_apart(a: Any, b: Any) -> float:
    """The largest distance of a corner voxel's two places, by the shortest edge of a."""
    corners = np.array([[i, j, k, 1] for i in (0, GRID[0] - 1) for j in (0, GRID[1] - 1) for k in (0, GRID[2] - 1)])
    apart = np.linalg.norm(((a - b) @ corners.T)[:3], axis=0).max()
    return float(apart / np.linalg.norm(a[:3, :3], axis=0).min())


def put(path: Path, values: Any, affine: Any) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def put_at(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True)
    put(path, values, np.diag([1.8, 1.8, 1.8, 1]))


class TestAffines:
    @given(a=affines, b=affines, share=st.sampled_from([0.0, 1e-4, 1.0]))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_pair_agrees_or_is_quoted(self, tmp_path: Path, a: Any, b: Any, share: float) -> None:
        b = a if share == 0 else a + share * (b - a) * (1 if share == 1 else 1 / max(1, np.abs(b - a).max()))
        apart = corners_apart(a, b)
        if 0.005 < apart < 0.05 or abs(np.linalg.det(b[:3, :3])) < 1e-3:
            return  # on the edge of what is the same
        values = np.random.default_rng(0).standard_normal((*GRID, 4)).astype(np.float32)
        betas = [put(tmp_path / "b.nii", values, b)]
        mask = put(tmp_path / "m.nii", np.ones(GRID, np.uint8), a)
        call = lambda **more: load_betas(betas, [list("abcd")], mask=mask, subject="s", **more)  # noqa: E731
        if apart > 0.05:
            with pytest.raises(
                ValueError, match=r"affine must be the same everywhere, got .*m\.nii and .*b\.nii; affine="
            ):
                call()
        else:
            assert "affine" in call().provenance["agreed"]
        for side, affine in (("mask", a), ("data", b)):
            found = call(affine=side).targets
            right = (affine @ np.c_[found[["i", "j", "k"]].to_numpy(), np.ones(len(found))].T)[:3].T
            np.testing.assert_allclose(found[["x", "y", "z"]], right, atol=1e-3)

    def test_sessions_runs_and_regions_are_compared(self, tmp_path: Path) -> None:
        values = np.ones((*GRID, 3), np.float32)
        eye, moved = np.eye(4), np.diag([-1.0, 1, 1, 1])
        mask = put(tmp_path / "m.nii", np.ones(GRID, np.uint8), eye)
        sessions = [put(tmp_path / "b1.nii", values, eye), put(tmp_path / "b2.nii", values, moved)]
        with pytest.raises(ValueError, match=r"affine .*b2\.nii"):
            load_betas(sessions, [list("abc")] * 2, mask=mask, subject="s")
        masks = [mask, put(tmp_path / "m2.nii", np.ones(GRID, np.uint8), moved)]
        with pytest.raises(ValueError, match=r"affine .*m\.nii .*m2\.nii"):
            load_betas(sessions[:1], [list("abc")], mask=masks, subject="s")
        for number, affine in ((1, eye), (2, moved)):
            FakeRun(tmp_path / "bids", f"run-{number}", affine=affine).write()
        with pytest.raises(ValueError, match="affine must be the same everywhere"):
            load(tmp_path / "bids")
        assert load(tmp_path / "bids", affine="mask").responses.shape == (24, 12)

    def test_atlases_noise_ceilings_and_regions_are_compared(self, tmp_path: Path) -> None:
        FakeNSDTimeSeries(FakeNSD(tmp_path / "nsd"))
        laion = FakeLAION(tmp_path / "laion").folder
        region = "derivatives/rois/sub-03/x/sub-03_space-T1w_res-1pt8_label-V1_mask.nii.gz"
        put_at(laion / region, np.asarray(nibabel.load(next(laion.rglob("*R2mean*"))).get_fdata() > 0, np.uint8))
        labels = tmp_path / "nsd/nsddata/ppdata/subj02/func1pt8mm/roi/streams.nii.gz"
        volume = partial(load_nsd, tmp_path / "nsd", 2, space="func1pt8mm", atlas="streams")
        series_of_nsd = partial(load_nsd_timeseries, tmp_path / "nsd", 2, sessions=[1], atlas="streams")
        betas = partial(load_laion_fmri, laion, 3)
        cases: list[tuple[Path, Callable[..., Any]]] = [
            (labels, volume),
            (labels, series_of_nsd),
            (laion / region, betas),
            (next(laion.rglob("*Noiseceiling*")), betas),
            (next(laion.rglob("*SingletrialBetas*.nii.gz")), betas),
        ]
        for path, read in cases:
            content, image = path.read_bytes(), nibabel.load(path)
            assert "affine" in read().provenance["agreed"]
            nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([-1, 1, 1, 1])), path)
            with pytest.raises(ValueError, match=rf"affine must be the same everywhere, got .*{path.name[-12:]}"):
                read()
            read(affine="mask")
            path.write_bytes(content)

    def test_meters_are_not_millimeters(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(np.ones((*GRID, 3), np.float32), np.diag([0.002, 0.002, 0.002, 1]))
        image.header.set_xyzt_units("meter")
        nibabel.save(image, tmp_path / "b.nii")
        mask = put(tmp_path / "m.nii", np.ones(GRID, np.uint8), np.diag([2.0, 2, 2, 1]))
        found = load_betas([tmp_path / "b.nii"], [list("abc")], mask=mask, subject="s")
        assert found.targets["x"].max() == 4

    def test_a_header_that_states_no_place_agrees_with_any(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(np.ones((*GRID, 3), np.float32), None)
        assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 0
        nibabel.save(image, tmp_path / "b.nii")
        mask = put(tmp_path / "m.nii", np.ones(GRID, np.uint8), np.diag([2.0, 2, 2, 1]))
        assert load_betas([tmp_path / "b.nii"], [list("abc")], mask=mask, subject="s").targets["x"].max() == 4


class TestOtherFacts:
    def test_an_option_that_an_error_advises_is_on_the_command_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["data", "check", "--help"])
        text = capsys.readouterr().out
        for option in ("repetition-time", "start-time", "dummy-scans", "affine", "mask", "units", "confounds"):
            assert f"--{option}" in text
        assert {"repetition_time", "start_time", "dummy_scans", "affine", "mask"} <= set(readers()["bids"].options)
        for reader in readers().values():
            if "mask" in reader.options and reader.name not in ("bold5000", "glmsingle"):  # which have one affine
                assert "affine" in reader.options, reader.name

    def test_hemispheres_in_the_wrong_order(self, tmp_path: Path) -> None:
        values = series().reshape(-1, 60).T[:, :7]
        write_hemispheres(tmp_path, "hemi-{}_bold.func.gii", values)
        events = tmp_path / "events.tsv"
        events.write_text("onset\tstim_file\n4\ta\n12\tb\n")
        pair = [tmp_path / "hemi-R_bold.func.gii", tmp_path / "hemi-L_bold.func.gii"]
        with pytest.raises(ValueError, match=r"hemisphere must be the same everywhere, got left .* right in the name"):
            load_bold([(pair, events)], "stim_file", subject="s")

    def test_vertices_of_each_hemisphere_in_every_run(self, tmp_path: Path) -> None:
        runs = []
        for number, counts in ((1, (3, 5)), (2, (5, 3))):
            (home := tmp_path / str(number)).mkdir()
            for side, count in zip("LR", counts, strict=True):
                write_hemispheres(tmp_path, "x-{}.func.gii", series().reshape(-1, 60).T[:, :count])
                (tmp_path / f"x-{side}.func.gii").replace(home / f"hemi-{side}.func.gii")
            (home / "events.tsv").write_text("onset\tstim_file\n4\ta\n12\tb\n")
            runs.append(([home / "hemi-L.func.gii", home / "hemi-R.func.gii"], home / "events.tsv"))
        with pytest.raises(ValueError, match=r"must have the targets of run 1, got 'left.3' in the place of 'right.0'"):
            load_bold(runs, "stim_file", subject="s")

    def test_the_intent_and_the_units(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(np.ones((*GRID, 3), np.float32), np.eye(4))
        image.header.set_intent("z score")
        nibabel.save(image, tmp_path / "z.nii")
        mask = put(tmp_path / "m.nii", np.ones(GRID, np.uint8), np.eye(4))
        call: Callable[..., Recording] = lambda **more: load_betas(  # noqa: E731
            [tmp_path / "z.nii"], [list("abc")], mask=mask, subject="s", **more
        )
        with pytest.raises(
            ValueError, match=r"units must be the same .* percent signal change .* z score .*; units decides"
        ):
            call()
        assert call(units="z").units == "z"

    @pytest.mark.parametrize(("units", "right"), [("T", True), ("fT", False), ("V", False), ("a word", True)])
    def test_units_of_sensors(self, units: str, right: bool) -> None:
        table = pd.DataFrame({"image": ["a", "b", "c"]})
        epochs = mne.EpochsArray(
            np.zeros((3, 2, 4)) + 1e-12, mne.create_info(2, 100.0, "mag"), metadata=table, verbose="error"
        )
        if right:
            assert from_epochs(epochs, "image", subject="s", units=units).units == units
        else:
            with pytest.raises(ValueError, match=f"units must be those that the channels state, T, .* got '{units}'"):
                from_epochs(epochs, "image", subject="s", units=units)

    def test_confounds_and_volumes(self, tmp_path: Path) -> None:
        FakeRun(tmp_path, confounds={"trans_x": [0.0] * 59}).write()
        with pytest.raises(ValueError, match=r"must have a row for each of 60 times of .*, got 59"):
            load(tmp_path)

    def test_a_file_that_goes_on_after_its_header_says(self, tmp_path: Path) -> None:
        path = put(tmp_path / "b.nii", np.ones((*GRID, 4), np.float32), np.eye(4))
        path.write_bytes(path.read_bytes() + bytes(4 * 12))
        mask = put(tmp_path / "m.nii", np.ones(GRID, np.uint8), np.eye(4))
        with pytest.raises(ValueError, match="got 48 more bytes"):
            load_betas([path], [list("abcd")], mask=mask, subject="s")

    def test_bytes_that_git_annex_names(self, tmp_path: Path) -> None:
        (tmp_path / ".git/annex/objects").mkdir(parents=True)
        image = put(tmp_path / "m.nii", np.ones(GRID, np.uint8), np.eye(4))
        size = image.stat().st_size
        betas = put(tmp_path / "b.nii", np.ones((*GRID, 3), np.float32), np.eye(4))
        for named, right in ((size, True), (size + 1, False)):
            stored = tmp_path / f".git/annex/objects/MD5E-s{named}--0123.nii"
            stored.write_bytes(image.read_bytes())
            (link := tmp_path / f"{named}.nii").symlink_to(stored)
            if right:
                load_betas([betas], [list("abc")], mask=link, subject="s")
            else:
                with pytest.raises(ValueError, match=f"is a link to {named} bytes by its name, got {size}"):
                    load_betas([betas], [list("abc")], mask=link, subject="s")

    @given(order=st.permutations(range(5)))
    @settings(max_examples=20, deadline=None)
    def test_names_and_files_of_images(self, order: list[int]) -> None:
        names = [f"im{i}.png" for i in range(5)]
        source = FileImages([f"folder/im{i}.png" for i in order])
        make = lambda: Recording(  # noqa: E731
            np.eye(5), pd.DataFrame({"image": range(5)}), pd.DataFrame({"label": list("abcde")}), "s", "u",
            images=source, image_names=tuple(names),
        )  # fmt: skip
        if order == list(range(5)):
            assert make().images is source
        else:
            with pytest.raises(ValueError, match="images must be those of image_names, in their order"):
                make()

    def test_images_given_to_a_saved_recording(self, tmp_path: Path) -> None:
        from PIL import Image

        for name in ("a.png", "b.png"):
            Image.new("RGB", (2, 2)).save(tmp_path / name)
        source, names = folder_images(tmp_path)
        recording = Recording(
            np.eye(2), pd.DataFrame({"image": [0, 1]}), pd.DataFrame({"label": ["x", "y"]}), "s", "u", image_names=names
        )
        save_recording(recording, tmp_path / "r.h5")
        assert load_recording(tmp_path / "r.h5", source).images is source
        with pytest.raises(ValueError, match=r"got 'b\.png' for 'a\.png', and 2 of 2"):
            load_recording(tmp_path / "r.h5", FileImages(source.paths[::-1]))
