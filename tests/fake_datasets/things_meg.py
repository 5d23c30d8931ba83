"""A small THINGS-MEG: the authors' preprocessed epochs of one subject."""

from typing import Any

import mne
import numpy as np
import pandas as pd

CHANNELS, TIMES, CONCEPTS, TESTED, SESSIONS = 5, 281, 60, 20, 6
FOLDER = "derivatives/preprocessed"


def fake_trials() -> pd.DataFrame:
    """60 images shown once, 20 test images of the first concepts shown once a session, and catch fake_trials."""
    rows = [("exp", i % SESSIONS + 1, f"images_meg/thing {i}/thing {i}_01b.jpg") for i in range(CONCEPTS)]
    for session in range(1, SESSIONS + 1):
        rows += [("test", session, f"images_test_meg/thing {i}_14s.jpg") for i in range(TESTED)]
        rows += [("catch", session, f"images_catch_meg/catch_{session}.jpg")]
    table = pd.DataFrame(rows, columns=["trial_type", "session_nr", "image_path"])
    return table.assign(run_nr=1).sample(frac=1, random_state=0).reset_index(drop=True)


def fake_epochs(table: pd.DataFrame, cal: float = 1.0) -> Any:
    info = mne.create_info([f"M{i}" for i in range(CHANNELS)], 200.0, "mag")
    for channel in info["chs"]:
        channel["cal"] = cal
    count = len(table)
    events = np.c_[300 * np.arange(count), np.zeros(count, int), np.ones(count, int)]
    data = np.random.default_rng(0).standard_normal((count, CHANNELS, TIMES))
    return mne.EpochsArray(data, info, events, tmin=-0.1, metadata=table, verbose="error")
