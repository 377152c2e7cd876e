"""Profiles, networks and weights, against other people's code."""

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from skimage import data
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models.feature_extraction import create_feature_extractor

from bids_recon import score, weights_command
from bids_recon.dataset.stimuli import read_picture
from bids_recon.errors import UserError
from bids_recon.evaluation.identification import two_way_of_originals
from bids_recon.evaluation.judge import Judge
from bids_recon.evaluation.metrics import ssim
from bids_recon.evaluation.profiles import (
    KINDS,
    MetricSpec,
    Profile,
    Step,
    profile_names,
    read_profile,
)
from bids_recon.evaluation.scores import Reconstructed
from bids_recon.evaluation.scores import score as score_profile
from bids_recon.machine import AbsentWeightsError
from bids_recon.networks import ENCODERS
from bids_recon.networks.lpips import Lpips
from bids_recon.registry import load
from bids_recon.weights import (
    Weights,
    check,
    fetch,
    find,
    first_digits,
    known_weights,
)

MODELS = torchvision.models
TORCHVISION = {
    "alexnet": (MODELS.alexnet, MODELS.AlexNet_Weights.IMAGENET1K_V1),
    "inception-v3": (MODELS.inception_v3, MODELS.Inception_V3_Weights.IMAGENET1K_V1),
    "efficientnet-b1-v1": (
        MODELS.efficientnet_b1,
        MODELS.EfficientNet_B1_Weights.IMAGENET1K_V1,
    ),
    "efficientnet-b1-v2": (
        MODELS.efficientnet_b1,
        MODELS.EfficientNet_B1_Weights.IMAGENET1K_V2,
    ),
    "efficientnet-v2-s": (
        MODELS.efficientnet_v2_s,
        MODELS.EfficientNet_V2_S_Weights.IMAGENET1K_V1,
    ),
    "squeezenet1-1": (
        MODELS.squeezenet1_1,
        MODELS.SqueezeNet1_1_Weights.IMAGENET1K_V1,
    ),
}


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return rng.random((3, 3, 70, 90)).astype(np.float32)


def random_network(name, seed=0):
    """Return the real architecture with random weights."""
    torch.manual_seed(seed)
    make, _ = TORCHVISION[name]
    options = {"init_weights": False} if name == "inception-v3" else {}
    return make(weights=None, **options)


def save(network, folder, name):
    path = folder / known_weights()[name].file
    torch.save(network.state_dict(), path)
    return path


def save_clip(folder):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=224,
        patch_size=32,
        projection_dim=8,
    )
    network = CLIPVisionModelWithProjection(config).eval()
    network.save_pretrained(folder / "clip-vit-l-14")
    return network


def save_dinov2(folder):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=224
    )
    network = Dinov2Model(config).eval()
    network.save_pretrained(folder / "dinov2-base")
    return network


def normalised(pictures, mean, std):
    batch = torch.from_numpy(pictures)
    return torchvision.transforms.functional.normalize(batch, mean, std)


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = (
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
)


class TestProfiles:
    @pytest.mark.parametrize("name", profile_names())
    def test_every_profile_names_what_exists(self, name):
        profile = read_profile(name)
        assert profile.name == name
        assert profile.version >= 1
        assert profile.source
        for spec in profile.metrics:
            assert spec.kind in KINDS
            if spec.network:
                assert spec.network in ENCODERS
                assert spec.network in known_weights()
            for step in spec.prepare:
                assert step.engine in ("seen", "pil", "tensor")
                assert (step.size > 0) == (step.engine != "seen")

    @pytest.mark.parametrize("name", profile_names())
    def test_every_profile_is_documented(self, name):
        page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
        assert f"`{name}`" in page

    def test_an_unknown_profile_is_told(self):
        with pytest.raises(UserError, match="Did you mean 'mindeye'"):
            read_profile("mindeye2")

    def test_the_default_never_judges_by_one_network_only(self):
        networks = {spec.network for spec in read_profile("bids-recon").metrics}
        assert len(networks - {None}) >= 4

    def test_the_two_protocols_differ_where_they_do(self):
        old, new = (
            {spec.name: spec for spec in read_profile(name).metrics}
            for name in ("brain-diffuser-2023", "mindeye")
        )
        assert old.keys() == new.keys()
        assert old["ssim"].regime == "columns"
        assert new["ssim"].regime == "gaussian"
        assert old["efficientnet_distance"].network == "efficientnet-b1-v1"
        assert new["efficientnet_distance"].network == "efficientnet-b1-v2"
        assert [step.size for step in old["inception_two_way"].prepare] == [224]
        assert [step.size for step in new["inception_two_way"].prepare] == [256, 342]


class TestPrepare:
    def spec(self, **step):
        return MetricSpec(name="m", kind="mse", prepare=(Step(**step),))

    @pytest.mark.parametrize("antialias", [True, False])
    def test_tensors_are_resized_as_torchvision_does(self, pictures, antialias):
        spec = self.spec(engine="tensor", size=31, antialias=antialias)
        ours = Judge().prepare(pictures, spec, (70, 90))
        theirs = torchvision.transforms.functional.resize(
            torch.from_numpy(pictures), [31, 31], antialias=antialias
        )
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)

    @pytest.mark.parametrize("name", ["bicubic", "bilinear"])
    def test_pillow_resizes_eight_bit_pictures(self, pictures, name):
        spec = self.spec(engine="pil", size=31, filter=name)
        ours = Judge().prepare(pictures, spec, (70, 90))
        image = Image.fromarray(
            (pictures[0] * 255).round().astype(np.uint8).transpose(1, 2, 0)
        )
        mode = torchvision.transforms.InterpolationMode(name)
        theirs = torchvision.transforms.Resize((31, 31), mode)(image)
        np.testing.assert_array_equal(
            ours[0], np.asarray(theirs, dtype=np.float32).transpose(2, 0, 1) / 255
        )

    def test_large_arrays_lie_in_a_file(self, pictures, monkeypatch):
        monkeypatch.setattr("bids_recon.evaluation.judge.LARGE", 10)
        spec = self.spec(engine="tensor", size=31)
        judge = Judge()
        assert isinstance(judge.prepare(pictures, spec, (70, 90)), np.memmap)


def test_ssim_by_columns_is_that_of_scikit_image_0_17():
    # structural_similarity(recon, seen, multichannel=True, gaussian_weights=True,
    # sigma=1.5, use_sample_covariance=False, data_range=1.0) of rgb2gray pictures gave
    # these under scikit-image 0.17.2, and without multichannel.
    folder = Path(__file__).parent / "data"
    seen, made = (
        read_picture(folder / f"ssim_{name}.png", (48, 48))[None].astype(np.float64)
        for name in ("seen", "reconstructed")
    )
    columns = ssim(seen, made, regime="columns", grey="luma")[0]
    assert columns == pytest.approx(0.41076138548476093, abs=1e-6)
    plain = ssim(seen, made, regime="gaussian", grey="luma")[0]
    assert plain == pytest.approx(0.4392909244593268, abs=1e-6)


def test_identification_of_originals_by_hand():
    similarity = np.array([[0.9, 0.1, 0.5], [0.4, 0.3, 0.3], [0.2, 0.8, 0.5]])
    scores = two_way_of_originals(similarity, np.arange(3))
    np.testing.assert_allclose(np.diag(scores), [1.0, 0.5, 0.75])


class TestNetworks:
    @pytest.mark.parametrize(
        ("name", "layers"),
        [
            ("alexnet", ["features.4", "features.11", "classifier.5"]),
            ("inception-v3", ["avgpool"]),
            ("efficientnet-b1-v1", ["avgpool"]),
            ("efficientnet-v2-s", ["avgpool"]),
            ("squeezenet1-1", ["features.12"]),
        ],
    )
    def test_layers_are_those_of_torchvision(self, tmp_path, pictures, name, layers):
        network = random_network(name).eval()
        if name == "inception-v3":
            network.transform_input = True
        encoder = load(ENCODERS, "network", name)(save(network, tmp_path, name))
        large = pictures.repeat(2, 2).repeat(2, 3)
        theirs = create_feature_extractor(network, layers)
        with torch.inference_mode():
            expected = theirs(normalised(large, *IMAGENET))
        for layer in layers:
            np.testing.assert_allclose(
                encoder.features(large, layer),
                expected[layer].flatten(1).numpy(),
                rtol=1e-4,
                atol=1e-4,
            )

    def test_swav_weights_load_without_their_prototypes(self, tmp_path, pictures):
        torch.manual_seed(0)
        network = MODELS.resnet50(weights=None).eval()
        state = {
            f"module.{key}": value
            for key, value in network.state_dict().items()
            if not key.startswith("fc.")
        }
        state["module.prototypes.weight"] = torch.zeros(3, 2)
        path = tmp_path / "swav.pth.tar"
        torch.save(state, path)
        encoder = load(ENCODERS, "network", "swav-resnet50")(path)
        with torch.inference_mode():
            expected = create_feature_extractor(network, ["avgpool"])(
                normalised(pictures, *IMAGENET)
            )["avgpool"]
        np.testing.assert_allclose(
            encoder.features(pictures, "avgpool"), expected.flatten(1), rtol=1e-4
        )

    def test_clip_gives_its_embedding_and_its_hidden_states(self, tmp_path):
        network = save_clip(tmp_path)
        rng = np.random.default_rng(0)
        pictures = rng.random((2, 3, 224, 224)).astype(np.float32)
        encoder = load(ENCODERS, "network", "clip-vit-l-14")(tmp_path / "clip-vit-l-14")
        with torch.inference_mode():
            out = network(
                pixel_values=normalised(pictures, *CLIP), output_hidden_states=True
            )
        for layer, expected in (
            ("projected", out.image_embeds),
            ("hidden.2", out.hidden_states[2]),
        ):
            np.testing.assert_allclose(
                encoder.features(pictures, layer), expected.flatten(1), atol=1e-5
            )

    def test_dinov2_gives_its_class_token(self, tmp_path):
        network = save_dinov2(tmp_path)
        rng = np.random.default_rng(0)
        pictures = rng.random((2, 3, 224, 224)).astype(np.float32)
        encoder = load(ENCODERS, "network", "dinov2-base")(tmp_path / "dinov2-base")
        with torch.inference_mode():
            out = network(pixel_values=normalised(pictures, *IMAGENET))
        np.testing.assert_allclose(
            encoder.features(pictures, "cls"), out.last_hidden_state[:, 0], atol=1e-5
        )

    def test_lpips_is_that_of_torchmetrics(self, tmp_path):
        torch.manual_seed(0)
        theirs = _LPIPS(pretrained=True, net="alex", pnet_rand=True, eval_mode=True)
        network = random_network("alexnet")
        for index, kept in enumerate((0, 3, 6, 8, 10)):
            part = getattr(theirs.net, f"slice{index + 1}")
            own = next(m for m in part if isinstance(m, torch.nn.Conv2d))
            network.features[kept].load_state_dict(own.state_dict())
        linear = {
            f"lin{i}.model.1.weight": getattr(theirs, f"lin{i}")
            .model[1]
            .weight.detach()
            for i in range(5)
        }
        torch.save(linear, tmp_path / "alex.pth")
        ours = Lpips(save(network, tmp_path, "alexnet"), tmp_path / "alex.pth")
        rng = np.random.default_rng(0)
        a, b = rng.random((2, 3, 3, 64, 64)).astype(np.float32)
        with torch.inference_mode():
            expected = theirs(torch.from_numpy(a) * 2 - 1, torch.from_numpy(b) * 2 - 1)
        np.testing.assert_allclose(ours.distance(a, b), expected.flatten(), rtol=1e-4)

    def test_weights_that_do_not_fit_or_are_damaged_are_told(self, tmp_path):
        path = save(random_network("squeezenet1-1"), tmp_path, "squeezenet1-1")
        with pytest.raises(UserError, match="do not fit AlexNet"):
            load(ENCODERS, "network", "alexnet")(path)
        path.write_bytes(path.read_bytes()[:10_000])
        with pytest.raises(UserError, match="cannot be read as weights"):
            load(ENCODERS, "network", "squeezenet1-1")(path)
        torch.save([1, 2], path)
        with pytest.raises(UserError, match="holds list"):
            load(ENCODERS, "network", "squeezenet1-1")(path)


def squeezenet_from_keras(path):
    """Bring the real SqueezeNet, made for BGR to 255, to torchvision's input."""
    import h5py

    network = MODELS.squeezenet1_1(weights=None)
    state = network.state_dict()
    parts = {
        "squeeze1x1": "squeeze",
        "expand1x1": "expand1x1",
        "expand3x3": "expand3x3",
    }
    fires = dict(zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True))
    names = {"conv1": "features.0"} | {
        f"fire{n}/{theirs}": f"features.{index}.{ours}"
        for n, index in fires.items()
        for theirs, ours in parts.items()
    }
    with h5py.File(path) as file:
        arrays = {}
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    for theirs, ours in names.items():
        for kind, end in (("kernel", "weight"), ("bias", "bias")):
            (value,) = [
                array
                for name, array in arrays.items()
                if theirs in name and kind in name
            ]
            order = (3, 2, 0, 1) if kind == "kernel" else (0,)
            state[f"{ours}.{end}"] = torch.from_numpy(value.transpose(order).copy())
    mean, std = (torch.tensor(part) for part in IMAGENET)
    offset = 255 * mean - torch.tensor([123.0, 117.0, 104.0])
    weight = state["features.0.weight"].flip(1)  # RGB
    state["features.0.bias"] += (weight * offset.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    state["features.0.weight"] = weight * (255 * std).view(1, 3, 1, 1)
    return state


@pytest.fixture(scope="module")
def real_weights(shared, tmp_path_factory):
    """A folder of weights with the real SqueezeNet."""
    (source,) = (shared / "weights" / "squeezenet1_1").glob("*.h5")
    folder = tmp_path_factory.mktemp("weights")
    state = squeezenet_from_keras(source)
    torch.save(state, folder / known_weights()["squeezenet1-1"].file)
    return folder


SQUEEZENET = Profile(
    name="squeezenet",
    version=1,
    describes="for tests",
    source="here",
    max_size=224,
    samples="first",
    metrics=tuple(
        MetricSpec(
            name=f"{kind}_{layer}",
            kind=kind,
            prepare=(Step(engine="pil", size=224),),
            network="squeezenet1-1",
            layer=f"features.{layer}",
        )
        for layer in (4, 12)
        for kind in ("two_way", "distance")
    ),
)


def photographs():
    names = (
        "astronaut",
        "coffee",
        "chelsea",
        "rocket",
        "camera",
        "coins",
        "moon",
        "text",
    )
    result = []
    for name in names:
        image = Image.fromarray(getattr(data, name)()).convert("RGB").resize((96, 96))
        result.append(np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255)
    return np.stack(result)


def reconstructed(seen, made):
    own = np.arange(len(seen))
    floor = np.broadcast_to(seen.mean(axis=0), seen.shape)
    return Reconstructed(seen, made, own, np.full(len(seen), "x"), {"floor": floor})


class TestRealNetwork:
    def test_photographs_are_recognised_in_noise_and_not_when_shuffled(
        self, real_weights
    ):
        seen = photographs()
        rng = np.random.default_rng(0)
        made = np.clip(seen + 0.1 * rng.standard_normal(seen.shape), 0, 1)
        judge = Judge(real_weights)
        table, _, _, _ = score_profile(reconstructed(seen, made), SQUEEZENET, 0, judge)
        table = table.set_index("metric")
        for layer in (4, 12):
            assert table.loc[f"two_way_{layer}", "value"] > 0.9
            assert table.loc[f"two_way_{layer}", "p_value"] < 0.01
            assert table.loc[f"two_way_{layer}", "floor"] == pytest.approx(
                0.5, abs=0.01
            )
            distance = table.loc[f"distance_{layer}"]
            assert distance["value"] < distance["chance"]
            assert distance["p_value"] < 0.01
        assert list(judge.used) == ["squeezenet1-1"]
        turned = np.roll(made, 1, axis=0)
        table = score_profile(reconstructed(seen, turned), SQUEEZENET, 0, judge)[0]
        assert (table.set_index("metric").loc["two_way_12", "p_value"]) > 0.05

    def test_features_are_those_of_the_source(self, real_weights, shared):
        # The same layers, written out by hand on the input that Keras gives.
        import h5py

        (source,) = (shared / "weights" / "squeezenet1_1").glob("*.h5")
        kernels = {}
        with h5py.File(source) as file:
            file.visititems(
                lambda name, item: (
                    kernels.update({name: item[()]})
                    if isinstance(item, h5py.Dataset) and "conv1" in name
                    else None
                )
            )
        (kernel,) = [value for name, value in kernels.items() if "kernel" in name]
        (bias,) = [value for name, value in kernels.items() if "bias" in name]
        pictures = photographs()[:2]
        bgr = pictures[:, ::-1] * 255 - np.array([104, 117, 123]).reshape(1, 3, 1, 1)
        expected = torch.nn.functional.conv2d(
            torch.from_numpy(np.ascontiguousarray(bgr)).float(),
            torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()),
            torch.from_numpy(bias),
            stride=2,
        ).relu()
        path = real_weights / known_weights()["squeezenet1-1"].file
        encoder = load(ENCODERS, "network", "squeezenet1-1")(path)
        ours = encoder.features(pictures, "features.1")
        np.testing.assert_allclose(ours, expected.flatten(1), rtol=1e-3, atol=0.05)

    def test_features_of_seen_pictures_are_kept_by_content(
        self, real_weights, tmp_path
    ):
        seen = photographs()
        judge = Judge(real_weights, tmp_path / "cache")
        spec = SQUEEZENET.metrics[0]
        first = judge.features(seen, spec, (96, 96), remember=True)
        (kept,) = (tmp_path / "cache").iterdir()
        again = Judge(real_weights, tmp_path / "cache")
        np.testing.assert_array_equal(
            again.features(seen, spec, (96, 96), remember=True), first
        )
        assert not again._networks.get("lpips")
        again.features(1 - seen, spec, (96, 96), remember=True)
        assert len(list((tmp_path / "cache").iterdir())) == 2
        assert kept.is_file()


@pytest.fixture
def no_caches(tmp_path, monkeypatch):
    """Caches of torch and of the hub that hold nothing."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


class TestWeights:
    @pytest.mark.parametrize("name", TORCHVISION)
    def test_addresses_are_those_of_torchvision(self, name):
        assert known_weights()[name].urls == (TORCHVISION[name][1].url,)
        assert first_digits(TORCHVISION[name][1].url) in TORCHVISION[name][1].url

    def test_absent_weights_cost_their_metrics_only(self, tmp_path, no_caches):
        rng = np.random.default_rng(0)
        seen = rng.random((5, 3, 40, 40)).astype(np.float32)
        table, _, notes, _ = score_profile(
            reconstructed(seen, seen), read_profile("brain-diffuser-2023"), 0, Judge()
        )
        table = table.set_index("metric")
        assert table.loc["pixel_correlation", "value"] == pytest.approx(1)
        assert table.loc["ssim", "value"] == pytest.approx(1)
        assert np.isnan(table.loc["alexnet2_two_way", "value"])
        (told,) = [note for note in notes if note.startswith("Not computed")]
        for words in ("alexnet2_two_way", "233 MB", "BSD-3", "fetch alexnet inception"):
            assert words in told

    def test_weights_are_found_in_the_folder_and_in_torchs_cache(
        self, tmp_path, no_caches
    ):
        weights = known_weights()["alexnet"]
        assert find(weights, tmp_path) is None
        cached = tmp_path / "torch" / "hub" / "checkpoints" / weights.file
        cached.parent.mkdir(parents=True)
        cached.touch()
        assert find(weights, None) == cached
        (tmp_path / weights.file).touch()
        assert find(weights, tmp_path) == tmp_path / weights.file

    def test_fetched_whole_or_not_at_all(self, tmp_path):
        source = tmp_path / "toy.pth"
        source.write_bytes(b"weights")
        toy = Weights("toy", 1, "CC0", urls=(source.as_uri(),))
        assert fetch(toy, tmp_path / "to").read_bytes() == b"weights"
        source.unlink()
        with pytest.raises(UserError, match="cannot be fetched"):
            fetch(toy, tmp_path / "other")
        assert not list((tmp_path / "other").iterdir())

    def test_checksums_in_names_are_compared(self, tmp_path):
        digits = hashlib.sha256(b"weights").hexdigest()[:8]
        toy = Weights(
            "toy", 1, "CC0", urls=(f"https://download.pytorch.org/toy-{digits}.pth",)
        )
        path = tmp_path / f"toy-{digits}.pth"
        path.write_bytes(b"weights")
        assert check(toy, tmp_path) == (path, True)
        (tmp_path / "plain.pth").write_bytes(b"weights")
        plain = Weights("plain", 1, "CC0", urls=("https://example.org/plain.pth",))
        assert check(plain, tmp_path) == (tmp_path / "plain.pth", False)
        path.write_bytes(b"weigh")
        with pytest.raises(UserError, match="may be truncated"):
            check(toy, tmp_path)

    def test_the_command_lists_and_checks(self, tmp_path, capsys, no_caches):
        assert weights_command.main(["list", "--to", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        for name in known_weights():
            assert name in said
        assert weights_command.main(["fetch", "alexnett", "--to", str(tmp_path)]) == 64
        assert "Did you mean 'alexnet'?" in capsys.readouterr().err
        assert weights_command.main(["fetch"]) == 64
        (tmp_path / known_weights()["alexnet"].file).write_text("half")
        assert weights_command.main(["check", "--to", str(tmp_path)]) == 65
        assert "alexnet-owt" in capsys.readouterr().err


def test_a_whole_profile_by_the_command_with_random_weights(
    tmp_path, capsys, no_caches
):
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("alexnet", "inception-v3", "efficientnet-b1-v2"):
        save(random_network(name), weights, name)
    torch.manual_seed(0)
    torch.save(
        MODELS.resnet50(weights=None).state_dict(),
        weights / known_weights()["swav-resnet50"].file,
    )
    save_clip(weights)
    rng = np.random.default_rng(0)
    for folder in ("seen", "made"):
        (tmp_path / folder).mkdir()
    for index, picture in enumerate(photographs()[:4]):
        noisy = np.clip(picture + 0.05 * rng.standard_normal(picture.shape), 0, 1)
        for folder, values in (("seen", picture), ("made", noisy)):
            pixels = (values * 255).round().astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(pixels).save(tmp_path / folder / f"{index}.png")
    status = score.main(
        [
            *(str(tmp_path / "seen"), str(tmp_path / "made")),
            *("--profile", "mindeye", "--weights-dir", str(weights)),
        ]
    )
    said = capsys.readouterr()
    assert status == 0, said.err
    rows = list(csv.DictReader(io.StringIO(said.out), delimiter="\t"))
    assert [row["metric"] for row in rows] == [
        m.name for m in read_profile("mindeye").metrics
    ]
    assert all(row["profile"] == "mindeye-1" for row in rows)
    assert all(row["value"] != "n/a" for row in rows)


def test_a_metric_without_weights_raises_for_who_asks(no_caches):
    spec = MetricSpec(name="m", kind="two_way", network="alexnet", layer="features.4")
    with pytest.raises(AbsentWeightsError):
        Judge().features(np.zeros((1, 3, 8, 8), np.float32), spec, (8, 8))
