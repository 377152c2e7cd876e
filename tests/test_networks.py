"""Networks against hand-written forms, and the loop that trains them."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional
from torch_geometric.nn import ChebConv
from toys import fill

from bids_recon.datatypes import Targets
from bids_recon.decoders import training
from bids_recon.decoders.batches import Batches
from bids_recon.decoders.cluster_attention import ClusterAttentionDecoder, clusters
from bids_recon.decoders.cnn import CNN
from bids_recon.decoders.gcn import GCN
from bids_recon.decoders.state import restore, state_of
from bids_recon.decoders.training import Training, TrainingSettings
from bids_recon.decoders.vae import VAE
from bids_recon.errors import Note, UserError
from bids_recon.machine import Machine
from bids_recon.networks.clusters import ClusterAttention
from bids_recon.networks.graph import GraphNetwork, NodeInputs
from bids_recon.networks.residual import ResidualNetwork
from bids_recon.networks.variational import VariationalNetwork
from bids_recon.registry import build
from bids_recon.rois import GRAPHS
from bids_recon.rois.graphs import make_graph

CPU = Machine(device="cpu")
SMALL = {"hidden": (8,), "channels": 2, "kernel": 3, "batch_size": 8}


def problem(n_trials=48, n_voxels=12, n_targets=5, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_trials, n_voxels)).astype(np.float32)
    weights = rng.standard_normal((n_voxels, n_targets))
    Y = X @ weights + noise * rng.standard_normal((n_trials, n_targets))
    return X, Y.astype(np.float32), np.arange(n_trials) // 2


def graph_of(weights, n_each=3):
    n_nodes = len(weights)
    members = np.split(np.arange(n_nodes * n_each), n_nodes)
    names = [f"R{n}" for n in range(n_nodes)]
    how = build(GRAPHS, "graph", "full", {})
    return make_graph(weights, how, names, members, np.zeros((n_nodes * n_each, 3)))


# Networks


def test_chebyshev_convolution_of_four_nodes_by_hand():
    weights = np.zeros((4, 4))
    for a, b, w in ((0, 1, 0.5), (1, 2, 0.8), (2, 3, 0.3), (0, 3, 0.9)):
        weights[a, b] = weights[b, a] = w
    # The scaled Laplacian, whose largest eigenvalue is taken for 2: -D^-1/2 W D^-1/2.
    root = np.diag(weights.sum(axis=1) ** -0.5)
    scaled = -root @ weights @ root
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    terms = [x, scaled @ x]
    for _ in range(2):
        terms.append(2 * scaled @ terms[-1] - terms[-2])
    convolution = fill(ChebConv(3, 5, 4)).double()
    expected = sum(
        term @ layer.weight.detach().numpy().T
        for term, layer in zip(terms, convolution.lins, strict=True)
    )
    graph = graph_of(weights)
    made = convolution(
        torch.from_numpy(x), graph.edge_index, graph.edge_weight.double()
    )
    bias = convolution.bias.detach().numpy()
    np.testing.assert_allclose(made.detach().numpy(), expected + bias, rtol=1e-6)


def test_each_node_reads_its_own_voxels_with_its_own_weights():
    inputs = fill(NodeInputs([2, 3], 4)).double()
    with torch.no_grad():
        inputs.weight[0, 2:] = 0
    x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    x[:, 0, 2] = 0
    for node, size in enumerate((2, 3)):
        values = x[:, node, :size] @ inputs.weight[node, :size] + inputs.bias[node]
        values = functional.layer_norm(
            values, (4,), inputs.norm.weight, inputs.norm.bias
        )
        torch.testing.assert_close(inputs(x)[:, node], functional.relu(values))


@pytest.mark.parametrize("shared", [False, True])
def test_a_graph_network_does_not_read_beyond_its_graph(shared):
    graph = graph_of(np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1.0]]))
    network = fill(
        GraphNetwork(
            graph.sizes.tolist(),
            graph.voxels,
            graph.edge_index,
            graph.edge_weight,
            n_targets=6,
            width=8,
            hidden=7,
            channels=2,
            orders=(4, 3),
            shared=shared,
        )
    ).eval()
    x = torch.ones(4, 10)
    assert network(x).shape == (4, 6)
    further = x.clone()
    # The tenth voxel is of no node.
    further[:, 9] = 50
    torch.testing.assert_close(network(x), network(further))
    # Regions of different sizes are padded, and none is shifted by it.
    further[:, 8] = 50
    assert not torch.allclose(network(x), network(further))


def scatter_softmax_by_hand(network, x):
    """Return what the clusters gather from their voxels, trial by trial."""
    gather, result = network.gather, []
    heads, size = gather.heads, gather.out_channels
    for trial in x:
        tokens = trial[:, None] * network.voxels
        keys, values = gather.lin_key(tokens), gather.lin_value(tokens)
        queries, skip = (
            gather.lin_query(network.clusters),
            gather.lin_skip(network.clusters),
        )
        rows = []
        for cluster in range(len(network.clusters)):
            own = torch.nonzero(network.cluster == cluster)[:, 0]
            parts = []
            for head in range(heads):
                cut = slice(head * size, (head + 1) * size)
                logits = keys[own, cut] @ queries[cluster, cut] / math.sqrt(size)
                raised = torch.exp(logits - logits.max())
                parts.append((raised / raised.sum()) @ values[own, cut])
            rows.append(torch.cat(parts) + skip[cluster])
        result.append(network.norm(functional.relu(torch.stack(rows))))
    return torch.stack(result)


def attention(shape=(2, 3), n_blocks=1):
    cluster = torch.tensor([0, 2, 1, 0, 2, 2, 1])
    network = ClusterAttention(cluster, shape, 3, 8, 2, n_blocks, dropout=0.0)
    return fill(network).eval()


def test_clusters_gather_by_softmax_over_their_voxels():
    network = attention()
    x = torch.randn(3, 7, generator=torch.manual_seed(1))
    made, found = network.gathered(x, with_attention=True)
    torch.testing.assert_close(made, scatter_softmax_by_hand(network, x))
    sums = torch.zeros(3, 3).index_add(1, network.cluster, found)
    torch.testing.assert_close(sums, torch.ones(3, 3))


@pytest.mark.parametrize("shape", [(4,), (2, 3), (3, 2, 2)])
def test_cluster_attention_does_not_depend_on_the_order_of_voxels(shape):
    network = attention(shape)
    x = torch.randn(3, 7, generator=torch.manual_seed(1))
    expected = network(x)
    assert expected.shape == (3, math.prod(shape))
    order = torch.tensor([3, 0, 6, 5, 1, 2, 4])
    with torch.no_grad():
        network.voxels.copy_(network.voxels[order].clone())
    network.cluster = network.cluster[order]
    torch.testing.assert_close(network(x[:, order]), expected)


def test_the_same_residual_block_is_passed_each_time():
    network = fill(ResidualNetwork(9, 4, 3, 3, 2, 2, True, (5,)))
    apart = ResidualNetwork(9, 4, 3, 3, 2, 2, False, (5,))
    state = network.state_dict()
    for name in list(state):
        if name.startswith("blocks.0."):
            state[name.replace("blocks.0.", "blocks.1.")] = state[name]
    apart.load_state_dict(state)
    x = torch.randn(2, 9, generator=torch.manual_seed(0))
    torch.testing.assert_close(network(x), apart(x))
    assert sum(p.numel() for p in network.parameters()) < sum(
        p.numel() for p in apart.parameters()
    )


def test_the_loss_of_the_autoencoder_has_the_divergence_of_normal_distributions():
    network = fill(VariationalNetwork(6, 3, (5,), 4, 2, kl=0.0))
    x, y = torch.randn(8, 6), torch.randn(8, 3)
    encoded = network.encoder(x)
    own = torch.distributions.Normal(
        network.mean(encoded), torch.exp(network.log_variance(encoded) / 2)
    )
    standard = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    expected = torch.distributions.kl_divergence(own, standard).mean()
    torch.manual_seed(0)
    without = network.loss(x, y)
    network.kl = 0.7
    torch.manual_seed(0)
    torch.testing.assert_close(network.loss(x, y) - without, 0.7 * expected)
    torch.testing.assert_close(network(x), own.mean)


# Clusters


def test_voxels_that_respond_alike_are_one_cluster():
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.repeat(np.arange(4), 10))
    courses = rng.standard_normal((4, 60))
    sizes = rng.uniform(0.5, 20, (40, 1))
    profiles = sizes * (courses[kinds] + 0.1 * rng.standard_normal((40, 60)))
    found = clusters(profiles, 4, seed=0)
    assert len(set(zip(kinds.tolist(), found.tolist(), strict=True))) == 4
    assert len(np.unique(clusters(profiles[:3], 128, seed=0))) == 3
    np.testing.assert_array_equal(clusters(np.zeros((5, 9)), 3, seed=0), 0)


@pytest.mark.parametrize("clusters_of", ["responses", "weights"])
def test_attention_and_gradients_are_where_the_signal_is(clusters_of):
    X, _, groups = problem(120, 20)
    Y = X[:, :2] @ np.array([[1.0, 0.5], [0.3, -2.0]], dtype=np.float32)
    decoder = ClusterAttentionDecoder(
        n_clusters=3,
        clusters_of=clusters_of,
        n_queries=2,
        width=16,
        learning_rate=5e-3,
        epochs=25,
        machine=CPU,
    ).fit(X, Y, groups)
    maps = decoder.maps(X)
    assert set(maps) == {"attention", "gradient"}
    assert maps["gradient"][:2].min() > 2 * maps["gradient"][2:].max()
    for cluster in range(3):
        mean = maps["attention"][decoder.cluster_ == cluster].mean()
        assert mean == pytest.approx(1, abs=1e-4)


def test_gradients_of_a_linear_network_are_its_weights():
    X, Y, groups = problem(60, 6, 40)
    decoder = CNN(**SMALL, epochs=1, machine=CPU).fit(X, Y, groups)
    weights = torch.randn(40, 6, generator=torch.manual_seed(0))
    decoder._made = torch.nn.Linear(6, 40)
    with torch.no_grad():
        decoder._made.weight.copy_(weights)
    expected = np.sqrt((weights.numpy() ** 2).mean(axis=0))
    expected *= decoder.y_scale_[0] / decoder.x_scale_
    found = decoder.maps(X)["gradient"]
    np.testing.assert_allclose(found, expected, rtol=0.15)


# The loop


def trained(settings, keep=None, key="", X=None, n_trials=48):
    own = problem(n_trials)
    X = own[0] if X is None else X
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Linear(12, 5), torch.nn.Dropout(0.2))
    ones = np.ones(12, np.float32), np.ones(5, np.float32)
    batches = Batches(
        X,
        Targets.of(own[1]),
        0 * ones[0],
        ones[0],
        0 * ones[1],
        ones[1],
        torch.device("cpu"),
    )
    loop = Training("toy", network, batches, settings, keep, key)
    return loop, np.arange(n_trials - 8), np.arange(n_trials - 8, n_trials)


def test_training_stops_by_what_was_held_out_and_keeps_the_best():
    settings = TrainingSettings(learning_rate=0.5, epochs=60, patience=3, batch_size=8)
    loop, train, held_out = trained(settings)
    found = loop.run(train, held_out)
    errors = found.curve[:, 1]
    assert found.best == errors.argmin() + 1
    assert len(errors) == min(60, found.best + 3)
    loop.network.load_state_dict(
        {k: torch.from_numpy(v) for k, v in found.state.items()}
    )
    loop.network.eval()
    X, Y, _ = problem()
    with torch.no_grad():
        predicted = loop.network(torch.from_numpy(X[held_out])).numpy()
    error = ((predicted - Y[held_out]) ** 2).mean()
    assert error == pytest.approx(errors.min(), rel=1e-5)


class EndedError(Exception):
    """What a kill is in these tests."""


@pytest.mark.parametrize("after", [1, 4])
def test_a_training_that_was_killed_ends_with_the_same_bytes(
    tmp_path, monkeypatch, after
):
    monkeypatch.setattr(training, "KEEP_EVERY", 0.0)
    settings = TrainingSettings(epochs=9, patience=9, batch_size=8, learning_rate=0.05)
    expected = trained(settings)[0].run(np.arange(40), np.arange(40, 48))
    keep = tmp_path / "training.safetensors"
    loop, train, held_out = trained(settings, keep, "mine")

    def ended(*arguments):
        if len(loop.curve) == after:
            raise EndedError
        return Training._epoch(loop, *arguments)

    loop._epoch = ended
    with pytest.raises(EndedError):
        loop.run(train, held_out)
    again, _, _ = trained(settings, keep, "mine")
    found = again.run(train, held_out)
    np.testing.assert_array_equal(found.curve, expected.curve)
    for name, values in expected.state.items():
        assert found.state[name].tobytes() == values.tobytes()
    # One that ended is not trained again, and a state of another is not gone on with.
    third, _, _ = trained(settings, keep, "mine")
    third._epoch = None
    assert third.run(train, held_out).best == expected.best
    other, _, _ = trained(settings, keep, "other")
    np.testing.assert_array_equal(other.run(train, held_out).curve, expected.curve)
    keep.write_bytes(b"no state")
    broken, _, _ = trained(settings, keep, "mine")
    np.testing.assert_array_equal(broken.run(train, held_out).curve, expected.curve)


def test_a_state_is_kept_without_pickle_and_says_whose_it_is(tmp_path):
    keep = tmp_path / "training.safetensors"
    settings = TrainingSettings(epochs=2)
    loop, train, held_out = trained(settings, keep, "mine")
    loop.run(train, held_out)
    with safe_open(keep, "np") as stream:
        note = json.loads(stream.metadata()["training"])
        assert set(stream.keys()) == {"best/0.weight", "best/0.bias"}
    assert note["key"] == "mine"
    assert note["ended"]


def test_decoders_of_other_settings_or_data_are_other_trainings(tmp_path):
    X, Y, groups = problem()

    def key(X=X, Y=Y, **options):
        decoder = CNN(**SMALL | options, epochs=1, machine=CPU)
        decoder.keep = tmp_path / "training.safetensors"
        decoder.fit(X, Y, groups)
        with safe_open(decoder.keep, "np") as stream:
            return json.loads(stream.metadata()["training"])["key"]

    keys = [key(), key(learning_rate=1e-2), key(seed=1), key(X=X + 1), key(Y=Y * 2)]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


def with_a_loss_that_breaks(loop, at):
    step = loop._step
    loop._step = lambda rows: float("nan") if len(loop.curve) >= at else step(rows)
    return loop


def test_a_loss_that_is_no_number_keeps_the_last_good_weights():
    settings = TrainingSettings(epochs=9, patience=9, batch_size=8, learning_rate=0.05)
    expected = trained(TrainingSettings(**{**vars(settings), "epochs": 4}))[0]
    expected = expected.run(np.arange(40), np.arange(40, 48))
    loop, train, held_out = trained(settings)
    with pytest.warns(
        Note, match="stopped at epoch 5, where the loss was not a number"
    ):
        found = with_a_loss_that_breaks(loop, 4).run(train, held_out)
    np.testing.assert_array_equal(found.curve, expected.curve)
    for name, values in expected.state.items():
        np.testing.assert_array_equal(found.state[name], values)


def test_a_loss_that_never_was_a_number_is_told():
    X = problem()[0]
    X[3, 3] = np.nan
    loop, train, held_out = trained(TrainingSettings(), X=X)
    with pytest.raises(UserError, match="not a number in the first epoch"):
        loop.run(train, held_out)


def test_no_gradient_is_longer_than_it_may_be():
    settings = TrainingSettings(epochs=1, clip=1e-3, batch_size=64)
    loop, train, held_out = trained(settings)
    loop.run(train, held_out)
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in loop.network.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_batches_are_read_from_the_disk_as_they_are_needed(tmp_path):
    X, Y, groups = problem()
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "Y.npy", Y)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "XY"]

    def state(X, Y):
        return state_of(CNN(**SMALL, epochs=2, machine=CPU).fit(X, Y, groups))

    expected = state(X, Y)
    found = state(mapped[0], Targets(mapped[1], np.arange(len(Y))))
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name])


# Decoders


def decoders():
    weights = np.array([[1, 0.4, 0, 0.1], [0.4, 1, 0.2, 0], [0, 0.2, 1, 0.5],
                        [0.1, 0, 0.5, 1]])  # fmt: skip
    graph = graph_of(weights)
    common = {"machine": CPU, "batch_size": 16, "epochs": 60, "patience": 60}
    return {
        "gcn": (GCN(width=32, hidden=32, channels=2, **common), {"graph": graph}),
        "cnn": (CNN(**{**SMALL, **common, "hidden": (32,)}, learning_rate=5e-3), {}),
        "vae": (VAE(hidden=(32,), width=32, learning_rate=5e-3, **common), {}),
        "cluster-attention": (
            ClusterAttentionDecoder(
                n_clusters=4, n_queries=2, width=16, learning_rate=5e-3, **common
            ),
            {},
        ),
    }


@pytest.mark.parametrize("name", ["gcn", "cnn", "vae", "cluster-attention"])
def test_decoders_learn_what_is_there(name):
    X, Y, groups = problem(160)
    decoder, more = decoders()[name]
    decoder.fit(X[:120], Y[:120].reshape(120, 5), groups[:120], **more)
    error = ((decoder.predict(X[120:]) - Y[120:]) ** 2).mean()
    assert error < 0.5 * ((Y[:120].mean(axis=0) - Y[120:]) ** 2).mean()
    assert decoder.curve_.shape[1] == 2
    assert np.isfinite(decoder.maps(X[:120])["gradient"]).all()


@pytest.mark.parametrize("name", ["gcn", "cnn", "vae", "cluster-attention"])
@pytest.mark.parametrize("n_trials", [3, 17])
def test_fewer_trials_than_a_batch_and_voxels_that_never_vary(name, n_trials):
    X, Y, _ = problem(n_trials)
    X[:, :3] = 5.0
    decoder, more = decoders()[name]
    decoder.epochs = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder.fit(X, Y, np.arange(n_trials), **more)
    assert np.isfinite(decoder.predict(X)).all()
    again = restore(type(decoder)(**_options(decoder)), state_of(decoder))
    np.testing.assert_array_equal(again.predict(X), decoder.predict(X))


def _options(decoder):
    from dataclasses import fields

    return {f.name: getattr(decoder, f.name) for f in fields(decoder) if f.init}


def test_one_trial_is_told():
    X, Y, _ = problem(2)
    with pytest.raises(UserError, match="cnn needs at least 2 trials"):
        CNN(**SMALL, machine=CPU).fit(X, Y, np.arange(2))


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (CNN, {"kernel": 4}, "kernel is an odd number"),
        (GCN, {"orders": (4, 0)}, "orders is at least 1"),
        (VAE, {"kl": -1.0}, "kl is at least 0"),
        (ClusterAttentionDecoder, {"width": 10}, "a multiple of heads"),
        (ClusterAttentionDecoder, {"clusters_of": "atlas"}, "clusters_of is one of"),
        (GCN, {"learning_rate": 0.0}, "learning_rate is above 0"),
        (GCN, {"scale": "run"}, "scale is one of"),
        (GCN, {"held_out": 1}, "held_out is null or at least 2"),
    ],
)
def test_options_out_of_range_are_refused(kind, options, said):
    with pytest.raises(ValueError, match=said):
        kind(**options)
