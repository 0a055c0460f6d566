"""The sections of an examination, in their order."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from textclf.display import Notes
from textclf.doctor.packages import examine_packages
from textclf.doctor.section import Section
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.doctor.subject import Subject


def diagnose(
    source: str | os.PathLike | None = None, *, is_quick: bool = False
) -> Iterator[Section]:
    """Examine this machine, and a configuration or a model on it.

        for section in diagnose("reviews.yaml", is_quick=True):
            print(section.key, section.values)

    Args:
        source: a configuration file or the folder of a model; None for the machine alone.
        is_quick: True to leave out what needs TensorFlow, which is then not imported.

    Yields:
        The sections; `problems`, the last one, repeats the problems of all others.

    Raises:
        TextclfError: the configuration is invalid, or the model is damaged; raised by the call
            itself.
    """
    if source is None:
        return _sections(None, is_quick)
    from textclf.doctor.subject import read_subject

    return _sections(read_subject(source), is_quick)


def _sections(subject: "Subject | None", is_quick: bool) -> Iterator[Section]:
    problems: list[str] = []
    for section in _examine(subject, is_quick):
        problems += section.problems
        yield section
    problems = list(dict.fromkeys(problems))
    note = Notes("Problems", problems or ["none found"], has_bullets=bool(problems))
    yield Section("problems", problems, [note])


def _examine(subject: "Subject | None", is_quick: bool) -> Iterator[Section]:
    packages = examine_packages()
    yield packages
    # Imported here: the first section is shown before them.
    from textclf.doctor.folders import examine_folders
    from textclf.doctor.gpu import examine_gpu, find_gpu
    from textclf.doctor.machine import examine_machine

    yield examine_machine()
    gpu = find_gpu()
    yield examine_gpu(gpu)
    if subject is None:
        yield examine_folders(None, None)
    else:
        from textclf.doctor.subject import disk_need, examine_data, examine_subject

        need = disk_need(subject)
        yield examine_folders(subject.resolved, need)
        yield examine_subject(subject, need)
        if not subject.needs_tensorflow:
            yield examine_data(subject)
    reason = _why_no_tensorflow(packages, is_quick)
    problems: list[str] = []
    if reason is None:
        try:
            import_tensorflow()
        except ImportError as error:
            reason = "TensorFlow cannot be imported"
            problems = [f"TensorFlow: cannot be imported ({error}); install it again"]
    if reason is not None:
        yield Section("tensorflow", None, [_left_out("TensorFlow", reason)], problems)
        if subject is not None and subject.needs_tensorflow:
            yield Section("data", None, [_left_out("Data", reason)])
        if subject is not None:
            yield Section("recurrent_layers", None, [_left_out("Recurrent layers", reason)])
        return
    from textclf.doctor import tensors

    yield tensors.examine_devices(gpu)
    if subject is not None and subject.needs_tensorflow:
        yield examine_data(subject)
    if subject is not None:
        yield tensors.examine_layers(subject.resolved)


def _why_no_tensorflow(packages: Section, is_quick: bool) -> str | None:
    """Return the reason why TensorFlow is not imported, or None."""
    if is_quick:
        return "left out by --quick: needs TensorFlow"
    missing = [name for name in ("tensorflow", "keras") if packages.values[name] is None]
    return f"left out: {' and '.join(missing)} is not installed" if missing else None


def _left_out(heading: str, reason: str) -> Notes:
    return Notes(heading, [reason], has_bullets=False)
