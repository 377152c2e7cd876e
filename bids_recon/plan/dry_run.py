"""What would run: runs, trials, pictures and voxels, without writing anything."""

from bids_recon.dataset.images import open_image, read_volume
from bids_recon.plan.estimate import estimate
from bids_recon.plan.methods import weights_of
from bids_recon.plan.plan import Plan, split_trials
from bids_recon.plan.regions import region
from bids_recon.settings import RoiSet
from bids_recon.weights import find, weights_called


def describe(plan: Plan) -> str:
    """Return in words what a participant's jobs would be."""
    lines = [f"sub-{plan.subject}: runs: {len(plan.runs)}, in space {plan.space}"]
    for run in plan.runs:
        roles = run.trials["role"].value_counts().sort_index()
        events = ", ".join(f"{count} {role}" for role, count in roles.items())
        lines.append(
            f"  {run.run.name}: {run.n_volumes} volumes, {events} ({run.run.bold.name})"
        )
    lines.append(f"  pictures: {len(plan.pictures)} distinct")
    for analysis in plan.analyses:
        voxels = ", ".join(
            f"{roi.name} {_count(plan, roi)}" for roi in analysis.roi_sets
        )
        lines.append(
            f"  recipe {analysis.recipe.variant}: responses by "
            f"{plan.estimator(analysis.recipe).name}, voxels: {voxels}"
        )
        _, split = split_trials(plan, analysis.recipe, plan.own_trials)
        lines.append(f"    split {split.rule}: {split.sentence}")
        for name in weights_of(analysis.recipe):
            weights = weights_called(name)
            here = find(weights, plan.settings.weights_dir) is not None
            lines.append(
                f"    weights {weights.described}: {'here' if here else 'not here'}"
            )
    lines.append(f"  expected: {estimate(plan)}")
    lines += [f"  note: {note}" for note in plan.notes]
    return "\n".join(lines)


def _count(plan: Plan, roi: RoiSet) -> str:
    run = plan.runs[0].run
    inside = region(plan, roi, open_image(run.bold))
    if run.mask is not None:
        inside = inside & (read_volume(run.mask)[0] > 0.5)
    return f"{int(inside.sum()):,}"
