"""`gradkern similarity`: RSA and CKA of captures with saved recordings, all subjects in one file."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

from gradkern.encoding._matching import in_rows_of
from gradkern.encoding._rsa_scores import RSASettings, best_layers_by_measure, rsa_scores
from gradkern.encoding._spaces import join_captures
from gradkern.encoding._store import is_up_to_date, load_scores, save_scores
from gradkern.features._store import load_features
from gradkern.study._encode import chosen_spaces, hash_of, load_recordings, request_of


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Write similarity.nc, complete or not at all; a file that is up to date is kept.

    Returns what was done, for JSON.
    """
    settings = RSASettings(
        options.by, options.distance, options.comparison, options.permutations, options.images or None, options.seed
    )
    captures = [load_features(folder) for folder in options.features]
    spaces = chosen_spaces(join_captures(captures, options.models), options)
    recordings = [in_rows_of(captures[0], recording) for recording in load_recordings(options)]
    encoded = load_scores(options.scores) if options.scores else None
    request = request_of(captures, spaces, options)
    request |= {"recordings": [hash_of(recording) for recording in recordings], "how": asdict(settings)}
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"{options.output.parent} is not a folder")
    is_kept = not options.overwrite and is_up_to_date(options.output, request)
    if is_kept:
        print(f"kept {options.output}, which was made from the same")
        similar = load_scores(options.output).to_dataset()
    else:
        similar = rsa_scores(spaces, recordings, settings)
        save_scores(similar, options.output, request)
    done: dict[str, Any] = {"output": str(options.output), "kept": is_kept, "feature spaces": len(spaces)}
    done["subjects"] = [str(subject) for subject in similar.subject.values]
    if encoded is not None:
        table = best_layers_by_measure(similar, _scores_of(encoded, options.recordings))
        print(table.to_string(index=False))
        done["best layers"] = table.to_dict("records")
    subjects = similar.sizes["subject"]
    words = f"{subjects} subject{'' if subjects == 1 else 's'}, {len(spaces)} feature spaces"
    print(f"RSA and CKA with {words}: all in {options.output}")
    return done


def _scores_of(encoded: xr.DataTree, recordings: Sequence[Any]) -> list[xr.Dataset]:
    """Scores of the recordings by their names, as `gradkern encode` calls its files; of all where names differ.

    A subject may have fMRI and MEG in one folder of scores. A file of one recording is taken as it is.
    """
    if encoded.has_data:
        return [encoded.to_dataset()]
    names = [Path(recording).stem for recording in recordings]
    groups = encoded.children
    chosen = [groups[name] for name in names] if set(names) <= set(groups) else groups.values()
    return [group.to_dataset() for group in chosen]


def kept(options: argparse.Namespace) -> str:
    """What a call that was stopped has left, in words."""
    return f"{options.output} is as it was before" if options.output.exists() else "nothing was written"
