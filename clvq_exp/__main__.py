"""`python -m clvq_exp`: one run or a sweep."""

from clvq_exp.run import entry

if __name__ == "__main__":
    entry()
