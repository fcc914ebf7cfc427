"""The composition root: the only file that wires the parts together."""

from typing import Final

from compass.director import application, label, runtime, tenant

DIRECTOR_NOUNS: Final = (tenant, application, runtime, label)
