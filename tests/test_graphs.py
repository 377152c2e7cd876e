"""Connectivity against nilearn and by hand; graphs, and their controls."""

import numpy as np
import pandas as pd
import pytest
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from bids_recon.errors import UserError
from bids_recon.registry import build, load
from bids_recon.rois import GRAPHS
from bids_recon.rois.connectivity import MEASURES, connectivity, tangent
from bids_recon.rois.graphs import make_graph, n_parts

R = np.array(
    [
        [1.0, 0.9, -0.6, 0.1],
        [0.9, 1.0, 0.3, 0.2],
        [-0.6, 0.3, 1.0, 0.7],
        [0.1, 0.2, 0.7, 1.0],
    ]
)


def series(n_runs=3, n_samples=40, n_nodes=5, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n_nodes, n_nodes))
    return [rng.standard_normal((n_samples, n_nodes)) @ mixed for _ in range(n_runs)]


def graph_of(name, measured=R, names=None, **options):
    how = build(GRAPHS, "graph", name, options)
    n_nodes = len(measured)
    members = np.split(np.arange(2 * n_nodes), n_nodes)
    xyz = np.arange(6.0 * n_nodes).reshape(-1, 3)
    names = names or [f"R{n}" for n in range(n_nodes)]
    return make_graph(measured, how, names, members, xyz)


def edges(graph):
    return {
        (a, b): w
        for (a, b), w in zip(
            graph.edge_index.T.tolist(), graph.edge_weight.tolist(), strict=True
        )
    }


def test_pearson_of_runs_is_the_mean_of_fisher_z():
    runs = series()
    z = np.mean([np.arctanh(np.corrcoef(run.T) - np.eye(5)) for run in runs], axis=0)
    expected = np.tanh(z) + np.eye(5)
    np.testing.assert_allclose(connectivity(runs, "pearson"), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("measure", "kind", "estimator"),
    [
        ("shrunk", "correlation", LedoitWolf),
        ("partial", "partial correlation", LedoitWolf),
        ("covariance", "covariance", LedoitWolf),
        ("pearson", "correlation", EmpiricalCovariance),
    ],
)
def test_a_single_run_is_what_nilearn_gives(measure, kind, estimator):
    run = series(1)
    own = ConnectivityMeasure(estimator(store_precision=False), kind=kind)
    np.testing.assert_allclose(
        connectivity(run, measure), own.fit_transform(run)[0], atol=1e-9
    )


def test_short_runs_are_joined_without_the_means_of_runs():
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((30, 1))
    runs = [shared[n : n + 3] + 100 * n + np.zeros((3, 2)) for n in range(0, 30, 3)]
    runs = [run + 0.5 * rng.standard_normal(run.shape) for run in runs]
    joined = np.concatenate([run - run.mean(axis=0) for run in runs])
    expected = np.corrcoef(joined.T)[0, 1]
    assert connectivity(runs, "pearson")[0, 1] == pytest.approx(expected)
    # The means of runs, which both share, would give nearly one.
    assert expected < 0.95


@pytest.mark.parametrize("measure", MEASURES)
def test_a_node_that_never_varies_is_alike_to_none(measure):
    runs = [np.hstack([run, np.full((len(run), 1), 7.0)]) for run in series()]
    found = connectivity(runs, measure)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[5, :5], 0)
    np.testing.assert_allclose(
        found[:5, :5], connectivity([r[:, :5] for r in runs], measure)
    )
    still = connectivity([np.zeros((20, 3))], measure)
    np.testing.assert_array_equal(still - np.diag(np.diag(still)), 0)


def test_two_samples_are_refused():
    with pytest.raises(UserError, match="at least 3 training samples, and there are 2"):
        connectivity([np.zeros((2, 4))], "pearson")


def test_tangent_is_what_nilearn_gives_from_the_time_courses():
    people = series(4, seed=5)
    covariances = [connectivity([run], "covariance") for run in people]
    own = ConnectivityMeasure(LedoitWolf(store_precision=False), kind="tangent")
    np.testing.assert_allclose(
        tangent(covariances), own.fit_transform(people), atol=1e-6
    )
    with pytest.raises(UserError, match="two at least, and there is 1"):
        tangent(covariances[:1])
    with pytest.raises(UserError, match="can be inverted, and one cannot"):
        tangent([np.zeros((2, 2)), np.eye(2)])


def test_nearest_joins_both_ways_and_holds_no_more_than_there_are():
    # Of one neighbour each: 0-1, 1-0, 2-3, 3-2; with two: 0-2, 1-2, 3-1 besides.
    assert edges(graph_of("nearest", k=1)) == pytest.approx(
        {(0, 1): 0.9, (1, 0): 0.9, (2, 3): 0.7, (3, 2): 0.7}
    )
    assert len(edges(graph_of("nearest", k=2))) == 10
    assert len(edges(graph_of("nearest"))) == 12


def test_edges_by_hand():
    above = edges(graph_of("threshold", above=0.5))
    assert set(above) == {(0, 1), (1, 0), (0, 2), (2, 0), (2, 3), (3, 2)}
    assert set(edges(graph_of("directed"))) == {(0, 1), (0, 2), (2, 3)}
    assert edges(graph_of("full"))[0, 2] == pytest.approx(0.6)
    assert not edges(graph_of("no-edges"))
    assert set(edges(graph_of("complete")).values()) == {1.0}
    assert len(edges(graph_of("complete"))) == 12


def test_nodes_lie_at_the_mean_of_their_voxels():
    graph = graph_of("full")
    np.testing.assert_array_equal(graph.pos[1], [7.5, 8.5, 9.5])
    assert graph.voxels.tolist() == list(range(8))
    assert graph.sizes.tolist() == [2, 2, 2, 2]


def likeness(n_nodes=12, seed=0):
    rng = np.random.default_rng(seed)
    r = np.corrcoef(rng.standard_normal((n_nodes, 30)))
    return (r + r.T) / 2


@pytest.mark.parametrize("name", ["random", "rewired"])
def test_controls_have_the_weights_of_the_graph_between_other_nodes(name):
    r = likeness()
    true, control = graph_of("nearest", r, k=2), graph_of(name, r, k=2)
    assert sorted(edges(control).values()) == pytest.approx(
        sorted(edges(true).values())
    )
    assert set(edges(control)) != set(edges(true))
    # Edges go both ways, with one weight.
    assert all(edges(control)[b, a] == w for (a, b), w in edges(control).items())
    if name == "rewired":
        degree = [np.bincount(g.edge_index[0], minlength=12) for g in (true, control)]
        np.testing.assert_array_equal(*degree)
    again = graph_of(name, r, k=2)
    assert edges(again) == edges(control)
    assert edges(graph_of(name, r, k=2, seed=1)) != edges(control)


@pytest.mark.parametrize("name", ["random", "rewired"])
@pytest.mark.parametrize("n_nodes", [4, 6])
def test_controls_of_few_nodes_are_other_graphs(name, n_nodes):
    for seed in range(30):
        r = likeness(n_nodes, seed)
        k = 1 if n_nodes == 4 else 2
        try:
            control = graph_of(name, r, k=k, seed=seed)
        except UserError:  # there may be no other graph
            continue
        assert set(edges(control)) != set(edges(graph_of("nearest", r, k=k)))


@pytest.mark.parametrize("name", ["random", "rewired"])
def test_controls_that_are_the_graph_itself_are_refused(name):
    with pytest.raises(UserError, match="there is none of 4 nodes and 6 edges"):
        graph_of(name)


def test_a_star_cannot_be_rewired():
    star = np.eye(5)
    star[0, 1:] = star[1:, 0] = 0.5
    with pytest.raises(UserError, match="there is none with these degrees"):
        graph_of("rewired", star, k=4)


def test_one_node_is_refused():
    with pytest.raises(UserError, match=r"there is 1 \(V1\)\. Name several regions"):
        graph_of("full", np.ones((1, 1)), ["V1"])


def test_negative_weights_whose_sum_vanishes_are_refused_and_taken_by_their_size():
    measured = np.array([[1.0, 0.6, -0.6], [0.6, 1.0, 0.7], [-0.6, 0.7, 1.0]])
    with pytest.raises(
        UserError, match="edges of R0 sum to 0, since some are negative"
    ):
        graph_of("full", measured, signed=True)
    assert min(edges(graph_of("full", measured)).values()) > 0


def test_parts_of_a_graph_are_counted():
    how = load(GRAPHS, "graph", "nearest")(k=1)
    assert n_parts(how.weights(R)) == 2


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_repeat_and_read_nothing_but_the_measure(name):
    r = likeness()
    assert edges(graph_of(name, r)) == edges(graph_of(name, r.copy()))
    with pytest.raises(UserError, match="nodes is one of regions, voxels"):
        build(GRAPHS, "graph", name, {"nodes": "parcels"})


# Figures, and what is said of a graph


def test_matrices_and_glass_brains_are_drawn_the_same_twice(tmp_path):
    from bids_recon.reports import decoder_figures, figures

    xyz = np.array([[-10, -90, 0], [10, -90, 0], [-8, -80, 5], [9, -80, 5.0]])
    for number in range(2):
        names = ["V1", "V2", "V3", "V4"]
        matrix = decoder_figures.connectivity_matrix(R, names, "Pearson correlation")
        figures.save(matrix, tmp_path / f"matrix{number}.svg")
        figures.save(
            decoder_figures.connectome(R, xyz), tmp_path / f"glass{number}.svg"
        )
    for name in ("matrix", "glass"):
        first, again = (tmp_path / f"{name}{number}.svg" for number in range(2))
        assert first.read_bytes() == again.read_bytes()
        assert first.stat().st_size > 5000


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (0.5, "does better than no-edges: difference of the error -0.5"),
        (-0.5, "does worse than no-edges: difference of the error 0.4"),
        (0.0, "makes no difference that can be told from no-edges"),
    ],
)
def test_the_page_says_whether_a_graph_matters(shift, said):
    from bids_recon.plan.methods import whole_recipe
    from bids_recon.plan.plan import Analysis
    from bids_recon.stages.report.comparison import COLUMNS, Entry, graph_verdicts

    rng = np.random.default_rng(0)
    errors = rng.random(60)
    entries = []
    for name, own in (
        ("gcn-eigenimage", errors),
        ("gcn-eigenimage-no-edges", errors + shift + 0.1 * rng.standard_normal(60)),
        ("eigenimage", errors),
    ):
        scores = pd.DataFrame(own[:, None].repeat(4, axis=1), columns=list(COLUMNS))
        analysis = Analysis(whole_recipe(name), "V1", {})
        entries.append(Entry(name, scores, np.arange(60) // 2, analysis))
    entries.append(Entry("Ridge", entries[0].scores, entries[0].own))
    (verdict,) = graph_verdicts(entries)
    assert f"The graph of gcn-eigenimage {said}" in verdict
