"""AsyncAPI documents. All kinds together: test_read.py."""

from compass.definition.model import Operation
from compass.definition.read import read
from tests.definition.samples import ASYNCAPI_1, ASYNCAPI_2, ASYNCAPI_3


def told(operation: Operation) -> list[tuple[str, list[str]]]:
    return [(content.name, sorted(content.types)) for content in operation.gives]


def test_version_1_has_messages_for_actions() -> None:
    [operation] = read(ASYNCAPI_1).operations

    assert (operation.place, told(operation)) == ("hitch.signup", [("Signup", ["payload"])])
    assert operation.gives[0].text == "somebody came"


def test_version_2_may_have_several_messages_in_a_channel() -> None:
    found = read(ASYNCAPI_2)

    heard, silent = found.operations
    assert found.servers == ("mqtt://events.example",)
    assert (heard.name, heard.summary, told(heard)) == (
        "made",
        "told",
        [("Made", ["payload"]), ("Unmade", ["headers"])],
    )
    assert [(one.name, one.place, one.is_required) for one in heard.parameters] == [("id", "path", True)]
    assert (silent.verb, silent.summary, silent.gives) == ("channel", "nothing yet", ())


def test_version_3_has_operations_apart_from_channels() -> None:
    sent, unused = read(ASYNCAPI_3).operations

    assert (sent.verb, sent.place, sent.name, told(sent)) == ("send", "order/made", "tell", [("Made", ["payload"])])
    assert sent.gives[0].types["payload"].type == "string"
    assert (unused.verb, unused.place) == ("channel", "a/b")
