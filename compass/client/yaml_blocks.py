"""YAML as people write it."""

from typing import Any


def block_dumper() -> type[Any]:
    """Writes text of several lines as such."""
    import yaml  # noqa: PLC0415  # the start of the command line does not wait for it

    class Dumper(yaml.SafeDumper):
        """Nothing else differs."""

    def shown(dumper: Dumper, text: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, shown)
    return Dumper


def as_yaml(document: Any) -> str:
    """YAML for people: members in their order, and text of several lines as such."""
    import yaml  # noqa: PLC0415  # as above

    return str(yaml.dump(document, Dumper=block_dumper(), sort_keys=False, allow_unicode=True)).rstrip()
