"""Every error the factory raises on purpose.

    EquidermError                 base; `exit_code` says how the command line ends
    ├── UserError          (2)    what was asked cannot be done; the message says what to change
    │   ├── ParamsError           params.yaml: unknown key, wrong type, value out of range
    │   ├── SourceError           a source's folder, bucket, table or column is missing or not to be reached
    │   ├── WorkspaceError        not a workspace, one that may not be written, or another build holds it
    │   ├── CheckpointError       missing, truncated, of other classes or another resolution
    │   ├── DiskFullError         no room for what has to be written
    │   └── NotFoundError         an image, release or stage by that name does not exist
    └── CheckFailed        (1)    the work ran and a gate, quota or check said no

A message says what was got, what is needed and what to do, in one line.
"""

from __future__ import annotations


class EquidermError(Exception):
    """Base of all errors raised on purpose; never raised itself."""

    exit_code = 1


class UserError(EquidermError):
    """What was asked cannot be done as asked. Nothing was written."""

    exit_code = 2


class ParamsError(UserError):
    """params.yaml holds an unknown key, a wrong type or a value out of range."""


class SourceError(UserError):
    """A source's folder, bucket, table or column is missing or cannot be reached."""


class WorkspaceError(UserError):
    """This folder is not a workspace, or another build is at work in it."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or made for other classes or another resolution."""


class DiskFullError(UserError):
    """The disk has no room for what has to be written. Finished files are kept, the unfinished one is removed."""


class NotFoundError(UserError):
    """No image, release or stage has that name here."""


class CheckFailed(EquidermError):
    """The work ran and a gate, quota or check said no."""

    exit_code = 1


def error_named(name: str) -> type[EquidermError]:
    """Return the class of that name: how an error raised in another process is raised here; the base if unknown."""
    classes = [EquidermError]
    for found in classes:
        classes.extend(found.__subclasses__())
        if found.__name__ == name:
            return found
    return EquidermError
