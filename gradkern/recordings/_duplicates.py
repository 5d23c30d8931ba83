"""Images that a source holds under several ids: a picture in training and in test without anybody's knowing."""

from dataclasses import replace
from hashlib import blake2b

import numpy as np

from gradkern.recordings._recording import Recording


def same_pictures(recording: Recording) -> tuple[tuple[int, ...], ...]:
    """Ids of the images shown that are the same picture, pixel for pixel: a tuple for every picture with several ids.

    Every image shown is read once. A picture that was encoded anew, or cropped otherwise, is another.

    Raises
    ------
    ValueError : the recording has no images
    """
    if recording.images is None:
        raise ValueError("same_pictures: the recording must have images, got none")
    ids: dict[bytes, list[int]] = {}
    for number in np.unique(recording.image_ids).tolist():
        image = np.ascontiguousarray(recording.images[number])
        digest = blake2b(f"{image.dtype} {image.shape}".encode(), digest_size=16)
        digest.update(image.data)
        ids.setdefault(digest.digest(), []).append(number)
    return tuple(tuple(group) for group in ids.values() if len(group) > 1)


def merge_pictures(recording: Recording) -> Recording:
    """One id, the lowest, for the same picture: its presentations become repeats and stay together in every split."""
    groups = same_pictures(recording)
    lowest = {number: group[0] for group in groups for number in group[1:]}
    if not lowest:
        return recording
    ids = recording.presentations["image"].replace(lowest)
    return replace(
        recording,
        presentations=recording.presentations.assign(image=ids),
        history=(*recording.history, f"{len(lowest)} ids of images became those of the same picture"),
    )
