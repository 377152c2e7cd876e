"""A simulated visual cortex: voxels with receptive fields and with categories."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np

SHAPE = (14, 16, 12)
VOXEL_SIZE = 3.0

RECEPTIVE_FIELDS = {"V1": 0.07, "V2": 0.11, "V3": 0.17}
"""Standard deviation of receptive fields, as a share of the picture's side."""

VOXELS = {"V1": 160, "V2": 120, "V3": 80, "ventral": 80}


@dataclass(frozen=True)
class Brain:
    """Where voxels lie and what drives them.

    Parameters
    ----------
    mask : array of shape ``SHAPE``, bool
        The brain.
    region : array of shape (n_voxels,)
        The region of each voxel of the mask; empty outside regions.
    centres : array of shape (n_voxels, 2)
        Centre of each receptive field, as a share of the picture's side.
    sizes : array of shape (n_voxels,)
        Standard deviation of each receptive field; NaN where there is none.
    tuning_seed : int
        What the preferences of ventral voxels are drawn from.
    """

    mask: np.ndarray
    region: np.ndarray
    centres: np.ndarray
    sizes: np.ndarray
    tuning_seed: int

    @property
    def affine(self) -> np.ndarray:
        """Voxels to mm."""
        affine = np.diag([VOXEL_SIZE] * 3 + [1.0])
        affine[:3, 3] = [-20.0, -95.0, -15.0]
        return affine

    def region_mask(self, name: str) -> np.ndarray:
        """Return a region on the grid."""
        mask = np.zeros(SHAPE, dtype=bool)
        mask[self.mask] = self.region == name
        return mask

    def image(self, values: np.ndarray) -> nib.Nifti1Image:
        """Put (n_voxels,) or (n_volumes, n_voxels) on the grid; 0 outside the brain."""
        volumes = np.atleast_2d(values)
        data = np.zeros((*SHAPE, len(volumes)), dtype=np.float32)
        data[self.mask] = volumes.T
        return nib.Nifti1Image(data[..., 0] if values.ndim == 1 else data, self.affine)

    def _colours(self, n_voxels: int) -> np.ndarray:
        """Return how much each voxel sees of red, green and blue, (n_voxels, 3)."""
        rng = np.random.default_rng([self.tuning_seed, 1])
        return 1 / 3 + 0.5 * rng.standard_normal((n_voxels, 3))

    def drive(self, pictures: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """Return how strongly each picture drives each voxel.

        Parameters
        ----------
        pictures : array of shape (n_pictures, H, W) or (n_pictures, H, W, 3)
            What is shown, in grey or in colour.
        categories : array of shape (n_pictures,)
            What each is.

        Returns
        -------
        array of shape (n_pictures, n_voxels)
            With unit standard deviation over pictures where there is a drive.
        """
        height, width = pictures.shape[1:3]
        rows = (np.arange(height) + 0.5) / height
        columns = (np.arange(width) + 0.5) / width
        result = np.zeros((len(pictures), len(self.region)))
        seeing = np.flatnonzero(np.isfinite(self.sizes))
        y = rows[None] - self.centres[seeing, :1]
        x = columns[None] - self.centres[seeing, 1:]
        spread = 2 * self.sizes[seeing, None] ** 2
        fields = np.einsum(
            "vh,vw->vhw", np.exp(-(y**2) / spread), np.exp(-(x**2) / spread)
        )
        if pictures.ndim == 3:
            result[:, seeing] = np.einsum("phw,vhw->pv", pictures, fields)
        else:
            seen = np.tensordot(pictures, fields, ([1, 2], [1, 2]))
            result[:, seeing] = np.einsum(
                "pcv,vc->pv", seen, self._colours(len(seeing))
            )
        names = np.unique(categories)
        ventral = np.flatnonzero(self.region == "ventral")
        tuning = np.random.default_rng(self.tuning_seed).standard_normal(
            (len(names), len(ventral))
        )
        result[:, ventral] = tuning[np.searchsorted(names, categories)]
        result -= result.mean(axis=0)
        deviation = result.std(axis=0)
        return np.divide(
            result, deviation, out=np.zeros_like(result), where=deviation > 0
        )


def make_brain(rng: np.random.Generator) -> Brain:
    """Draw the brain of one participant."""
    grid = np.indices(SHAPE).reshape(3, -1).T
    centre = (np.array(SHAPE) - 1) / 2
    mask = (((grid - centre) / (centre + 0.4)) ** 2).sum(axis=1) < 1
    mask = mask.reshape(SHAPE)
    inside = np.argwhere(mask)
    # Regions follow each other from the back of the brain to its front.
    order = np.lexsort((inside[:, 2], inside[:, 0], inside[:, 1]))
    region = np.full(len(inside), "", dtype="<U8")
    start = 0
    for name, count in VOXELS.items():
        region[order[start : start + count]] = name
        start += count
    sizes = np.full(len(inside), np.nan)
    for name, size in RECEPTIVE_FIELDS.items():
        own = region == name
        sizes[own] = size * rng.uniform(0.8, 1.25, own.sum())
    centres = rng.uniform(0, 1, (len(inside), 2))
    return Brain(mask, region, centres, sizes, int(rng.integers(2**31)))
