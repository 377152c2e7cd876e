"""What others made is never written to, changed or removed."""

import shutil

import pytest
from test_workflow import files_of


def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


PLACES = [
    "derivatives/fmriprep",
    "derivatives/fmriprep/new",
    "derivatives/nodescription",
    "derivatives",
    "sub-01",
    "code/new",
    "stimuli",
    ".",
]


@pytest.mark.parametrize("place", PLACES)
def test_an_output_dir_among_the_input_is_refused_and_untouched(dataset, run, place):
    (dataset / "derivatives" / "nodescription" / "sub-S2").mkdir(parents=True)
    before = snapshot(dataset)
    for level in ("participant", "group"):
        status, said = run(dataset, dataset / place, level)
        assert status == 64
        assert str(dataset / place) in said
    assert snapshot(dataset) == before


def test_a_link_to_the_input_is_the_input(dataset, tmp_path, run):
    before = snapshot(dataset)
    (tmp_path / "link").symlink_to(dataset / "derivatives" / "fmriprep")
    assert run(dataset, tmp_path / "link", "participant")[0] == 64
    assert snapshot(dataset) == before


@pytest.mark.parametrize("option", ["--work-dir", "--bids-database-dir"])
@pytest.mark.parametrize("place", ["work", "derivatives/fmriprep", "derivatives/x/y"])
def test_work_in_the_input_is_refused(dataset, tmp_path, run, option, place):
    (dataset / "derivatives" / "x").mkdir()
    (dataset / "derivatives" / "x" / "dataset_description.json").write_text("{}")
    before = snapshot(dataset)
    status, said = run(
        dataset, tmp_path / "out", "participant", option, dataset / place
    )
    assert status == 64
    assert option in said
    assert snapshot(dataset) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["a dataset", "participants", "a file"])
def test_work_among_what_others_made_is_refused(dataset, tmp_path, run, what):
    work = tmp_path / "work"
    if what == "a dataset":
        work.mkdir()
        (work / "dataset_description.json").write_text("{}")
    elif what == "participants":
        (work / "sub-01").mkdir(parents=True)
    else:
        work.write_text("mine")
    status, said = run(dataset, tmp_path / "out", "participant", "-w", work)
    assert status == 64
    assert f"--work-dir {work}" in said


@pytest.mark.parametrize("taken", ["sub-07", "figures", "group.html", "work"])
def test_a_folder_that_holds_what_we_would_write_is_refused(
    dataset, tmp_path, run, taken
):
    out = tmp_path / "out"
    (out / taken).mkdir(parents=True)
    status, said = run(dataset, out, "participant")
    assert status == 64
    assert taken in said


def test_an_input_where_outputs_would_go_is_refused(small_dataset, tmp_path, run):
    inside = shutil.copytree(small_dataset, tmp_path / "out" / "work")
    status, said = run(inside, tmp_path / "out", "participant")
    assert status == 64
    assert "gets a folder work of its own" in said


def test_a_folder_of_ours_below_derivatives_is_allowed(dataset, run):
    before = snapshot(dataset)
    out = dataset / "derivatives" / "bids-recon"
    arguments = (dataset, out, "participant", "--roi", "V=V1", "--split", "kfold:3")
    for _ in range(2):
        status, said = run(*arguments)
        assert status == 0, said
    after = snapshot(dataset)
    ours = "derivatives/bids-recon/"
    assert before == {k: v for k, v in after.items() if not k.startswith(ours)}


def test_a_users_files_among_outputs_stay(
    small_dataset, finished, tmp_path, run, options
):
    out = shutil.copytree(finished, tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(out / "sub-01" / "figures", elsewhere)
    shutil.rmtree(out / "sub-01" / "figures")
    (out / "sub-01" / "figures").symlink_to(elsewhere)
    (folder,) = out.glob("sub-01/recon/*eigenimage_recon")
    own = [
        folder / "best.png",
        elsewhere / "mine.svg",
        out / "figures" / "mine.svg",
        out / "sub-01" / "notes.txt",
        out / "work" / "sub-01" / "mine.npy",
    ]
    for path in own:
        path.write_text("mine")
    another = [word if word != "kfold:3" else "kfold:4" for word in options]
    status, said = run(small_dataset, out, "participant", *another)
    assert status == 0, said
    assert run(small_dataset, out, "group")[0] == 0
    assert [path.read_text() for path in own] == ["mine"] * len(own)


@pytest.mark.parametrize(
    ("typo", "status"),
    [
        (["--roi", "visual=V9"], 66),
        (["--roi", "V1=V1", "--stimulus-column", "nope"], 64),
        (["--roi", "V1=V1", "--split", "column:nope"], 64),
        (["--roi", "V1=V1", "--task-id", "nope"], 18),
        (["--roi", "V1=V1", "--trials", "nope == 1"], 64),
    ],
)
def test_a_typo_does_not_replace_a_good_page(
    small_dataset, finished, tmp_path, run, typo, status
):
    out = shutil.copytree(finished, tmp_path / "out")
    kept = ("logs", "work")
    before = files_of(out, skip=kept)
    assert run(small_dataset, out, "participant", *typo)[0] == status
    assert files_of(out, skip=kept) == before


def test_the_report_alone_can_be_made_again(
    small_dataset, finished, tmp_path, run, options
):
    out = shutil.copytree(finished, tmp_path / "out")
    before = files_of(out, skip=("logs",))
    (out / "sub-01.html").unlink()
    arguments = (small_dataset, out, "participant", *options)
    status, said = run(*arguments, "--stages", "report")
    assert status == 0, said
    assert files_of(out, skip=("logs",)) == before


def test_the_page_can_be_made_after_work_was_removed(
    small_dataset, finished, tmp_path, run, options
):
    out = shutil.copytree(finished, tmp_path / "out")
    before = files_of(out, skip=("logs", "work"))
    shutil.rmtree(out / "work")
    (out / "sub-01.html").unlink()
    status, said = run(small_dataset, out, "participant", *options, "--reports-only")
    assert status == 0, said
    assert files_of(out, skip=("logs", "work")) == before


def test_a_group_without_participants_makes_no_folder(dataset, tmp_path, run):
    status, said = run(dataset, tmp_path / "out", "group")
    assert status == 66
    assert "Run the participant level first" in said
    assert not (tmp_path / "out").exists()


def test_names_of_folders_are_no_html_in_the_groups_page(
    small_dataset, finished, tmp_path, run
):
    out = shutil.copytree(finished, tmp_path / "out")
    hostile = "sub-<img src=x onerror=alert(1)>"
    (out / hostile / "recon").mkdir(parents=True)
    for path in (out / "sub-01" / "recon").glob("*eigenimage*.[tj]s*"):
        name = path.name.replace("sub-01", hostile)
        shutil.copy(path, out / hostile / "recon" / name)
    (out / f"{hostile}.html").touch()
    status, said = run(small_dataset, out, "group")
    assert status == 0, said
    assert "<img src=x" not in (out / "group.html").read_text()
