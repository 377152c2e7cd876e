"""Pictures at the size that a network takes."""

import numpy as np
import torch
from torch.nn.functional import interpolate

from bids_recon.pictures import Pictures


def resized(
    pictures: np.ndarray | Pictures | torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Return pictures (n, 3, *size) in [0, 1], bicubic with antialiasing."""
    batch = pictures
    if not isinstance(pictures, torch.Tensor):
        # A copy, because a map of a file cannot be written to.
        batch = torch.from_numpy(np.array(pictures, dtype=np.float32))
    if batch.shape[2:] == size:
        return batch
    batch = interpolate(
        batch, size=size, mode="bicubic", align_corners=False, antialias=True
    )
    return batch.clamp(0, 1)
