"""How far a carved layer is from the one that it was made of."""

from fffref.models.fitting import relative_error


def error(rows, layer):
    """On the rows that it was made by."""
    return relative_error(layer.forward_hard(rows.x), rows.y)
