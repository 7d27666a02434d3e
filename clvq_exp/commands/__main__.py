"""`python -m clvq_exp.commands`: the same as `clvq`."""

from clvq_exp.commands import run

if __name__ == "__main__":
    run()
