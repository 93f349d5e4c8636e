"""``pytest tests/scripts --rewrite`` stores what the scenarios really do."""


def pytest_addoption(parser):
    parser.addoption("--rewrite", action="store_true", help="store the traces of all scenarios")
