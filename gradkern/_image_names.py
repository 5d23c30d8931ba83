"""Names of images: the one form in which they are compared, and what makes two names those of one file."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath


def canonical(name: str) -> str:
    """A name in Unicode's composed form (NFC), without the `.` of paths such as "./a.png"."""
    text = unicodedata.normalize("NFC", name)
    parts = [part for place, part in enumerate(text.split("/")) if part != "." and (part or not place)]
    return "/".join(parts) or text


def posix(name: str) -> str:
    """A name in the form in which names are compared: `canonical`, and "/" between folders."""
    return canonical(name.replace("\\", "/"))


def same_name(a: str, b: str) -> bool:
    """Whether two names are of one file: folders before it, and its ending, may be left out."""
    pairs = [PurePosixPath(posix(name)) for name in (a, b)]
    files = {path.name for path in pairs}
    bare = not all(path.suffix for path in pairs)
    return len(files) == 1 or (bare and len({path.stem for path in pairs}) == 1)


def same_tail(a: str, b: str) -> bool:
    """Whether two names end in the same folders and file, as far as both go; endings of files may be left out."""
    (first, *folders), (other, *others) = (PurePosixPath(posix(name)).parts[::-1] for name in (a, b))
    return same_name(first, other) and all(x == y for x, y in zip(folders, others, strict=False))


def tails(name: str) -> list[str]:
    """What a name ends in, the longest first, without the whole: "b/c.png" and "c.png" of "a/b/c.png".

    A file name of digits alone is left out, as data sets of any images have it.
    """
    parts = PurePosixPath(posix(name)).parts
    ends = ["/".join(parts[start:]) for start in range(1, len(parts))]
    return [end for end in ends if "/" in end or not PurePosixPath(end).stem.isdigit()]


def tails_without_ending(name: str, endings: tuple[str, ...]) -> list[str]:
    """The name and what it ends in, as `tails`, without one of the endings of files: "b/c" and "c" of "b/c.png"."""
    whole = posix(name)
    ending = next((ending for ending in endings if whole.lower().endswith(ending)), "")
    if not ending:
        return []
    ends = [end.removesuffix(whole[-len(ending) :]) for end in (whole, *tails(name))]
    return [end for end in ends if "/" in end or not end.isdigit()]


def checked_names(names: Sequence[str], count: int) -> tuple[str, ...]:
    """The names of `count` images.

    Raises
    ------
    ValueError : no words, no order, another number of them, or two are the same, also in another form of Unicode
    """
    if isinstance(names, AbstractSet):
        raise ValueError(f"names must have an order, got a {type(names).__name__}")
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"names must be words, one an image, got {names!r}")
    words = tuple(str(name) for name in names)
    if len(words) != count:
        raise ValueError(f"names must be one an image, {count}, got {len(words)}")
    forms = Counter(map(posix, words))
    twice = [name for name in words if forms[posix(name)] > 1]
    if twice:
        raise ValueError(f"names must be different, got {twice[0]!r} {forms[posix(twice[0])]} times")
    return words
