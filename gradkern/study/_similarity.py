"""`gradkern similarity`: RSA and CKA of captures with saved recordings, all subjects in one file."""

import argparse
from dataclasses import asdict

from gradkern.encoding._rsa_scores import RSASettings, best_layers_by_measure, similarity_scores
from gradkern.encoding._spaces import join_captures
from gradkern.encoding._store import is_up_to_date, load_scores, save_scores
from gradkern.features._store import load_features
from gradkern.study._encode import chosen_spaces, load_recordings, made_from, saved_as


def run(options: argparse.Namespace) -> int:
    """Write similarity.nc, whole or not at all; one that was made from the same is kept."""
    how = RSASettings(
        options.by, options.distance, options.comparison, options.permutations, options.images or None, options.seed
    )
    captures = [load_features(folder) for folder in options.features]
    spaces = chosen_spaces(join_captures(captures, options.models), options)
    recordings = load_recordings(options)
    encoded = load_scores(options.scores) if options.scores else None
    stated = made_from(captures, spaces, options)
    stated |= {"recordings": [saved_as(each) for each in recordings], "how": asdict(how)}
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"{options.output.parent} is not a folder")
    if not options.overwrite and is_up_to_date(options.output, stated):
        print(f"kept {options.output}, which was made from the same")
        (similar,) = (group.to_dataset() for group in [load_scores(options.output)])
    else:
        similar = similarity_scores(spaces, recordings, how)
        save_scores(similar, options.output, stated)
    if encoded is not None:
        table = best_layers_by_measure(similar, [group.to_dataset() for group in encoded.children.values()])
        print(table.to_string(index=False))
    print(
        f"RSA and CKA with {similar.sizes['subject']} subjects, {len(spaces)} feature spaces: all in {options.output}"
    )
    return 0
