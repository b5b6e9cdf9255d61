"""The dataset's object types as kd3d's class ids."""

from kd3d.errors import RecordError

__all__ = ["CLASSES", "WAYMO_TYPES", "class_of"]

#: kd3d's classes by id.
CLASSES = ("Vehicle", "Pedestrian", "Cyclist")

#: The dataset's types by number: class id, -1 for what is not detected.
WAYMO_TYPES = {0: -1, 1: 0, 2: 1, 3: -1, 4: 2}


def class_of(waymo_type: int, where: str) -> int:
    """Return the class id of a label's type: 0 Vehicle, 1 Pedestrian, 2 Cyclist, -1 other.

    Unknown (0) and sign (3) are -1.

    Raises:
        RecordError: the type is none of the dataset's.
    """
    if waymo_type not in WAYMO_TYPES:
        raise RecordError(
            f"label type {waymo_type} is unknown.",
            where=where,
            hint="Types are 0 unknown, 1 vehicle, 2 pedestrian, 3 sign and 4 cyclist.",
        )
    return WAYMO_TYPES[waymo_type]
