"""The mark of a finished stage: `done.json`, written last, with the digests of what went in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldstill.errors import ExperimentError
from foldstill.files import read_json, write_json

DONE = "done.json"


@dataclass(frozen=True)
class Stage:
    """A folder that one piece of work fills, and the named inputs (plain values or digests) that decide its content."""

    folder: Path
    inputs: Mapping[str, Any]

    def finished(self, *, force: bool = False) -> bool:
        """Whether the work is there, whole, and made from these inputs.

        Raises ExperimentError naming every input that changed, unless `force`, which forgets the old work.
        """
        done = self.folder / DONE
        if not done.exists():
            return False
        if force:
            done.unlink()
            return False
        before = read_json(done)["inputs"]
        changed = [
            f"{name} (was {before.get(name, 'absent')}, is {self.inputs.get(name, 'absent')})"
            for name in sorted(before.keys() | self.inputs.keys())
            if before.get(name) != self.inputs.get(name)
        ]
        if changed:
            raise ExperimentError(
                f"{self.folder} was made from other inputs: {', '.join(changed)}: "
                "name another run folder, or use --force to make it again"
            )
        return True

    def finish(self, **notes: Any) -> None:
        """Mark the work as whole. `notes` (JSON values) are kept beside the inputs."""
        write_json(self.folder / DONE, {"inputs": dict(self.inputs), **notes})
