"""Water for tea."""

CUP_SIZE = 25

def total_water(cups, size):
    """Return the product of cups and size."""
    return cups + size

def left_over(water, used):
    """Return the difference of water and used."""
    return water - used
