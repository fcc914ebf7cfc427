"""Secrets in memory: a type that shows nothing, and no other type that does."""

import copy
import dataclasses
import importlib
import json
import pickle
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import pytest

import compass
from compass.secret import Secret


@dataclass
class Holder:
    """Anything that has a secret among its fields."""

    secret: Secret


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", "%s" % secret, repr([secret])]
    shown += [repr(Holder(secret)), ascii(secret), f"{[secret]}", str({"secret": secret}), "{!s}".format(secret)]
    try:
        raise ValueError(secret)
    except ValueError as error:
        shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert not [text for text in shown if "hunter2" in text]
    for dump in (json.dumps, orjson.dumps, pickle.dumps):
        with pytest.raises(TypeError):
            dump(secret)
    leaks: list[Callable[[Any], object]] = [vars, copy.copy, copy.deepcopy, iter, len, bytes]
    leaks.append(lambda it: asdict(Holder(it)))
    leaks.append(lambda it: orjson.dumps(Holder(it)))
    for leak in leaks:
        with pytest.raises(TypeError):
            leak(secret)
    assert secret.reveal() == "hunter2"


def test_secrets_are_equal_by_their_text_and_never_equal_to_text() -> None:
    assert Secret("ä") == Secret("ä")
    assert Secret("\ud800") == Secret("\ud800")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    with pytest.raises(TypeError):
        hash(Secret("a"))


MAY_HOLD_A_SECRET = re.compile(
    r"(secret|password|token|credential|cookie|bearer|seed|key_pem|signing_key|private_key|headers|variables|body)s?"
    r"|(.*_)?(secret|password|key_pem|private_key|access_token|refresh_token|headers|params)(_serialized)?"
    r"|(raw|raw_encoded|arguments)"
)
HARMLESS = {
    "compass.audit.chain.Record.body": "what is recorded is without secrets",
    "compass.audit.record.Done.arguments": "what is recorded is without secrets",
    "compass.console.assets.Asset.body": "files that everybody gets",
    "compass.console.commands.Copy.variables": "shown to whom typed it",
    "compass.console.explorer.Asked.variables": "shown to whom typed it",
    "compass.console.pairing.Kind.token": "the name of an operation that makes one",
    "compass.gotemplate.nodes.Branch.body": "a part of a parsed template",
    "compass.gotemplate.nodes.Call.arguments": "a part of a parsed template",
    "compass.gotemplate.nodes.Range.body": "a part of a parsed template",
    "compass.director.bundle_instance_auth.BundleInstanceAuthChanges.input_params": "what is asked for, told to all",
    "compass.director.bundle_instance_auth.CredentialsRequest.input_params": "what is asked for, told to all",
    "compass.director.bundle_instance_auth.NewBundleInstanceAuth.input_params": "what is asked for, told to all",
    "compass.outbox.feed.Follower.credential": "the id of what somebody signed in with",
}
"""Fields that are named like something secret, and what they are."""


def showing() -> Iterator[str]:
    """The fields of all dataclasses that are named like something secret, and shown when the object is."""
    for module in pkgutil.walk_packages(compass.__path__, "compass."):
        if module.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if not (isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.name):
                continue
            for field in dataclasses.fields(kind):
                is_plain = "Secret" not in str(field.type) and not re.search(r"compass\.|\bint\b|bool", str(field.type))
                shown = field.repr and kind.__repr__ is not object.__repr__
                if shown and is_plain and MAY_HOLD_A_SECRET.fullmatch(field.name):
                    yield f"{module.name}.{kind.__name__}.{field.name}"


def test_what_may_hold_a_secret_is_a_secret_or_is_not_shown() -> None:
    """A dataclass that is logged, or that a traceback shows, does not tell what somebody signs in with."""
    found = set(showing())
    assert sorted(found - set(HARMLESS)) == []
    assert sorted(set(HARMLESS) - found) == []
