"""Other people's weights in diffusers' folder format: found, held to the sha256 that params pin, read without pickle.

`python -m pipelines.generators.pinned FOLDER` prints the sha256 to pin.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from schemas.errors import UserError, WorkspaceError
from schemas.paths import Workspace
from schemas.pinned_params import PretrainedParams

Refusal = Callable[[str], UserError]
"""The kind of error a message becomes: about params, or about a checkpoint."""

FOLDERS: Final = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
"""What of a Stable Diffusion is read."""

PARTS: Final = ("", "unet", "vae", "text_encoder")
"""Folders whose weights are read: of a lone network, and of Stable Diffusion."""

_WEIGHTS: Final = re.compile(r"(diffusion_pytorch_model|model)(-\d{5}-of-\d{5})?\.safetensors")
"""What diffusers and transformers read by default; not other precisions, nor whole models in one file, beside it."""

_WANTED: Final = (
    "*.json", "*/*.json", "*/*.txt", "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
    "*/diffusion_pytorch_model-*-of-*.safetensors", "text_encoder/model.safetensors",
    "text_encoder/model-*-of-*.safetensors",
)  # fmt: skip
"""What is fetched of a hub's model: its settings, and those weights."""


def folder_at(path: str) -> Path:
    """Return the folder a path of params.yaml means: relative to the workspace, or to this folder outside of one."""
    try:
        return Workspace.here().path(path)
    except WorkspaceError:
        return Path(path).resolve()


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that are read from a folder, by path."""
    found = [file for part in PARTS if (folder / part).is_dir() for file in (folder / part).iterdir()]
    return sorted(file for file in found if _WEIGHTS.fullmatch(file.name))


def weights_sha256(folder: Path) -> str:
    """Return one digest of the weights: of the one file, as `sha256sum` gives it; of several, that of their list.

    The list is what `sha256sum PATH...` prints for the paths within the folder, sorted.
    """
    files = weight_files(folder)
    digests = [_file_sha256(file) for file in files]
    if len(files) == 1:
        return digests[0]
    lines = [f"{d}  {file.relative_to(folder).as_posix()}\n" for d, file in zip(digests, files, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_pin(folder: Path, sha256: str, who: str, error: Refusal) -> None:
    """Return if the folder holds the pinned weights.

    Raises:
        error: it is not there, has no safetensors, or its digest is another. `who` begins the message.
    """
    if not folder.is_dir():
        raise error(f"{who}: no folder {folder}; needs one in the diffusers format; put it there or correct the path")
    if not weight_files(folder):
        raise error(
            f"{who}: no diffusion_pytorch_model.safetensors in {folder}; other formats are not read; "
            "save it with save_pretrained(..., safe_serialization=True)"
        )
    found = weights_sha256(folder)
    if found != sha256:
        raise error(
            f"{who}: weights in {folder} have sha256 {found[:12]}, {sha256[:12]} is pinned; "
            "put the pinned weights there, or pin these if they are meant"
        )


def hub_folder(hub: str, revision: str, who: str, error: Refusal) -> Path:
    """Return the folder of a hub's model at a commit, fetched unless it lies in the hub's local cache.

    Raises:
        error: it is not there, not to be reached, or needs an agreement or a token.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(hub, revision=revision, allow_patterns=[*_WANTED]))
    except (HfHubHTTPError, OSError, ValueError) as cause:
        why = type(cause).__name__
        raise error(
            f"{who}: {hub} at {revision} is neither in the local cache nor to be had from the hub ({why}); check name and "
            "commit, go online (HF_TOKEN where it asks for one), or download it and give its path"
        ) from None


def pretrained_folder(params: PretrainedParams, who: str, error: Refusal) -> Path:
    """Return the base's folder, fetched if it is on a hub.

    Raises:
        error: it is not there or lacks one of `FOLDERS`.
    """
    hub = params.hub
    folder = hub_folder(hub, str(params.revision), who, error) if hub else folder_at(str(params.path))
    if not folder.is_dir():
        raise error(
            f"{who}: no folder {folder}; needs a Stable Diffusion saved by diffusers; put it there or set its path"
        )
    if missing := [name for name in FOLDERS if not (folder / name).is_dir()]:
        raise error(
            f"{who}: no {', '.join(missing)} in {folder}; needs the folders {', '.join(FOLDERS)}; "
            "save the whole pipeline with save_pretrained"
        )
    return folder


def load_pretrained(kind: Any, folder: Path, who: str, error: Refusal, **options: Any) -> Any:
    """Return a network of diffusers or transformers from its folder, every weight from its safetensors.

    Raises:
        error: the folder holds another kind, or its weights and config.json do not belong together.
    """
    try:
        net, found = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as cause:
        first = (str(cause).splitlines() or [type(cause).__name__])[0].split(". ")[0]
        raise error(f"{who}: {folder} is no {kind.__name__} ({first}); save one there with save_pretrained") from None
    if missing := sorted(found["missing_keys"]):
        raise error(
            f"{who}: {folder} lacks {len(missing)} weights of its {kind.__name__} (first: {missing[0]}); "
            "its config.json belongs to another file; save both anew"
        )
    return net


def _file_sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


if __name__ == "__main__":
    print(weights_sha256(Path(sys.argv[1])))
