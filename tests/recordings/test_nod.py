"""NOD: one subject across three modalities, with the same images under the same ids."""

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gradkern.recordings import load, load_nod
from tests.fake_datasets.nod import NAMES, SETS, VERTICES, FakeNOD


@pytest.fixture
def made(tmp_path: Path) -> FakeNOD:
    return FakeNOD(tmp_path)


def test_betas_of_every_run_in_the_order_of_the_labels(made: FakeNOD) -> None:
    recording = load_nod(made.folder, 3)
    np.testing.assert_array_equal(np.asarray(recording.responses), made.betas.reshape(12, VERTICES))
    order = [i for _, _, images in made.runs for i in images]
    assert [recording.image_names[i] for i in recording.image_ids] == [NAMES[i] for i in order]
    assert recording.presentations["run"].tolist() == [1] * 3 + [2] * 3 + [10] * 3 + [1] * 3
    assert recording.presentations["session"].tolist() == [1] * 9 + [2] * 3
    assert recording.presentations["concept"].tolist() == [NAMES[i][:9] for i in order]
    assert recording.labels == ("left.0", "left.2", "left.3", "left.5", "right.1", "right.2", "right.4")
    assert recording.space == "fsLR"


@pytest.mark.parametrize("kind", ["meg", "eeg"])
@pytest.mark.parametrize("words", [False, True])
def test_epochs_have_the_ids_of_the_betas(tmp_path: Path, kind: str, words: bool) -> None:
    made = FakeNOD(tmp_path, words=words)
    recording, betas = load_nod(tmp_path, 3, kind), load_nod(tmp_path, 3)
    assert recording.image_names == betas.image_names
    assert [recording.image_names[i] for i in recording.image_ids] == [NAMES[i] for i in made.order]
    np.testing.assert_allclose(np.asarray(recording.responses), made.epochs[kind].reshape(10, -1), rtol=1e-6)
    assert recording.presentations["stim_is_animate"].tolist() == [i % 2 == 0 for i in made.order]
    assert load_nod(tmp_path, 3, kind, sessions=[2]).presentations["run"].tolist() == [1, 1, 1, 2, 2]


def test_one_data_set_alone_and_the_images(made: FakeNOD) -> None:
    for name in NAMES:
        path = made.folder / SETS["fmri"] / "stimuli/imagenet" / name[:9] / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3)).save(path)
    recording = load_nod(made.folder / SETS["fmri"], 3)
    assert recording.images[recording.image_ids[0]].shape == (3, 4, 3)
    assert load("nod", made.folder, subject=3, modality="meg").images is not None
    assert load_nod(made.folder / SETS["meg"], 3, "meg").images is None
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of 12 images are missing in .*stimuli, first {NAMES[-1]}"):
        load_nod(made.folder, 3)


def test_classes_are_the_indices_of_imagenet_if_all_1000_are_there(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(1000)
    table = pd.DataFrame(
        {"image_id": [f"n{7 * i:08d}_5.JPEG" for i in order], "session": "ImageNet01", "run": np.arange(1000) // 100}
    )
    epochs = mne.EpochsArray(np.ones((1000, 1, 2)), mne.create_info(1, 250.0, "eeg"), metadata=table, verbose="error")
    path = FakeNOD(tmp_path / "other").epochs_path("eeg").relative_to(tmp_path / "other")
    (tmp_path / path).parent.mkdir(parents=True)
    epochs.save(tmp_path / path, verbose="error")
    assert load_nod(tmp_path, 3, "eeg").presentations["class"].tolist() == order.tolist()


class TestTraps:
    def test_what_is_missing(self, made: FakeNOD) -> None:
        with pytest.raises(FileNotFoundError, match=r"ds005810/.*sub-04_meg_epo\.fif is missing"):
            load_nod(made.folder, 4, "meg")
        with pytest.raises(
            FileNotFoundError, match=r"ses-imagenet07_task-imagenet_run-1_beta\.dscalar\.nii is missing"
        ):
            load_nod(made.folder, 3, sessions=[7])
        with pytest.raises(ValueError, match="modality must be one of"):
            load_nod(made.folder, 3, "pet")
        made.place(1, 2, "label.txt").unlink()
        with pytest.raises(FileNotFoundError, match=r"run-2_label\.txt is missing"):
            load_nod(made.folder, 3)

    def test_labels_maps_and_events_are_compared(self, made: FakeNOD) -> None:
        labels = made.place(1, 1, "label.txt")
        right = labels.read_text()
        labels.write_text("".join(reversed(right.splitlines(True))))
        with pytest.raises(ValueError, match=f"must name the maps of .*, got '{NAMES[5]}' for map 0, '{NAMES[3]}'"):
            load_nod(made.folder, 3)
        labels.write_text(right.splitlines(True)[0])
        with pytest.raises(ValueError, match=r"must name the images of 3 maps in .*, got 1"):
            load_nod(made.folder, 3)
        labels.write_text(right)
        made.write_run(1, 1, [3, 0, 5], made.betas[0], names=["#1", "#2", "#3"])  # that state no image
        load_nod(made.folder, 3)
        labels.write_text(right.replace(NAMES[0], NAMES[11]))
        with pytest.raises(ValueError, match=f"must name the same images, got 2 in one alone, first '{NAMES[0]}'"):
            load_nod(made.folder, 3)

    def test_cut_files(self, made: FakeNOD) -> None:
        path = made.place(2, 1, "beta.dscalar.nii")
        content = path.read_bytes()
        for kept in (10, 600, len(content) - 4):
            path.write_bytes(content[:kept])
            with pytest.raises(ValueError, match=r"run-1_beta\.dscalar\.nii (cannot be read|must be \d+ bytes)"):
                load_nod(made.folder, 3)

    def test_another_subjects_epochs(self, made: FakeNOD) -> None:
        path = made.epochs_path("meg")
        other = FakeNOD(made.folder / "other", subject=3)
        for session, run, order in other.runs:
            other.place(session, run, "label.txt").write_text("".join(f"n09999999_{i}.JPEG\n" for i in order))
        (made.folder / "mixed").mkdir()
        (made.folder / "mixed" / SETS["meg"]).symlink_to(path.parents[3])
        (made.folder / "mixed" / SETS["fmri"]).symlink_to(made.folder / "other" / SETS["fmri"])
        with pytest.raises(ValueError, match="fmri and meg of subject 3 must show the same images, got none of 12"):
            load_nod(made.folder / "mixed", 3, "meg")
