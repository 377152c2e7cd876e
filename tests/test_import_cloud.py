"""NSD from a bucket: a real server of S3 behind a proxy that makes mistakes."""

import subprocess
import sys

import pytest
from faulty_bucket import BUCKET, bucket_of
from releases import make_nsd

SOURCE = f"s3://{BUCKET}"
ROI = ("--roi", "nsdgeneral")
BETAS = "nsddata_betas/ppdata/subj02/func1pt8mm/betas_fithrf_GLMdenoise_RR"


@pytest.fixture(scope="module")
def nsd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cloud") / "release"
    return make_nsd(folder, sessions=(1, 2, 3), n_repeated=50, chunked=True)


@pytest.fixture(scope="module")
def server(nsd):
    with bucket_of(nsd.folder) as proxy:
        yield proxy


@pytest.fixture
def bucket(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("bids_recon.dataset.importers.bucket.FIRST_WAIT", 0.01)
    server.reset()
    return server


def files_of(folder):
    """What the dataset holds, but what says where it came from."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix in (".png", ".gz", ".tsv")
        and "sourcedata" not in path.parts
    }


@pytest.fixture(scope="module")
def local(nsd, tmp_path_factory):
    """The same, imported from the folder."""
    from bids_recon import import_command

    folder = tmp_path_factory.mktemp("local") / "bids"
    assert import_command.main(["nsd", str(nsd.folder), str(folder), *ROI]) == 0
    return files_of(folder)


def test_only_what_is_needed_is_fetched(nsd, bucket, local, tmp_path, imports):
    status, said = imports("nsd", SOURCE, tmp_path / "bids", *ROI)
    assert status == 0, said
    assert "To fetch from s3://" in said
    assert "Data Access Agreement" in said
    assert files_of(tmp_path / "bids") == local
    n_voxels = int((nsd.visual > 0).sum())
    n_pictures = sum(name.endswith(".png") for name in local)
    whole = [key for key in bucket.sent if not key.endswith(".hdf5")]
    needed = (
        3 * n_voxels * 750 * 2
        + n_pictures * 8 * 8 * 3
        + sum((nsd.folder / key).stat().st_size for key in whole)
    )
    assert sum(bucket.sent.values()) <= 1.1 * needed
    # Where voxels lie is looked up in the first session alone.
    later = [bucket.sent[f"{BETAS}/betas_session0{n}.hdf5"] for n in (2, 3)]
    assert max(later) <= 1.05 * n_voxels * 750 * 2
    assert not [key for key in whole if "/betas_session" in key]


def test_what_is_here_is_not_fetched_again(bucket, local, tmp_path, imports):
    options = ("nsd", SOURCE, tmp_path / "bids", *ROI, "--sessions", "1")
    assert imports(*options)[0] == 0
    bucket.reset()
    assert imports(*options)[0] == 0
    # The heads of two HDF5 files are looked at, and nothing else is.
    assert sum(bucket.sent.values()) < 20_000
    assert all(key.endswith(".hdf5") for key in bucket.sent)


def test_what_a_network_does_is_borne(bucket, local, tmp_path, imports):
    bucket.faults = [
        (end, fault)
        for end in (".mat", "session01.hdf5", "session02.hdf5", "nsd_stimuli.hdf5")
        for fault in ("drop", "throttle", "half")
    ]
    status, said = imports("nsd", SOURCE, tmp_path / "bids", *ROI)
    assert status == 0, said
    assert bucket.faults == []
    assert files_of(tmp_path / "bids") == local


def test_a_killed_import_goes_on(bucket, local, tmp_path, imports):
    arguments = ["nsd", SOURCE, str(tmp_path / "bids"), *ROI]
    code = "import sys; from bids_recon.import_command import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.DEVNULL
    )
    bucket.faults = [("betas_session02.hdf5", process.kill)]
    assert process.wait() == -9
    made = files_of(tmp_path / "bids")
    assert 0 < len(made) < len(local)
    bucket.reset()
    status, said = imports(*arguments)
    assert status == 0, said
    assert files_of(tmp_path / "bids") == local
    # What the first run made is as it was, and only the head of its file was read.
    assert bucket.sent.get(f"{BETAS}/betas_session01.hdf5", 0) == 0


def test_a_file_that_is_fetched_whole_goes_on_at_its_byte(
    nsd, bucket, tmp_path, imports, monkeypatch
):
    monkeypatch.setattr("bids_recon.dataset.importers.bucket.PIECE", 10_000)
    monkeypatch.setattr("bids_recon.dataset.importers.bucket.AT_ONCE", 1)
    key = f"{BETAS}/betas_session01.nii.gz"
    options = ("nsd", SOURCE, tmp_path / "bids", "--sessions", "1")
    size = (nsd.folder / key).stat().st_size
    assert size > 40_000
    n_asked = []
    bucket.faults = [(key, lambda: n_asked.append(1)) for _ in range(3)]
    bucket.faults += [(key, "throttle")] * 6
    status, said = imports(*options)
    assert status == 66
    assert "no answer in 6 tries" in said
    assert "goes on where it was" in said
    assert bucket.sent[key] == 30_000
    assert imports(*options)[0] == 0
    # Each byte came once.
    assert bucket.sent[key] == size
    fetched = tmp_path / "bids/sourcedata/nsd" / key
    assert fetched.read_bytes() == (nsd.folder / key).read_bytes()
    (link,) = (tmp_path / "bids").rglob("*ses-01*_statmap.nii.gz")
    assert link.resolve() == fetched


def test_a_bucket_that_refuses_is_told(bucket, tmp_path, imports):
    bucket.forbidden = True
    status, said = imports("nsd", SOURCE, tmp_path / "bids")
    assert status == 66
    assert "nsd_expdesign.mat: access is refused (403" in said
    assert "Traceback" not in said
    assert not (tmp_path / "bids").exists()


def test_a_bucket_that_is_none_is_told(bucket, tmp_path, imports):
    status, said = imports("nsd", "s3://no-such-bucket", tmp_path / "bids")
    assert status == 66
    assert "s3://no-such-bucket" in said
    assert "Traceback" not in said
    status, said = imports("nsd", "ftp://bucket", tmp_path / "bids")
    assert status == 64
    assert "expected a folder, or an address such as s3://bucket" in said


def test_the_library_to_install_is_named(bucket, tmp_path, imports, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    status, said = imports("nsd", SOURCE, tmp_path / "bids")
    assert status == 64
    assert "pip install 'bids-recon[import]'" in said


def test_dry_run_says_how_much(bucket, tmp_path, imports):
    status, said = imports("nsd", SOURCE, tmp_path / "bids", *ROI, "--dry-run")
    assert status == 0
    assert "202 kB of betas" in said
    assert f"{BETAS}/betas_session01.hdf5" not in bucket.sent
