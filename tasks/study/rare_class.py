"""Instances of a rare class: how many images show, and images that replace removed ones."""

from collections.abc import Iterable, Mapping, Sequence

from models.data.records import Sample


def count_instances(samples: Iterable[Sample], label: str) -> int:
    """The objects of a class in all images."""
    return sum(note.label == label for sample in samples for note in sample.annotations)


def take_instances(
    available: Mapping[str, Sequence[Sample]], parts: Mapping[str, float], label: str, wanted: int
) -> tuple[list[Sample], dict[str, int]]:
    """Images of each generator that add up to a number of instances, and what each one lacks.

    An image that shows more instances than are missing is passed over. A generator lacks instances
    where all its images are taken.

    Args:
        available: per generator, its images in the order in which they are taken.
        parts: per generator, its part of the instances; they add up to 1.
    """
    taken: list[Sample] = []
    lacking: dict[str, int] = {}
    part_so_far, shared = 0.0, 0
    for generator, part in parts.items():
        part_so_far += part
        missing = int(wanted * part_so_far + 0.5) - shared
        shared += missing
        is_passed_over = False
        for sample in available[generator]:
            count = count_instances([sample], label)
            if 0 < count <= missing:
                taken.append(sample)
                missing -= count
            elif missing:
                is_passed_over = True
        if missing and not is_passed_over:
            lacking[generator] = missing
    return taken, lacking
