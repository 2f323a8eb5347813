"""Too little memory, or a device that fails."""

import torch

from rdlib.training.checkpoint import saved_step
from rdlib.training.plan import Plan


class DeviceError(RuntimeError):
    """The device failed or is too small; the message says where the run stands."""


def raise_unless_it_can_be_split(plan: Plan, error: RuntimeError | MemoryError) -> None:
    """A DeviceError for what the device did, `error` itself otherwise; nothing where half of the agents may
    fit into its memory."""
    why, said = str(error).partition("\n")[0], str(error)
    # On a CPU PyTorch says it in words only.
    kinds = (torch.OutOfMemoryError, MemoryError)
    if isinstance(error, kinds) or "DefaultCPUAllocator" in said:
        step = saved_step(plan.out)
        if step or len(plan.agents) == 1:
            raise DeviceError(
                f"{len(plan.agents)} agent(s) of {plan.asked.algo} do not fit into what is free of the "
                f"memory of {plan.device} ({why}); {plan.out} stands at update {step} and "
                "resumes where there is more"
            ) from error
    elif "CUDA error" in said or "CUDA driver" in said:
        raise DeviceError(
            f"{plan.device} failed ({why}); {plan.out} stands at update {saved_step(plan.out)}, and the "
            "same command resumes from there"
        ) from error
    else:
        raise error
