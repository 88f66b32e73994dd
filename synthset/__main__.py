"""`python -m synthset` is the command line."""

from synthset.main import main

if __name__ == "__main__":
    main()
