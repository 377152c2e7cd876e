"""Which device a run gets, and why not another. torch is told what it finds."""

import warnings

import pytest
import torch

from bids_recon import machine
from bids_recon.errors import UserError
from bids_recon.machine import Machine

NEW = ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120a", "compute_120"]
OLD = ["sm_50", "sm_60", "sm_70", *NEW]


@pytest.fixture
def gpu(monkeypatch):
    """Have torch say that there is a GPU of a capability, and which kernels it has."""

    def say(capability, kernels):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: kernels)

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    machine._why_no_cuda.cache_clear()
    yield say
    machine._why_no_cuda.cache_clear()


@pytest.mark.parametrize(
    ("capability", "kernels"),
    [((7, 0), OLD), ((7, 5), NEW), ((12, 1), NEW), ((9, 0), [])],
)
def test_a_gpu_with_kernels_is_taken(gpu, capability, kernels):
    gpu(capability, kernels)
    assert Machine("auto").torch_device.type == "cuda"
    assert Machine("cuda").torch_device.type == "cuda"


def test_a_gpu_without_kernels_is_told_and_auto_goes_on_without_it(gpu, caplog):
    gpu((7, 0), NEW)
    for _ in range(2):
        assert Machine("auto").torch_device.type == "cpu"
    (record,) = caplog.records
    assert "takes cpu: Tesla V100" in record.getMessage()
    with pytest.raises(UserError) as caught:
        _ = Machine("cuda").torch_device
    assert caught.value.status == 64
    message = str(caught.value)
    assert message.startswith("--device cuda: Tesla V100 (compute capability 7.0) is")
    assert "7.5" in message
    assert "cu126" in message


def test_a_driver_that_is_too_old_is_told(gpu, monkeypatch):
    def is_available():
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old (found "
            "version 12020).",
            stacklevel=1,
        )
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    with pytest.raises(UserError, match="driver of the NVIDIA GPU is too old"):
        _ = Machine("cuda").torch_device
    assert Machine("auto").torch_device.type == "cpu"


def test_no_gpu_is_told(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="none on this machine"):
        _ = Machine("cuda").torch_device
