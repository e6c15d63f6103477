"""Arms down: the CT was taken with raised arms, a radiograph is not."""

NECK_MM = 60.0


def take_out(ct, soft, bone):
    return None


def let_down(tissue, labels, bones, grid):
    return None
