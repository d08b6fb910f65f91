"""The entry of the command `hf-bnvae`. It lists the commands without importing the package, which takes seconds."""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path


def main() -> None:
    """Run `hf_bnvae.cli.main`, whose own imports wait until a command is chosen."""
    package = find_spec("hf_bnvae")
    assert package is not None and package.origin is not None
    spec = spec_from_file_location("hf_bnvae.cli.main", Path(package.origin).parent / "cli" / "main.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
