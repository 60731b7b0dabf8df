"""Public names are those that docs/api lists: few, there by the path that they are listed by, and explained."""

import re
from importlib import import_module

import pytest
from blocks import DOCS, ROOT

MOST = 40  # names: what somebody can learn; for one more, another goes
PAGES = sorted((DOCS / "api").glob("*.md"))
LISTED = [path for page in PAGES for path in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]

# User-facing are the root and the packages right below it. What lies deeper is for other rooms of the library, and for
# what `docs/extending.md` sends people to: it is imported from the module that it stands in.
LIBRARY = ROOT / "ray_glocal"
BELOW = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))
FACING = ["ray_glocal", *(f"ray_glocal.{name}" for name in BELOW)]


def imported(path):
    """What `from <package> import <name>` gives."""
    package, _, name = path.rpartition(".")
    return getattr(import_module(package), name)


def offered(package):
    return getattr(import_module(package), "__all__", ())


def test_the_names_are_few_and_listed_once():
    assert 30 < len(LISTED) <= MOST
    assert len({id(imported(path)) for path in LISTED}) == len(LISTED)


@pytest.mark.parametrize("path", LISTED)
def test_a_listed_name_can_be_imported_and_says_what_it_is(path):
    told, name = imported(path).__doc__, path.rpartition(".")[2]
    assert told
    assert not told.startswith(f"{name}(")  # what a dataclass without a docstring gets


@pytest.mark.parametrize("package", FACING)
def test_a_user_facing_package_offers_listed_names_alone(package):
    listed = {id(imported(path)) for path in LISTED}
    assert [name for name in offered(package) if id(imported(f"{package}.{name}")) not in listed] == []


@pytest.mark.parametrize("path", [path for path in LISTED if path.rpartition(".")[0] in FACING])
def test_a_name_listed_of_a_user_facing_package_is_among_those_that_it_offers(path):
    package, _, name = path.rpartition(".")
    assert name in offered(package)


def test_all_packages_but_the_one_of_modules_offer_something():
    assert [package for package in FACING if not offered(package)] == ["ray_glocal.scheduling"]
