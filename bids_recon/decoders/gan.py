"""A generator of pictures, trained from responses against a discriminator."""

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from bids_recon.datatypes import Prior, Targets
from bids_recon.decoders.adversarial_training import AdversarialTraining
from bids_recon.decoders.batches import Batches
from bids_recon.decoders.comparator import (
    LAYERS,
    SELF_TRAINED,
    Comparator,
    self_trained,
)
from bids_recon.decoders.network import NetworkDecoder, positive
from bids_recon.decoders.training import seeded
from bids_recon.errors import UserError
from bids_recon.networks.encoder_names import load_encoder, weights_for
from bids_recon.pictures import Pictures, stretched
from bids_recon.weights import stamp_of

if TYPE_CHECKING:
    import torch

    from bids_recon.networks.adversarial import PictureGenerator

SMALLEST, LARGEST = 28, 256
"""Pixels on a side of what is drawn."""

WHOLE = 248 / 227
"""How much larger the picture is from which the published targets are cut."""

GREYS = 255

COLOUR = (123, 117, 104)
"""Red, green and blue that the published networks take away from pictures."""


@dataclass
class GAN(NetworkDecoder):
    r"""Draw pictures that are like those shown, like them to a network, and like real.

    With the picture y, what the generator makes of responses x, the comparator C and
    the discriminator's probability D of a real picture, the generator's loss is
    :math:`w_i \overline{(G(x) - y)^2} + w_f \overline{(C(G(x)) - C(y))^2} - w_a \log
    D(G(x))`, each a mean over values and pictures, of pixels in 0 to 255 less a mean
    colour. Caffe's loss of n values with a weight w is a mean with the weight w n / 2.

    Parameters
    ----------
    weight_decay : float
        Of the discriminator; it is part of the gradient, as in Adam's first form.
    clip : float
        The norm of the gradient of each network, at most; as published, without limit.
    steps : int, optional
        Steps in place of epochs, in whole epochs; published are 500,000.
    halved_at : sequence of int
        Updates of a network at which its learning rate is halved.
    side : int, optional
        Pixels on a side of what is drawn, 28 to 256; the longer side of the pictures
        without. Others are brought to a square, and back.
    crop : bool
        Whether each target is cut out of a larger square at a place drawn anew, as
        published (227 pixels of 248); what is drawn then fills the middle of a picture.
    n_hidden, width : int
        Units of the linear layers, and channels where the picture is smallest.
    image, feature, adversarial : float
        The weights; without one of them, an ablation.
    comparator : str
        ``caffenet`` as published, ``alexnet``, ``squeezenet`` and others of
        ``networks``, one's own as ``module:attribute``; or ``self-trained``: the
        encoder of an autoencoder of the training pictures and of such as were never
        shown.
    layer : str, optional
        Which of its layers is compared.
    weights : str, optional
        Those of the comparator; of its own name without.
    test_scale : {'root-n', 1}
        What the mean of n repeats is multiplied by when it is decoded.
    stretch : float, percent
        So many of a picture's values are clipped, half of them at each end, and the
        rest spread over all grey values, as pictures are published (0.04); ``None``
        leaves pictures as they are.

    References
    ----------
    Shen et al. (2019), Frontiers in Computational Neuroscience 13, 21.
    """

    learning_rate: float = 2e-4
    weight_decay: float = 4e-4
    patience: int = 20
    clip: float = inf
    steps: int | None = None
    halved_at: tuple[int, ...] = (300_000, 500_000, 700_000, 900_000, 1_100_000)
    side: int | None = None
    crop: bool = False
    n_hidden: int = 4096
    width: int = 256
    image: float = 0.154587
    feature: float = 46.08
    adversarial: float = 100.0
    comparator: str = SELF_TRAINED
    layer: str | None = None
    weights: str | None = None
    test_scale: Literal["root-n", 1] = "root-n"
    stretch: float | None = None

    name: ClassVar[str] = "gan"
    draws: ClassVar[bool] = True
    """Its targets are pictures (3, H, W)."""

    uses_prior: ClassVar[bool] = True
    """``fit`` gets pictures that were never shown, ``predict`` numbers of repeats."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.halved_at = tuple(self.halved_at)
        positive(self, "n_hidden", "halved_at")
        if self.steps is not None:
            positive(self, "steps")
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width is a multiple of 8, not {self.width}")
        if self.side is not None and not SMALLEST <= self.side <= LARGEST:
            raise ValueError(
                f"side is null or {SMALLEST} to {LARGEST} pixels, not {self.side}"
            )
        losses = (self.image, self.feature, self.adversarial)
        if not all(0 <= weight < inf for weight in losses) or not any(losses):
            raise ValueError(
                "image, feature and adversarial are at least 0, and one of them above, "
                f"not {losses}"
            )
        if self.stretch is not None and not 0 <= self.stretch < 100:
            raise ValueError(f"stretch is null or 0 to 100 percent, not {self.stretch}")
        self._choose_comparator()

    def _choose_comparator(self) -> None:
        """Find the comparator's layer and the name of its weights."""
        self.layer = self.layer or LAYERS.get(self.comparator)
        if self.layer is None:
            raise ValueError(f"layer: say which one of {self.comparator!r} is compared")
        if self.comparator != SELF_TRAINED:
            self.weights = weights_for(self.comparator, self.weights)
        elif self.weights is not None or self.layer != LAYERS[SELF_TRAINED]:
            raise ValueError("a self-trained comparator has no weights and no layer")
        if not self.feature:
            # What is not compared need not be there.
            self.weights = None

    def check(self, size: tuple[int, int] | None = None) -> None:
        """Check that the comparator can be loaded and has the layer that is compared.

        Parameters
        ----------
        size : (int, int), optional
            The height and width of pictures, where they are known.

        Raises
        ------
        UserError
            If not: which layers it has; or if what is drawn is too small for it.
        """
        if self.weights is None:
            return
        encoder = load_encoder(self.comparator, self.machine.weights(self.weights))
        encoder.module_of(str(self.layer))
        if size is not None:
            Comparator(encoder, str(self.layer)).check(self._side(*size))

    def check_trials(self, groups: np.ndarray) -> None:
        """Check that training trials, groups (n_trials,) of which are held out, do.

        Raises
        ------
        UserError
            If they are fewer than a batch.
        """
        n_train = len(self._sides(groups)[0])
        if n_train < self.batch_size:
            raise UserError(
                f"The decoder gan learns from batches of {self.batch_size} pictures, "
                f"one a trial, and there are {n_train} training trials beside those "
                f"that it stops by. Give it a batch_size of at most {n_train}, or "
                "use ridge."
            )

    def fit(
        self,
        X: np.ndarray,
        Y: np.ndarray | Targets,
        groups: np.ndarray,
        prior: Prior | None = None,
    ) -> Self:
        """Learn from X (n_trials, n_voxels) and pictures Y (n_trials, 3, H, W).

        Parameters
        ----------
        X, Y : array
            Of training trials.
        groups : array of shape (n_trials,)
            Which trials are held out together.
        prior : Prior, optional
            Pictures that were never shown, which count as real to the discriminator,
            and which a self-trained comparator learns from.

        Raises
        ------
        UserError
            If there are fewer trials with pictures than a batch has, what is drawn is
            too small for the comparator, or the loss is not a number.
        """
        self.check_trials(groups)
        self._unseen = None if prior is None else Pictures.of(prior.values)
        super().fit(X, Y, groups)
        del self._unseen, self._pictures
        return self

    def _scales(self, Y: Targets, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002
        n_pixels = Y.n_targets // len(COLOUR)
        mean = np.repeat(np.array(COLOUR, dtype=np.float32) / GREYS, n_pixels)
        return mean, np.full(Y.n_targets, 1 / GREYS, dtype=np.float32)

    def _prepare(self, X: np.ndarray, Y: Targets, train: np.ndarray) -> None:  # noqa: ARG002
        self._pictures = Y.values, np.unique(Y.rows[train])

    def _key(self, X: np.ndarray, Y: Targets, train: np.ndarray) -> str:
        """Add the pictures, whose mean is a constant, and what compares them."""
        digest = sha256(super()._key(X, Y, train).encode())
        shown = Pictures(Y.values, np.unique(Y.rows))
        for pictures in (shown, self._unseen):
            for _, block in () if pictures is None else pictures.blocks():
                digest.update(block.tobytes())
        if self.weights is not None:
            digest.update(stamp_of(self.machine.weights(self.weights)).encode())
        return digest.hexdigest()

    def _side(self, height: int, width: int) -> int:
        """Return the side of what is drawn, for pictures of a size."""
        return self.side or min(max(height, width, SMALLEST), LARGEST)

    def _network(self) -> "PictureGenerator":
        from bids_recon.networks.adversarial import PictureGenerator

        height, width = (int(length) for length in self.shape_[1:])
        side = self._side(height, width)
        return PictureGenerator(
            len(self.x_mean_),
            (height, width),
            side,
            round(side * WHOLE) if self.crop else side,
            self.n_hidden,
            self.width,
        )

    def _training(
        self, network: "PictureGenerator", batches: Batches, key: str
    ) -> AdversarialTraining:
        from bids_recon.networks.adversarial import Discriminator

        device = batches.device
        with seeded(self.seed + 1, device):
            discriminator = Discriminator(network.side, self.width).to(device)
        comparator = self._comparator(network, device) if self.feature else None
        if comparator is not None:
            comparator.check(network.side)
        return AdversarialTraining(
            network,
            discriminator,
            comparator,
            partial(self._further, network, device),
            batches,
            self,
            self.keep,
            key,
        )

    def _comparator(
        self, network: "PictureGenerator", device: "torch.device"
    ) -> Comparator:
        """Return the comparator, loaded or trained on training pictures."""
        if self.weights is not None:
            path = self.machine.weights(self.weights)
            encoder = load_encoder(self.comparator, path)
            encoder.network.to(device).requires_grad_(False)
            return Comparator(encoder, str(self.layer))
        values, rows = self._pictures
        n_unseen = 0 if self._unseen is None else len(self._unseen)

        def take(places: np.ndarray) -> "torch.Tensor":
            shown = places[places < len(rows)]
            pictures = np.asarray(values[rows[shown]])
            if n_unseen:
                unseen = self._unseen[places[places >= len(rows)] - len(rows)]
                pictures = np.concatenate([pictures, np.asarray(unseen)])
            return self.seen(self._squares(network, pictures, device))

        n_pictures = len(rows) + n_unseen
        made = self_trained(take, n_pictures, self.width, self.seed, device)
        return Comparator(made, str(self.layer))

    def _further(
        self, network: "PictureGenerator", device: "torch.device", n_pictures: int
    ) -> "torch.Tensor":
        """Draw some of the pictures that were never shown, if there are any."""
        import torch

        if self._unseen is None or not len(self._unseen):
            return torch.empty(0, 3, network.side, network.side, device=device)
        rows = torch.randint(0, len(self._unseen), (n_pictures,)).numpy()
        return self._squares(network, np.asarray(self._unseen[rows]), device)

    def _squares(
        self, network: "PictureGenerator", pictures: np.ndarray, device: "torch.device"
    ) -> "torch.Tensor":
        """Return pictures in [0, 1] as the discriminator gets them."""
        import torch

        flat = (pictures.reshape(len(pictures), -1) - self.y_mean_) / self.y_scale_
        y = torch.from_numpy(np.ascontiguousarray(flat, dtype=np.float32)).to(device)
        return network.cut(network.wanted(y), anywhere=False)

    @staticmethod
    def seen(pictures: "torch.Tensor") -> "torch.Tensor":
        """Return pictures in [0, 1] of such as are 0 to 255 less the mean colour."""
        return (pictures + pictures.new_tensor(COLOUR).view(3, 1, 1)) / GREYS

    def learned(self) -> dict[str, Any]:
        """Return what was chosen in training, for a reader."""
        return {"epoch": int(self.best_epoch_)}

    def predict(
        self,
        X: np.ndarray,
        out: np.ndarray | None = None,
        n_repeats: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return pictures (n_trials, 3, H, W), float32.

        Parameters
        ----------
        X : array of shape (n_trials, n_voxels)
            Responses, or their means over repeats of a picture.
        out : array of shape (n_trials, 3, H, W), optional
            Where they are written, block by block; may be memory-mapped.
        n_repeats : array of shape (n_trials,), optional
            Over how many; one trial each by default.
        """
        if self.test_scale == "root-n" and n_repeats is not None:
            root = np.sqrt(np.asarray(n_repeats, dtype=np.float32))[:, None]
            X = self.x_mean_ + root * (X - self.x_mean_)
        out = super().predict(X, out)
        if self.stretch is not None:
            for picture in out:
                picture[:] = stretched(picture, self.stretch)
        return out
