"""Why a run ended, in words that the user can act on."""

from __future__ import annotations

import errno
import signal

from tacit.errors import TacitError, out_of_memory
from tacit.recipe import Recipe
from tacit.training.folder import RunFolder
from tacit.training.together import lost_process


def interruption(error: BaseException) -> BaseException:
    """Ctrl-C where it is one: Lightning ignores the signal from then on and exits with code 1."""
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return error.__context__
    return error


def explain(error: BaseException, recipe: Recipe, folder: RunFolder) -> TacitError | None:
    """Memory, disk and compiler in words; None for anything else."""
    text = str(error)
    if out_of_memory(error):
        return TacitError(
            f"Out of memory with batches of {recipe.batch_size}. Lower --batch-size, or keep it "
            "and raise --accumulate (micro-batches a step); a smaller --image-size or --encoder "
            f"also helps. ({text.splitlines()[0] if text else type(error).__name__})"
        )
    if "does not have a deterministic implementation" in text:
        return TacitError(
            f"{text.split(' does not have')[0]} has no kernel on GPUs that repeats exactly. Train "
            "with --set repeatable=false (two runs then differ a little), or without this "
            "operation in the network."
        )
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return TacitError(
            f"The networks could not be compiled: {(text or type(error).__name__).splitlines()[0]}."
            " Train without `compile`; on a CPU it needs a C++ compiler."
        )
    if lost := lost_process(error):
        kept = f" What is saved is kept; continue with `tacit pretrain --resume {folder.path}`."
        return TacitError(f"{lost}{kept if folder.worth_keeping else ''}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        kept = f"What is saved is kept; then `tacit pretrain --resume {folder.path}` continues it."
        return TacitError(
            f"Cannot write to '{folder.path}': {error.strerror}. Free some disk space. "
            f"{kept if folder.worth_keeping else 'Then start it again.'}"
        )
    return None
