"""YAML as people write it."""

import yaml

from compass.client.yaml_blocks import block_dumper


def test_text_of_several_lines_stands_as_a_block_and_nothing_else_changes() -> None:
    document = {"a": "one\ntwo\n", "b": "one", "c": ["x: y", 1, None, True]}

    written = yaml.dump(document, Dumper=block_dumper(), sort_keys=False)

    assert written == "a: |\n  one\n  two\nb: one\nc:\n- 'x: y'\n- 1\n- null\n- true\n"
    assert yaml.safe_load(written) == document
